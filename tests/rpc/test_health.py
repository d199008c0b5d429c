from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.errors import Unavailable
from shared.rpc.guard import GuardRules
from shared.rpc.health import HealthBoard
from shared.rpc.server import RpcServer
from tests.rpc import contract
from tests.rpc.conftest import Callers, until

SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


class Switch:
    """A check one can break."""

    def __init__(self) -> None:
        self.broken = False
        self.hangs = False
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.broken:
            raise Unavailable("DEPENDENCY_DOWN", "down")


class Board:
    def __init__(self, period: float = 60) -> None:
        self.db, self.amqp = Switch(), Switch()
        self.board = HealthBoard([contract.NAME, "reach.other"], period=period, limit=0.2)
        self.board.add("db", self.db, carries=[contract.NAME])
        self.board.add("amqp", self.amqp)

    async def status(self, name: str) -> int:
        return (await self.board.servicer.Check(health_pb2.HealthCheckRequest(service=name), None)).status

    async def statuses(self) -> dict[str, int]:
        names = ("", "reach.live", "reach.db", "reach.amqp", contract.NAME, "reach.other")
        return {name: await self.status(name) for name in names}


@pytest.fixture
async def board() -> AsyncIterator[Board]:
    board = Board()
    yield board
    await board.board.shut()


async def test_when_all_is_well_everything_serves(board):
    await board.board.start()
    assert set((await board.statuses()).values()) == {SERVING}
    assert board.board.ready


async def test_with_the_broker_down_the_service_still_takes_writes(board):
    board.amqp.broken = True
    await board.board.start()
    statuses = await board.statuses()
    assert {name for name, status in statuses.items() if status == NOT_SERVING} == {"", "reach.amqp"}
    assert "down" in board.board.failures["amqp"]


async def test_with_its_database_down_only_that_service_stops_serving(board):
    await board.board.start()
    board.db.broken = True
    await board.board.refresh()
    statuses = await board.statuses()
    assert {n for n, s in statuses.items() if s == NOT_SERVING} == {"", "reach.db", contract.NAME}


async def test_what_comes_back_serves_again(board):
    board.db.broken = True
    await board.board.start()
    board.db.broken = False
    await board.board.refresh()
    assert await board.status("") == SERVING
    assert board.board.failures == {}


async def test_what_is_not_there_yet_at_the_start_is_logged_only_if_it_stays_away(board):
    board.db.broken = board.amqp.broken = True
    with structlog.testing.capture_logs() as lines:
        await board.board.start()
        assert lines == []
        board.amqp.broken = False
        await board.board.refresh()
        board.db.broken = False
        await board.board.refresh()
    assert [(one["event"], one["check"]) for one in lines] == [
        ("check failed", "db"),
        ("check passes again", "db"),
    ]


async def test_a_check_that_hangs_counts_as_failed_and_holds_up_no_other(board):
    board.db.hangs = True
    async with asyncio.timeout(2):
        await board.board.start()
    assert await board.status("reach.db") == NOT_SERVING
    assert await board.status("reach.amqp") == SERVING


async def test_checks_are_repeated_by_themselves():
    board = Board(period=0.01)
    await board.board.start()
    board.db.broken = True
    async with asyncio.timeout(5):
        await until(lambda: not board.board.ready)
    await board.board.shut()


async def test_two_databases_under_one_name_must_both_answer():
    second = Switch()
    board = Board()
    board.board.add("db", second, carries=["reach.other"])
    second.broken = True
    await board.board.start()
    statuses = await board.statuses()
    assert {n for n, s in statuses.items() if s == NOT_SERVING} == {"", "reach.db", "reach.other"}
    await board.board.shut()


async def test_after_the_shut_nothing_serves_again(board):
    await board.board.start()
    await board.board.shut()
    await board.board.refresh()
    assert set((await board.statuses()).values()) == {NOT_SERVING}
    assert not board.board.ready


async def test_watchers_hear_of_a_change_at_once_and_of_the_stop(tmp_path):
    board = Board()
    server = RpcServer(
        f"unix:{tmp_path}/s",
        [contract.registrar()],
        rules=GuardRules(contract.SCOPES),
        authenticator=Callers(),
        health=board.board,
    )
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(10):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        board.amqp.broken = True
        await board.board.refresh()
        assert (await watch.read()).status == NOT_SERVING
        await server.stop(30)


async def test_before_the_first_round_nothing_is_promised():
    board = Board()
    board.db.hangs = True
    starting = asyncio.create_task(board.board.start())
    await asyncio.sleep(0.05)
    assert await board.status("") == NOT_SERVING
    assert await board.status(contract.NAME) == NOT_SERVING
    await starting
    await board.board.shut()
