"""Many customers, many senders, several replicas: never a sixth message in a window, and none of five left over.

The bounded runs of `make test`, in this process; `make chaos` plays 300 customers with 40 senders each.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from reach.kf_session.v1.kf_session_service_pb2_grpc import KfSessionServiceStub

from services.kf_session.assembly import build
from shared.secrets import SecretKey
from tests.chaos.kf_storm import SETTINGS, KfStorm
from tests.e2e.harness import embedded, sandbox


@pytest.mark.parametrize(
    ("database_url", "replicas", "customers"),
    [("sqlite", 1, 6), ("postgresql", 3, 12)],
    indirect=["database_url"],
)
async def test_nobody_ever_gets_a_sixth_and_everybody_without_trouble_gets_what_there_is(
    database_url: str, replicas: int, customers: int, tmp_path: Path
) -> None:
    SecretKey.create(tmp_path / "secret.key")
    settings = {**SETTINGS, "secret_key_file": str(tmp_path / "secret.key")}
    if replicas > 1:
        settings["database_url"] = database_url
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(sandbox())
        members = [
            await stack.enter_async_context(
                embedded(world.url, tmp_path / f"home{number}", builds=[build], **settings)
            )
            for number in range(replicas)
        ]
        stubs = [KfSessionServiceStub(one.channel) for one in members]  # type: ignore[no-untyped-call]
        storm = KfStorm(world, stubs, members[0].http, 20260302, customers, 10)
        async with asyncio.timeout(150):
            report = await storm.run()
    print(report)
    assert not report.violations, str(report)
    assert report.sums["most in a window"] == 5
    assert report.sums["of them before a later word"] >= customers // 3
