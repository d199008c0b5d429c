"""Callers that have nothing of Reach but its contract: stubs alone, reflection, a plain AMQP client in two languages."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from shared.rpc.principal import SCOPES
from tests.e2e.harness import (
    Names,
    Reach,
    Sandbox,
    clean_environment,
    create_tokens,
    embedded,
    names_on,
    sandbox,
)
from tests.support import debian
from tests.support.process import ROOT

EXAMPLES = ROOT / "examples"
SENTINEL = (
    "import runpy, sys\n"
    "try:\n"
    "    runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
    "finally:\n"
    "    ours = {name.partition('.')[0] for name in sys.modules} & {'shared', 'services', 'cli', 'sandbox'}\n"
    "    assert not ours, ours\n"
)


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    async with sandbox() as made:
        yield made


@pytest.fixture
async def names(amqp_url: str) -> AsyncIterator[Names]:
    async with names_on(amqp_url) as made:
        yield made


@pytest.fixture
async def suite(world: Sandbox, amqp_url: str, names: Names, tmp_path: Path) -> AsyncIterator[Reach]:
    """A notifier on RabbitMQ; the callers are the programs here."""
    async with embedded(world.url, tmp_path / "home", amqp_url=amqp_url, **names.settings) as made:
        await made.staff()
        yield made


async def run(
    *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 60
) -> tuple[int, str]:
    """A program's exit code and everything it printed."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env={**clean_environment(), **(env or {})},
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, output.decode()


async def _client(reach: Reach, cwd: Path, *arguments: str, token: str = "") -> tuple[int, str]:
    env = {"PYTHONPATH": str(ROOT / "gen"), **({"REACH_TOKEN": token} if token else {})}
    client = EXAMPLES / "python" / "client.py"
    return await run(sys.executable, "-c", SENTINEL, client, reach.grpc, *arguments, env=env, cwd=cwd)


async def test_a_client_with_nothing_but_the_stubs_sends_a_message(
    suite: Reach, world: Sandbox, tmp_path: Path
) -> None:
    code, output = await _client(suite, tmp_path, "anna", "你好")
    assert code == 0, output
    message_id, status = output.split()
    assert status == "DELIVERY_STATUS_ACCEPTED"
    (message,) = await world.messages("anna")
    assert message["content"]["content"].startswith("你好\n#")
    assert (await suite.explain(message_id)).deliveries[0].attempts[0].vendor_msgid == message["msgid"]


async def test_a_client_reads_a_refusal_by_its_reason(world: Sandbox, tmp_path: Path) -> None:
    tokens = await create_tokens(tmp_path / "home", {"till": (SCOPES, ["s2"])})
    async with embedded(world.url, tmp_path / "home") as reach:
        assert await _client(reach, tmp_path, "anna", "x") == (1, "refused: TOKEN_MISSING\n")
        code, output = await _client(reach, tmp_path, "anna", "x", token=tokens["till"])
        assert (code, output) == (1, "refused: STORE_FORBIDDEN\n")
    assert await world.sends() == []


async def test_a_caller_without_the_contract_calls_by_reflection(
    suite: Reach, world: Sandbox, tmp_path: Path
) -> None:
    buf = Path(sys.executable).with_name("buf")
    base = (buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect")
    url = f"http://{suite.grpc}/reach.notifier.v1.NotifierService"
    code, output = await run(
        *base, "-d", '{"event_type": "order.created", "store_id": "s1"}', f"{url}/PreviewPush", cwd=tmp_path
    )
    assert code == 0, output
    preview = json.loads(output)
    assert preview["verdict"] == "VERDICT_PLANNED"
    assert "【新订单】" in preview["calls"][0]["text"]
    assert await world.sends() == []
    body = {
        "eventType": "payment.failed",
        "storeId": "s1",
        "eventId": "curl-1",
        "wait": "5s",
        "eventData": {
            "order_number": "A1",
            "amount": "280.00",
            "method": "微信支付",
            "error": "余额不足",
            "failed_time": "2026-02-20T13:44:00+08:00",
        },
    }
    code, output = await run(*base, "-d", json.dumps(body), f"{url}/TriggerPush", cwd=tmp_path)
    assert code == 0, output
    assert json.loads(output)["deliveries"][0]["status"] == "DELIVERY_STATUS_ACCEPTED"
    assert [message["to"] for message in await world.messages()] == ["cashier"]
    code, output = await run(*base, "--list-methods", f"http://{suite.grpc}", cwd=tmp_path)
    assert code == 0, output
    for method in (
        "reach.notifier.v1.NotifierService/Explain",
        "reach.ops.v1.OpsService/Doctor",
        "reach.events.v1.EventService/PublishEvent",
    ):
        assert method in output


async def test_a_plain_amqp_client_in_python_publishes(
    suite: Reach, world: Sandbox, amqp_url: str, names: Names, tmp_path: Path
) -> None:
    env = {"REACH_AMQP_URL": amqp_url, "REACH_AMQP_EXCHANGE": names.exchange, "PYTHONPATH": ""}
    publish = EXAMPLES / "python" / "publish.py"
    for _ in range(2):
        code, output = await run(sys.executable, "-c", SENTINEL, publish, "P1", env=env, cwd=tmp_path)
        assert (code, output) == (0, "published till-8-P1\n")
    (message,) = await world.arrived(1)
    assert (message["to"], "P1" in message["content"]["content"]) == ("kitchen_staff", True)
    assert len(await world.sends()) == 1


def _node() -> str:
    """node, installed where it is missing and may be."""
    if shutil.which("npm") is None and debian.may_install():
        debian.install("npm")
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.fail("node or npm is missing: install the Debian package npm", pytrace=False)
    return "node"


async def test_a_plain_amqp_client_in_node_publishes(
    suite: Reach, world: Sandbox, amqp_url: str, names: Names, tmp_path: Path
) -> None:
    node, place = _node(), tmp_path / "node"
    ours = shutil.ignore_patterns("node_modules")
    await asyncio.to_thread(shutil.copytree, EXAMPLES / "node", place, ignore=ours)
    code, output = await run("npm", "ci", "--no-audit", "--no-fund", cwd=place)
    assert code == 0, output
    env = {"REACH_AMQP_URL": amqp_url, "REACH_AMQP_EXCHANGE": names.exchange}
    for _ in range(2):
        code, output = await run(node, "publish.js", "N1", env=env, cwd=place)
        assert (code, output) == (0, "published till-7-N1\n")
    (message,) = await world.arrived(1)
    assert message["to"] == "kitchen_staff"
    assert "订单号：N1\n桌号：B07\n金额：¥99.50" in message["content"]["content"]
    told = await suite.explain("till-7-N1")
    assert told.store_id == "s1"
    code, output = await run(
        node, "publish.js", "N2", env={**env, "REACH_AMQP_EXCHANGE": "nowhere"}, cwd=place
    )
    assert code == 1
    assert "not published" in output


def test_the_lock_file_of_the_node_example_names_no_address() -> None:
    text = (EXAMPLES / "node" / "package-lock.json").read_text()
    assert "integrity" in text
    assert "resolved" not in text
    assert "://" not in text
    assert os.path.exists(EXAMPLES / "node" / ".npmrc")
