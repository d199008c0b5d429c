"""One token per secret, over processes that share a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.tables import wecom_token
from shared.errors import Unavailable
from shared.http import Caller
from shared.secrets import SecretKey
from shared.wecom.client import WeComClient
from shared.wecom.errcodes import RetryClass
from shared.wecom.gettoken import TokenUnavailable
from shared.wecom.outcome import State
from shared.wecom.token_store import SqlTokenStore
from shared.wecom.tokens import TokenAuthority
from tests.http.wire import until
from tests.wecom.fake import APP, FakeWeCom, fake_wecom

KEY = SecretKey(bytes(range(32)))
TABLE = wecom_token


@pytest.fixture
async def database(database_url: str, unique: str) -> AsyncIterator[Database]:
    opened = Database.open(database_url, schema="public")
    async with opened.write() as connection:
        await connection.run_sync(TABLE.create)
    yield opened
    await opened.close()


@pytest.fixture
async def wecom() -> AsyncIterator[FakeWeCom]:
    async with fake_wecom() as fake:
        yield fake


@pytest.fixture
async def caller(wecom: FakeWeCom) -> AsyncIterator[Caller]:
    made = Caller(wecom.url, allowed_hosts=["127.0.0.1"])
    yield made
    await made.close()


@pytest.fixture
async def authority(
    caller: Caller, database: Database, manual_clock: ManualClock
) -> AsyncIterator[Callable[..., TokenAuthority]]:
    """Makes authorities as separate processes would have them."""
    made: list[TokenAuthority] = []

    def make(store: SqlTokenStore | None = None) -> TokenAuthority:
        made.append(
            TokenAuthority(caller, store or SqlTokenStore(database, KEY), manual_clock, owner=f"p{len(made)}")
        )
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def generation(tokens: TokenAuthority) -> int:
    return (await tokens.token(APP, deadline=5)).generation


async def refused(tokens: TokenAuthority) -> TokenUnavailable:
    with pytest.raises(TokenUnavailable) as caught:
        await tokens.token(APP, deadline=5)
    return caught.value


async def test_twenty_sends_over_three_processes_whose_token_dies_fetch_one_new_token(
    wecom: FakeWeCom, caller: Caller, authority: Callable[..., TokenAuthority], manual_clock: ManualClock
) -> None:
    processes = [authority() for _ in range(3)]
    clients = [WeComClient(caller, tokens, manual_clock) for tokens in processes]
    for tokens in processes:
        assert await generation(tokens) == 1
    assert wecom.gettokens == 1

    wecom.expire()
    first = await asyncio.gather(*(clients[n % 3].send_app(APP, b"{}", deadline=8) for n in range(20)))
    # Some may already have been given the new token; nobody repeats on his own.
    assert len(wecom.sends) == 20
    again = [outcome for outcome in first if outcome.retry_class is RetryClass.REFRESH]
    assert again
    assert {outcome.state for outcome in again} == {State.REJECTED_RETRYABLE}
    assert {outcome.token_generation for outcome in again} == {1}

    second = await asyncio.gather(*(clients[n % 3].send_app(APP, b"{}", deadline=8) for n in range(20)))
    assert {outcome.state for outcome in second} == {State.ACCEPTED}
    assert {outcome.token_generation for outcome in second} == {2}
    assert wecom.gettokens == 2


async def test_many_who_need_the_first_token_at_once_fetch_it_once(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority]
) -> None:
    processes = [authority() for _ in range(3)]
    tokens = await asyncio.gather(*(processes[n % 3].token(APP, deadline=8) for n in range(30)))
    assert {token.value for token in tokens} == {"token-1"}
    assert wecom.gettokens == 1


async def test_a_late_refusal_of_an_old_generation_changes_nothing(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority]
) -> None:
    one, other = authority(), authority()
    await generation(one)
    await generation(other)
    await one.invalidate(APP, 1)
    assert await generation(one) == 2
    await one.invalidate(APP, 1)
    await other.invalidate(APP, 1)
    assert await generation(one) == 2
    assert await generation(other) == 2
    assert wecom.gettokens == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # arithmetic; one database will do
@pytest.mark.parametrize(
    ("expires_in", "quiet_for", "due_after"),
    [
        (7200, 6479, 6480),  # 90 % comes before 300 s from the end
        (1200, 899, 900),  # 300 s before the end comes first
        (60, 29, 30),  # not before half of a short life
        (5, 29, 30),  # clamped to 60
        (0, 29, 30),
        (-1, 29, 30),
        (10**8, 6479, 6480),  # clamped to 7200
        ("7200", 6479, 6480),
        (None, 29, 30),
        ("soon", 29, 30),
    ],
)
async def test_a_token_is_replaced_in_time_while_the_old_one_is_still_handed_out(
    wecom: FakeWeCom,
    authority: Callable[..., TokenAuthority],
    manual_clock: ManualClock,
    expires_in: object,
    quiet_for: int,
    due_after: int,
) -> None:
    wecom.expires_in = expires_in
    tokens = authority()
    await generation(tokens)
    manual_clock.advance(timedelta(seconds=quiet_for))
    assert await generation(tokens) == 1
    assert wecom.gettokens == 1
    wecom.token_gate = asyncio.Event()
    manual_clock.advance(timedelta(seconds=due_after - quiet_for))
    assert await generation(tokens) == 1, "the send goes on with the old token at once"
    await until(lambda: wecom.gettokens == 2)
    wecom.token_gate.set()
    async with asyncio.timeout(5):
        while await generation(tokens) != 2:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)
    assert wecom.gettokens == 2


async def test_an_old_token_serves_until_refused_when_no_new_one_can_be_had(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority], manual_clock: ManualClock
) -> None:
    tokens, late = authority(), authority()
    await generation(tokens)
    wecom.token_status = 502
    manual_clock.advance(timedelta(hours=3))
    assert await generation(tokens) == 1
    assert await generation(late) == 1, "also for a process that has only the row"
    await tokens.invalidate(APP, 1)
    error = await refused(tokens)
    assert error.cause == "token_http_502"
    asked = wecom.gettokens
    assert (await refused(tokens)).cause == "token_http_502"
    assert wecom.gettokens == asked, "asked again before the pause was over"
    manual_clock.advance(timedelta(seconds=1))
    wecom.token_status = 200
    assert await generation(tokens) == 2


@pytest.mark.parametrize("errcode", [40001, 40013, 40091])
async def test_a_refused_secret_opens_a_breaker_for_every_process_at_once(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority], manual_clock: ManualClock, errcode: int
) -> None:
    wecom.token_answer = {"errcode": errcode, "errmsg": f"invalid credential {APP.secret}"}
    one, other = authority(), authority()
    error = await refused(one)
    assert (error.cause, error.errcode, error.retry_class) == (
        "token_denied",
        errcode,
        RetryClass.PERM_CONFIG,
    )
    assert APP.secret not in str(error)
    assert (await refused(other)).errcode == errcode
    assert wecom.gettokens == 1
    pauses = []
    for _ in range(6):
        pause = (await refused(one)).retry_after
        assert pause is not None
        pauses.append(round(pause.total_seconds()))
        asked = wecom.gettokens
        manual_clock.advance(pause - timedelta(seconds=1))
        assert (await refused(other)).errcode == errcode
        assert wecom.gettokens == asked
        manual_clock.advance(timedelta(seconds=1))
        await refused(one)
        assert wecom.gettokens == asked + 1
    assert pauses == [60, 120, 240, 480, 900, 900]


async def test_a_breaker_reopened_by_a_person_is_seen_by_other_processes(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority], manual_clock: ManualClock
) -> None:
    wecom.token_answer = {"errcode": 40001, "errmsg": "no"}
    service, operator = authority(), authority()
    await refused(service)
    wecom.token_answer = None
    await operator.reopen(APP)
    manual_clock.advance(timedelta(seconds=5))
    assert await generation(service) == 1


async def test_a_good_answer_forgives_earlier_refusals(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority], database: Database, manual_clock: ManualClock
) -> None:
    tokens = authority()
    wecom.token_answer = {"errcode": 40001, "errmsg": "no"}
    await refused(tokens)
    wecom.token_answer = None
    manual_clock.advance(timedelta(seconds=60))
    assert await generation(tokens) == 1
    row = await SqlTokenStore(database, KEY).load(APP.token_key)
    assert row is not None
    assert (row.refused_until, row.refused_count) == (None, 0)


async def test_a_lease_whose_owner_died_is_taken_over_when_it_lapses(
    wecom: FakeWeCom,
    authority: Callable[..., TokenAuthority],
    database: Database,
    manual_clock: ManualClock,
) -> None:
    store = SqlTokenStore(database, KEY)
    now = manual_clock.now()
    assert await store.try_lease(APP.token_key, "dead", 0, now, now + timedelta(seconds=10))
    waiting = asyncio.create_task(generation(authority()))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    assert wecom.gettokens == 0
    manual_clock.advance(timedelta(seconds=10))
    assert await waiting == 1


async def test_one_who_lost_the_lease_meanwhile_cannot_save(
    database: Database, manual_clock: ManualClock
) -> None:
    store = SqlTokenStore(database, KEY)
    now = manual_clock.now()
    later = now + timedelta(seconds=10)
    assert await store.try_lease("k", "slow", 0, now, later)
    assert not await store.try_lease("k", "quick", 0, now, later)
    assert await store.try_lease("k", "quick", 0, later, later + timedelta(seconds=10))
    assert not await store.save("k", "old", later, later, 0, "slow")
    await store.release("k", "slow")
    assert not await store.try_lease("k", "third", 0, later, later), "slow gave back a lease not its own"
    assert await store.save("k", "new", later, later, 0, "quick")
    assert not await store.save("k", "newer", later, later, 0, "quick")
    row = await store.load("k")
    assert row is not None
    assert (row.token, row.generation) == ("new", 1)


async def test_the_token_is_unreadable_in_the_database(
    authority: Callable[..., TokenAuthority], database: Database
) -> None:
    await generation(authority())
    async with database.read() as connection:
        row = (await connection.execute(select(TABLE))).one()
    assert "token-1" not in str(row)
    assert APP.secret not in str(row)


async def test_a_row_sealed_with_another_key_is_fetched_anew(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority], database: Database
) -> None:
    await generation(authority())
    other = authority(SqlTokenStore(database, SecretKey(b"x" * 32)))
    assert await generation(other) == 2


async def test_a_store_that_is_down_is_a_reason_not_a_crash(
    caller: Caller, manual_clock: ManualClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqlTokenStore(database, KEY)

    async def down(*_: object) -> None:
        raise Unavailable("DEPENDENCY_DOWN", "no database")

    tokens = TokenAuthority(caller, store, manual_clock, owner="p")
    await generation(tokens)
    monkeypatch.setattr(store, "drop", down)
    monkeypatch.setattr(store, "load", down)
    await tokens.invalidate(APP, 1)
    assert (await refused(tokens)).cause == "token_store"
    outcome = await WeComClient(caller, tokens, manual_clock).send_app(APP, b"{}")
    assert (outcome.state, outcome.cause) == (State.NOT_SENT, "token_store")


async def test_one_who_stops_waiting_does_not_end_the_refresh_of_the_others(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority]
) -> None:
    wecom.token_gate = asyncio.Event()
    tokens = authority()
    impatient = asyncio.create_task(tokens.token(APP, deadline=5))
    patient = asyncio.create_task(tokens.token(APP, deadline=5))
    await until(lambda: wecom.gettokens == 1)
    impatient.cancel()
    with pytest.raises(TokenUnavailable, match="token_deadline"):
        await tokens.token(APP, deadline=0.05)
    wecom.token_gate.set()
    assert (await patient).generation == 1
    assert wecom.gettokens == 1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ({"errcode": 0, "expires_in": 7200}, "token_token_malformed"),
        ({"errcode": 0, "access_token": "a b", "expires_in": 7200}, "token_token_malformed"),
        ({"access_token": "abc"}, "token_no_errcode"),
    ],
)
async def test_a_strange_answer_is_no_token(
    wecom: FakeWeCom, authority: Callable[..., TokenAuthority], answer: dict[str, object], cause: str
) -> None:
    wecom.token_answer = answer
    assert (await refused(authority())).cause == cause
