import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import orjson
import pytest

from sandbox.profile import Profile
from sandbox.ring import Ring
from sandbox.server import start
from tests.sandbox.conftest import Client, Open

ROOT = Path(__file__).parents[2]


async def spawn(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        *arguments,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_says_ready_once_and_stops_on_a_signal(number: signal.Signals) -> None:
    process = await spawn(REACH_SANDBOX_LISTEN="127.0.0.1:0")
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().split()
    assert line[:2] == ["ready", "sandbox"]
    port = int(line[2].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /sandbox/stream HTTP/1.1\r\nHost: x\r\n\r\n")  # a stream never ends by itself
    await reader.readuntil(b"event: state")
    process.send_signal(number)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    writer.close()
    assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999", "taken"])
async def test_an_address_that_cannot_be_used_is_one_line_and_exit_2(listen: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}" if listen == "taken" else listen
        process = await spawn("--listen", address)
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(b"sandbox: ")
    assert err.count(b"\n") == 1


async def test_a_profile_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(orjson.dumps({"robot_per_minute": 3}))
    assert Profile.load(file).robot_per_minute == 3
    file.write_bytes(b'{"robot_per_minut": 3}')
    process = await spawn("--profile", str(file))
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err) == (2, b"sandbox: no setting is called 'robot_per_minut'\n")


async def test_in_process_it_leaves_signal_handlers_alone_and_frees_its_port() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    running = await start("127.0.0.1:0")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    await running.stop()
    await running.stop()
    again = await start(running.url.removeprefix("http://"))
    await again.stop()


async def test_stopping_lets_hanging_calls_go(open_sandbox: Open) -> None:
    running = await start("127.0.0.1:0")
    client = Client(running.url, (await open_sandbox()).session)
    await client.post("/sandbox/faults", {"path": "/cgi-bin/*", "hang": True})
    waiting = [
        asyncio.create_task(client.robot()),
        asyncio.create_task(client.get("/sandbox/clock", version=1, wait=50)),
    ]
    await client.called("/cgi-bin/webhook/send")
    started = time.monotonic()
    await running.stop()
    assert time.monotonic() - started < 2
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_many_thousand_odd_requests_break_nothing(client: Client) -> None:
    token = await client.token()
    odd = [
        b"",
        b"null",
        b"0",
        b"[" * 5000,
        b'{"touser":' + b"[" * 2000,
        b"\xff\xfe",
        b'{"a":1e999}',
        b'"' * 70_000,
    ]
    values: list[object] = [None, 0, -1, 1.5, True, "", "x", [], {}, [[]], "|", "\u0000", "汉" * 999, 2**63]
    for body in odd:
        for path in (
            "message/send",
            "webhook/send",
            "message/recall",
            "message/get_statistics",
            "media/upload",
        ):
            answer = await client.post(f"/cgi-bin/{path}", body, access_token=token, key="k", type="file")
            assert answer["errcode"] != 0, (path, body[:20])
    for field in (
        "touser",
        "toparty",
        "totag",
        "msgtype",
        "agentid",
        "text",
        "safe",
        "enable_duplicate_check",
    ):
        for value in values:
            assert "errcode" in await client.send(token, **{field: value})
    for msgtype in ("image", "video", "textcard", "news", "mpnews", "miniprogram_notice", "template_card"):
        for value in values:
            answer = await client.send(token, msgtype=msgtype, **{msgtype: value})
            assert answer["errcode"] not in (0, None), (msgtype, value)
    assert (await client.send(token))["errcode"] == 0


def test_a_ring_keeps_the_newest_and_numbers_for_ever() -> None:
    ring: Ring[str] = Ring(3)
    for text in "abcde":
        ring.append(text)
    assert (list(ring.after(0)), list(ring.after(4)), ring.oldest) == (["c", "d", "e"], ["e"], 3)
    ring.clear()
    assert (list(ring.after(0)), ring.append("f"), list(ring.after(0))) == ([], 6, ["f"])


def test_a_ring_grows_to_its_capacity_without_losing_anything() -> None:
    ring: Ring[int] = Ring(5000)
    for number in range(1, 5001):
        assert ring.append(number) == number
    assert list(ring.after(0)) == list(range(1, 5001))
    ring.append(5001)
    assert list(ring.after(4998)) == [4999, 5000, 5001]
    assert ring.oldest == 2
