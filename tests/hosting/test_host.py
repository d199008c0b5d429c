"""One process: what must hold before it opens its doors, and how it closes them."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from services.notifier import assembly
from shared.environment import ConfigurationError
from shared.errors import Unavailable
from shared.hosting.host import Host
from shared.hosting.resources import Resources
from shared.hosting.service import Service
from shared.process import Stop
from shared.settings import Settings, load

LOCAL = {
    "REACH_GRPC_LISTEN": "127.0.0.1:0",
    "REACH_HTTP_LISTEN": "127.0.0.1:0",
    "REACH_WECOM_BASE_URL": "http://127.0.0.1:9",
}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {**LOCAL, "REACH_HOME": str(tmp_path / "home")}


def settings(environ: dict[str, str]) -> Settings:
    return load(environ)


async def test_http_beyond_loopback_needs_tokens_like_grpc(home: dict[str, str]) -> None:
    host = Host(
        settings({**home, "REACH_HTTP_LISTEN": "0.0.0.0:0"}),
        [assembly.build],
        name="up",
    )
    with pytest.raises(ConfigurationError) as refused:
        await host.run(Stop(), announce=False)
    told = "\n".join(refused.value.problems)
    assert "0.0.0.0:0 can be reached by others, and no token exists" in told
    assert "REACH_AUTH_HTTP_TLS_CERT_FILE" in told
    assert "REACH_AUTH_TLS_CERT_FILE" not in told  # which would not help


async def test_a_port_that_is_taken_is_found_before_anything_is_consumed(home: dict[str, str]) -> None:
    taken: list[str] = []

    async def build(resources: Resources) -> Service:
        service = await assembly.build(resources)
        return replace(service, loops={"canary": lambda turn: _note(taken)})

    with socket.create_server(("127.0.0.1", 0)) as holder:
        busy = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(ConfigurationError):
            await Host(settings({**home, "REACH_HTTP_LISTEN": busy}), [build], name="up").run(Stop())
    assert taken == []


async def _note(taken: list[str]) -> None:
    taken.append("turned")
    await asyncio.sleep(3600)


@pytest.fixture
async def stopped_with(home: dict[str, str]) -> list[str]:
    """The steps of a stop in which draining fails."""
    steps: list[str] = []

    async def build(resources: Resources) -> Service:
        service = await assembly.build(resources)

        async def drain(timeout: float) -> None:
            steps.append("drain")
            raise Unavailable("DEPENDENCY_DOWN", "the database is gone")

        async def flush() -> None:
            steps.append("flush")

        return replace(service, drain=drain, flush=flush)

    stop = Stop()
    running = asyncio.create_task(
        Host(settings(home), [build], name="up").run(stop, announce=False, on_ready=lambda _: stop.request())
    )
    await running
    return steps


async def test_a_step_of_the_stop_that_fails_leaves_out_no_other(stopped_with: list[str]) -> None:
    assert stopped_with == ["drain", "flush"]
