"""``/callback/app``: what is genuine has its effect once, everything else gets one and the same answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from sandbox.cipher import seal, signed_query
from services.notifier.assembly import CALLBACK as PATH
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.errors import Invalid, Unavailable
from shared.hosting.callback_door import CallbackDoor
from shared.telemetry.metrics import Metrics
from shared.wecom.callback import MOST_BYTES, CallbackKey
from tests.e2e.harness import AGENT, CORP, Sandbox, embedded
from tests.notifier.escalating import AES_KEY, TOKEN, Shop, shop

Answered = tuple[int, bytes]


def _event(userid: str, key: str, task_id: str, **changes: str) -> str:
    fields = {
        "ToUserName": CORP,
        "FromUserName": userid,
        "CreateTime": "1772400000",
        "MsgType": "event",
        "Event": "template_card_event",
        "EventKey": key,
        "TaskId": task_id,
        "CardType": "button_interaction",
        "ResponseCode": "rc-1",
        "AgentID": str(AGENT),
        **changes,
    }
    return "<xml>" + "".join(f"<{name}>{value}</{name}>" for name, value in fields.items()) + "</xml>"


def _signed(
    event: str, at: float, *, token: str = TOKEN, key: str = AES_KEY, corp: str = CORP
) -> tuple[str, bytes]:
    """Query and body of a delivery."""
    sealed = seal(event.encode(), key, corp)
    body = f"<xml><ToUserName>{corp}</ToUserName><Encrypt>{sealed}</Encrypt><AgentID>{AGENT}</AgentID></xml>"
    return signed_query(token, int(at), sealed), body.encode()


class Gate:
    """A shop's callback, called by hand."""

    def __init__(self, made: Shop) -> None:
        self.shop = made

    async def now(self) -> float:
        """The time that both sides go by."""
        return (await self.shop.world.now()).timestamp()

    async def post(self, query: str, body: bytes) -> Answered:
        """POST."""
        url = f"http://{self.shop.reach.http}{PATH}?{query}"
        async with self.shop.reach.session.post(url, data=body) as answer:
            return answer.status, await answer.read()

    async def get(self, query: str) -> Answered:
        """GET."""
        async with self.shop.reach.session.get(f"http://{self.shop.reach.http}{PATH}?{query}") as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def gate(world: Sandbox, tmp_path: Path) -> AsyncIterator[Gate]:
    async with shop(world, tmp_path / "home") as made:
        yield Gate(made)


async def test_the_url_is_verified_with_the_bare_plaintext(gate: Gate) -> None:
    sealed = seal(b"1616140317555161061", AES_KEY, CORP)
    query = signed_query(TOKEN, int(await gate.now()), sealed, echo=True)
    assert await gate.get(query) == (200, b"1616140317555161061")


async def test_a_genuine_press_counts_and_the_same_request_again_does_nothing(gate: Gate) -> None:
    taken = await gate.shop.outage()
    await gate.shop.card("tom")
    query, body = _signed(_event("tom", "hand_over", taken.deliveries[0].delivery_id), await gate.now())
    assert await gate.post(query, body) == (200, b"success")
    await gate.shop.card("dora")
    steps = await gate.shop.steps()
    for _ in range(3):
        assert await gate.post(query, body) == (200, b"success")
    assert await gate.shop.steps() == steps


async def test_whatever_is_forged_altered_or_stale_gets_one_answer_and_has_no_effect(gate: Gate) -> None:
    taken = await gate.shop.outage()
    await gate.shop.card("tom")
    now = await gate.now()
    event = _event("tom", "acknowledge", taken.deliveries[0].delivery_id)
    query, body = _signed(event, now)
    pairs = dict(parse_qsl(query))
    other = _signed(_event("tim", "acknowledge", taken.deliveries[0].delivery_id), now)[1]
    forged = [
        _signed(event, now, token="another"),
        _signed(event, now, key="6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"),
        _signed(event, now, corp="wwother"),
        _signed(event, now - 301),
        _signed(event, now + 301),
        (query, other),
        (query, body.replace(b"<Encrypt>", b"<Encrypt>A")),
        (query, b""),
        (query, b"no xml"),
        (query, b'<!DOCTYPE x [<!ENTITY a "b">]>' + body),
        (query, body + b" " * MOST_BYTES),
        (urlencode(pairs | {"msg_signature": "0" * 40}), body),
        (urlencode(pairs | {"timestamp": str(int(now) + 1)}), body),
        (urlencode(pairs | {"nonce": "1"}), body),
        (query + "&nonce=1", body),
        ("", body),
        _signed("no xml inside", now),
    ]
    assert {await gate.post(*one) for one in forged} == {(403, b"")}
    assert await gate.get(query) == (403, b"")
    assert await gate.shop.steps() == ["escalation_opened"]
    assert await gate.post(query, body) == (200, b"success")
    assert "escalation_acknowledged" in await gate.shop.steps()


