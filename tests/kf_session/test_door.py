"""``/callback/kf``: a ring counts once, and what is not genuine gets one answer and has no effect."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from sandbox.cipher import seal, signed_query
from services.kf_session.pipeline.finding import Stores
from services.kf_session.store.accounts import REMOVED, Accounts
from services.kf_session.store.tables import account, doorbell, message
from services.kf_session.usecases.ringing import PATH, Ringing
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.tables import callback_seen
from shared.errors import Unavailable
from shared.hosting.callback_door import CallbackDoor
from shared.settings import load
from shared.telemetry.metrics import Metrics
from shared.wecom.callback import CallbackKey
from tests.e2e.harness import CORP, eventually
from tests.kf_session.shop import AES_KEY, TOKEN, WK, Shop

MUTANTS = 10_000


def ring(token: str = "ENC1", at: int = 1772400000, **more: str) -> str:
    """The inner message of a callback."""
    fields = {
        "ToUserName": CORP,
        "CreateTime": str(at),
        "MsgType": "event",
        "Event": "kf_msg_or_event",
        "Token": token,
        "OpenKfId": WK,
        **more,
    }
    return "<xml>" + "".join(f"<{name}>{value}</{name}>" for name, value in fields.items()) + "</xml>"


def signed(inner: str, at: float) -> tuple[str, bytes]:
    """Query and body of a delivery."""
    sealed = seal(inner.encode(), AES_KEY, CORP)
    body = f"<xml><ToUserName>{CORP}</ToUserName><Encrypt>{sealed}</Encrypt><AgentID></AgentID></xml>"
    return signed_query(TOKEN, int(at), sealed), body.encode()


class Gate:
    """The door over a database of its own, without the loops behind it."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database, self.clock = database, clock
        stores = Stores(load({"REACH_DEFAULT_STORE": "s1"}))
        ringing = Ringing(database, Accounts(database.dialect), stores)
        self._app = self._over(database, ringing.take)

    def _over(self, database: Any, take: Any) -> Starlette:
        """The door as it is over *database*."""
        key = CallbackKey(TOKEN, AES_KEY, CORP)
        door = CallbackDoor("kf_session", PATH, cast("Database", database), key, take, self.clock, Metrics())
        return Starlette(routes=[door.route])

    async def post(self, query: str | bytes, body: bytes, database: Any = None) -> tuple[int, bytes]:
        """POST, whose query may be any bytes at all; to a door over *database* if one is given."""
        app = self._app if database is None else self._over(database, None)
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = query.encode() if isinstance(query, str) else query
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": PATH}
        await app({**scope, "query_string": raw, "headers": []}, receive, send)
        return int(sent[0]["status"]), bytes(sent[1]["body"])

    async def count(self, table: sa.Table) -> int:
        """How many rows a table has."""
        async with self.database.read() as conn:
            return int((await conn.scalar(sa.select(sa.func.count()).select_from(table))) or 0)


@pytest.fixture
async def gate(database_url: str, manual_clock: ManualClock) -> AsyncIterator[Gate]:
    from services.kf_session.assembly import LOCATIONS, NAME

    migrate(database_url, NAME, LOCATIONS)
    database = Database.open(database_url, schema=NAME)
    try:
        yield Gate(database, manual_clock)
    finally:
        await database.close()


