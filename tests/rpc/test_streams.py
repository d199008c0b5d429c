from __future__ import annotations

import asyncio

import grpc
import pytest

from shared import errors
from shared.rpc import status
from shared.rpc.principal import Principal
from tests.rpc import contract
from tests.rpc.conftest import until
from tests.rpc.contract import EchoReply, EchoRequest


class Generator:
    """Three replies, then for ever nothing; notes how it ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    @property
    def method(self):
        async def watch(request, context):
            try:
                for text in "甲乙丙":
                    yield EchoReply(text=text)
                await asyncio.Event().wait()
            finally:
                self.ended.set()

        return watch


class Writer(Generator):
    """The same in the other style."""

    @property
    def method(self):
        async def watch(request, context):
            try:
                for text in "甲乙丙":
                    await context.write(EchoReply(text=text))
                await asyncio.Event().wait()
            finally:
                self.ended.set()

        return watch


@pytest.fixture(params=[Generator, Writer])
def endless(request):
    return request.param()


async def three(call) -> list[str]:
    return [(await call.read()).text for _ in range(3)]


async def test_both_styles_of_streams_deliver(serve, endless):
    served = await serve(WatchEchoes=endless.method)
    call = contract.stream(served.channel)(EchoRequest(), timeout=10)
    assert await three(call) == ["甲", "乙", "丙"]
    call.cancel()


async def test_a_client_that_leaves_ends_the_stream(serve, endless, lines):
    served = await serve(WatchEchoes=endless.method)
    call = contract.stream(served.channel)(EchoRequest(), timeout=10)
    await three(call)
    call.cancel()
    async with asyncio.timeout(5):
        await endless.ended.wait()
        await until(lambda: any(line["event"] == "rpc" for line in lines))
    assert [line["code"] for line in lines if line["event"] == "rpc"] == ["CANCELLED"]


async def test_cancelling_the_awaiting_task_ends_a_unary_call_on_the_server(serve):
    began, ended = asyncio.Event(), asyncio.Event()

    async def hang(request, context):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    served = await serve(GetEcho=hang)
    task = asyncio.ensure_future(contract.unary(served.channel, "GetEcho")(EchoRequest(), timeout=30))
    async with asyncio.timeout(5):
        await began.wait()
        task.cancel()
        await ended.wait()


async def test_the_clients_deadline_ends_the_work(serve):
    ended = asyncio.Event()

    async def hang(request, context):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    served = await serve(GetEcho=hang)
    with pytest.raises(grpc.aio.AioRpcError):
        await contract.unary(served.channel, "GetEcho")(EchoRequest(), timeout=0.2)
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_refusal_in_the_middle_of_a_stream_keeps_its_reason(serve):
    async def watch(request, context):
        yield EchoReply(text="甲")
        raise errors.Conflict("STATE_INVALID", "结束了", state="over")

    served = await serve(WatchEchoes=watch)
    call = contract.stream(served.channel)(EchoRequest(), timeout=10)
    assert (await call.read()).text == "甲"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert status.from_call(caught.value).facts == {"state": "over"}


async def test_a_revoked_token_ends_the_streams_it_opened(serve, callers, endless):
    callers.known["a"] = Principal("a", "service", frozenset({"notify.read"}), "*")
    served = await serve(token="a", WatchEchoes=endless.method)
    call = contract.stream(served.channel)(EchoRequest(), timeout=20)
    await three(call)
    del callers.known["a"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(5):
            await call.read()
    assert status.from_call(caught.value).reason == "TOKEN_INVALID"
    assert endless.ended.is_set()


async def test_a_refusal_that_comes_after_the_client_left_is_quiet(serve, lines, caplog):
    """The library must not report it as an exception nobody handled."""
    began, refused = asyncio.Event(), asyncio.Event()

    async def late(request, context):
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            refused.set()
            raise errors.Conflict("STATE_INVALID", "too late") from None

    served = await serve(GetEcho=late)
    task = asyncio.ensure_future(contract.unary(served.channel, "GetEcho")(EchoRequest(), timeout=30))
    async with asyncio.timeout(5):
        await began.wait()
        task.cancel()
        await refused.wait()
        await until(lambda: any(line["event"] == "rpc" for line in lines))
        await contract.unary(served.channel, "CreateEcho")(EchoRequest())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