@pytest.mark.parametrize(
    "changes",
    [
        {"Event": "enter_agent"},
        {"MsgType": "text", "Content": "hello"},
        {"EventKey": "explode"},
        {"TaskId": "no-such-card"},
        {"TaskId": "'; DROP TABLE delivery; --"},
        {"FromUserName": "sys tem"},
        {"AgentID": "7"},
        {"AgentID": ""},
    ],
)
async def test_what_is_genuine_but_means_nothing_here_is_taken_and_forgotten(
    gate: Gate, changes: dict[str, str]
) -> None:
    taken = await gate.shop.outage()
    await gate.shop.card("tom")
    event = _event("tom", "acknowledge", taken.deliveries[0].delivery_id, **changes)
    assert await gate.post(*_signed(event, await gate.now())) == (200, b"success")
    assert await gate.shop.steps() == ["escalation_opened"]


async def test_without_token_and_key_there_is_no_such_door(world: Sandbox, tmp_path: Path) -> None:
    async with embedded(world.url, tmp_path / "home") as reach:
        for method in ("get", "post"):
            async with getattr(reach.session, method)(f"http://{reach.http}{PATH}?x=1") as answer:
                assert answer.status == 404


# --- The door alone ---------------------------------------------------------------------------------------


class _Away:
    """A database as the door sees it when it fails with *error*."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def transact(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        raise self._error


async def _nothing(conn: Any, said: Any, now: Any) -> str:
    return "ignored"


def _door(error: Exception, clock: ManualClock) -> httpx.AsyncClient:
    database = cast("Database", _Away(error))
    door = CallbackDoor(
        "notifier", PATH, database, CallbackKey(TOKEN, AES_KEY, CORP), _nothing, clock, Metrics()
    )
    transport = httpx.ASGITransport(app=Starlette(routes=[door.route]))
    return httpx.AsyncClient(transport=transport, base_url="http://door")


async def test_a_database_that_is_away_has_the_platform_come_again(manual_clock: ManualClock) -> None:
    query, body = _signed(_event("tom", "acknowledge", "t"), manual_clock.now().timestamp())
    async with _door(Unavailable("DEPENDENCY_DOWN", "away"), manual_clock) as client:
        answer = await client.post(f"{PATH}?{query}", content=body)
        assert (answer.status_code, answer.content) == (503, b"")
    async with _door(Invalid.field("x", "cannot be written"), manual_clock) as client:
        answer = await client.post(f"{PATH}?{query}", content=body)
        assert (answer.status_code, answer.content) == (403, b"")


async def test_a_repeat_is_refused_by_its_age_once_its_row_could_be_gone(manual_clock: ManualClock) -> None:
    query, body = _signed(_event("tom", "acknowledge", "t"), manual_clock.now().timestamp())
    manual_clock.advance(timedelta(days=3))
    async with _door(Unavailable("DEPENDENCY_DOWN", "away"), manual_clock) as client:
        assert (await client.post(f"{PATH}?{query}", content=body)).status_code == 403


async def _raw(door: CallbackDoor, method: str, query: bytes, body: bytes) -> int:
    """The status of a request whose query may be any bytes at all."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": PATH,
        "query_string": query,
        "headers": [],
    }
    await Starlette(routes=[door.route])(scope, receive, send)
    return int(sent[0]["status"])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.binary(max_size=200), body=st.binary(max_size=400), method=st.sampled_from(["GET", "POST"]))
async def test_no_request_makes_it_fail(
    manual_clock: ManualClock, query: bytes, body: bytes, method: str
) -> None:
    database = cast("Database", _Away(AssertionError("nothing of this reaches the database")))
    door = CallbackDoor(
        "notifier", PATH, database, CallbackKey(TOKEN, AES_KEY, CORP), _nothing, manual_clock, Metrics()
    )
    assert await _raw(door, method, query, body) == 403
    signed, _ = _signed("<xml/>", manual_clock.now().timestamp())
    assert await _raw(door, method, signed.encode(), body) == 403