def _mutated(rng: random.Random, query: str, body: bytes) -> tuple[bytes, bytes]:
    """The request with something wrong: a byte of the query, of the XML or of the cipher changed, gone or added."""
    target = bytearray(rng.choice((query.encode(), body)))
    is_query = bytes(target) == query.encode()
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(target))
        kind = rng.randrange(4)
        if kind == 0:
            target[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del target[at : at + rng.randint(1, 8)]
        elif kind == 2:
            target[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        else:
            target[at : at + 1] = rng.choice((b"&", b"=", b"<", b">", b"]]>", b"<!DOCTYPE x>", b"%00", b"\0"))
        if not target:
            break
    return (bytes(target), body) if is_query else (query.encode(), bytes(target))


@pytest.mark.parametrize(
    "database_url", ["sqlite"], indirect=True
)  # none of them comes as far as the database
async def test_ten_thousand_altered_callbacks_have_no_effect_and_one_answer(gate: Gate) -> None:
    rng, answers = random.Random(20260302), set()
    query, body = signed(ring(), gate.clock.now().timestamp())
    tried = 0
    while tried < MUTANTS:
        bad_query, bad_body = _mutated(rng, query, body)
        if _is_genuine(bad_query, bad_body, query, body):
            continue
        answers.add(await gate.post(bad_query, bad_body))
        tried += 1
    assert answers == {(403, b"")}
    assert [await gate.count(table) for table in (account, doorbell, callback_seen)] == [0, 0, 0]
    assert await gate.post(query, body) == (200, b"success")


def _is_genuine(bad_query: bytes, bad_body: bytes, query: str, body: bytes) -> bool:
    """Whether what counts of a request is still what the platform signed: its three words, and what it encrypted."""
    from urllib.parse import parse_qsl

    from shared.wecom.callback_xml import Malformed, fields

    def words(text: str) -> list[tuple[str, str]]:
        try:
            found = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=16)
        except ValueError:
            return []
        return sorted(pair for pair in found if pair[0] in ("msg_signature", "timestamp", "nonce"))

    if words(bad_query.decode("latin-1")) != words(query):
        return False
    try:
        return fields(bad_body).get("Encrypt") == fields(body)["Encrypt"]
    except Malformed:
        return False


async def test_the_same_callback_three_times_rings_once_and_two_of_one_second_ring_twice(gate: Gate) -> None:
    now = gate.clock.now().timestamp()
    first = signed(ring("ENC1"), now)
    for _ in range(3):
        assert await gate.post(*first) == (200, b"success")
    assert await gate.post(*signed(ring("ENC1"), now)) == (200, b"success")  # again, signed anew
    assert await gate.count(doorbell) == 1
    assert await gate.post(*signed(ring("ENC2"), now)) == (200, b"success")
    assert await gate.count(doorbell) == 2
    assert await gate.count(account) == 1


async def test_accounts_are_added_and_taken_away_by_the_admin(gate: Gate) -> None:
    now = gate.clock.now().timestamp()
    change = (
        f"<xml><ToUserName>{CORP}</ToUserName><CreateTime>1772400000</CreateTime><MsgType>event</MsgType>"
        "<Event>kf_account_auth_change</Event>"
    )
    added = "<AuthAddOpenKfId>wk7</AuthAddOpenKfId><AuthAddOpenKfId>wk8</AuthAddOpenKfId></xml>"
    assert await gate.post(*signed(change + added, now)) == (200, b"success")
    gone = "<AuthDelOpenKfId>wk8</AuthDelOpenKfId></xml>"
    assert await gate.post(*signed(change + gone, now)) == (200, b"success")
    async with gate.database.read() as conn:
        rows = await conn.execute(sa.select(account.c.id, account.c.status).order_by(account.c.id))
        assert [tuple(row) for row in rows] == [("wk7", "pending"), ("wk8", REMOVED)]


async def test_while_our_clock_is_wrong_callbacks_are_refused_and_none_rings_twice_for_it(gate: Gate) -> None:
    truth = gate.clock.now().timestamp()
    first, missed = signed(ring("ENC1"), truth), signed(ring("ENC2"), truth)
    assert await gate.post(*first) == (200, b"success")
    for jump in (timedelta(hours=2), timedelta(hours=-2)):
        gate.clock.advance(jump)
        assert await gate.post(*first) == (403, b"")
        assert await gate.post(*missed) == (403, b"")
        gate.clock.advance(-jump)
    assert await gate.count(doorbell) == 1
    for request in (first, missed, first, missed):
        assert await gate.post(*request) == (200, b"success")
    assert await gate.count(doorbell) == 2


@pytest.mark.parametrize(
    "changes",
    [{"Event": "enter_agent"}, {"MsgType": "text"}, {"OpenKfId": "wk 1; --"}, {"OpenKfId": ""}],
)
async def test_what_means_nothing_here_is_taken_and_forgotten(gate: Gate, changes: dict[str, str]) -> None:
    assert await gate.post(*signed(ring(**changes), gate.clock.now().timestamp())) == (200, b"success")
    assert [await gate.count(table) for table in (account, doorbell)] == [0, 0]


class _Away:
    """A database that is away."""

    async def transact(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        raise Unavailable("DEPENDENCY_DOWN", "away")


async def test_without_the_database_it_says_so_and_the_platform_comes_again(gate: Gate) -> None:
    query, body = signed(ring(), gate.clock.now().timestamp())
    assert await gate.post(query, body, _Away()) == (503, b"")
    assert await gate.post(query, body) == (200, b"success")
    assert await gate.count(doorbell) == 1


async def test_a_callback_that_is_repeated_brings_a_message_once(kf: Shop) -> None:
    now = (await kf.world.now()).timestamp()
    await kf.writes()
    request = signed(ring("ENC-old"), now)
    for _ in range(3):
        url = f"http://{kf.reach.http}{PATH}?{request[0]}"
        async with kf.reach.session.post(url, data=request[1]) as answer:
            assert answer.status == 200

    async def quiet() -> bool:
        return bool(await kf.rows(message)) and not await kf.rows(doorbell)

    await eventually(quiet)
    assert len(await kf.rows(message)) == 1
    assert (await kf.announced()).count("kf.message.received") == 1
