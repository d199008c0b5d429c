from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from shared.errors import Unauthenticated, Unavailable
from shared.identity import Authenticator, authenticator
from shared.rpc.principal import LOCAL_OPERATOR

READ = ["notify.read"]


class Time:
    """Stands for the monotonic clock of the process."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(authenticator, "time", time)
    return time


@pytest.fixture
def local(watched, manual_clock, passing) -> Authenticator:
    return Authenticator(watched, manual_clock, local_operator=True)


@pytest.fixture
def remote(watched, manual_clock, passing) -> Authenticator:
    return Authenticator(watched, manual_clock, local_operator=False)


async def refused(authenticator: Authenticator, token: str | None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(token)
    return caught.value.reason


async def test_a_good_token_is_its_principal(registry, remote):
    text = await registry.create("alice", "human", READ, ["S1", "S2"])
    (record,) = await registry.list()
    assert await remote.authenticate(text) == record.principal


async def test_while_no_token_exists_this_machine_is_trusted_and_others_are_not(local, remote):
    assert await local.authenticate(None) is LOCAL_OPERATOR
    assert await refused(remote, None) == "TOKEN_MISSING"


async def test_the_first_token_closes_the_open_door_for_good(registry, local, passing):
    await local.authenticate(None)
    text = await registry.create("alice", "human", READ, ["S1"])
    passing.now += 5
    assert await refused(local, None) == "TOKEN_MISSING"
    await registry.revoke(text)
    passing.now += 5
    assert await refused(local, None) == "TOKEN_MISSING"


async def test_a_wrong_token_is_refused_even_where_none_is_needed(local):
    assert await refused(local, "") == "TOKEN_INVALID"
    assert await refused(local, "reach_000000000000_" + "A" * 43) == "TOKEN_INVALID"


async def test_the_right_id_with_another_secret_is_refused(registry, remote):
    text = await registry.create("alice", "human", READ, ["S1"])
    assert await refused(remote, text[:-43] + "A" * 43) == "TOKEN_INVALID"
    assert await refused(remote, text + " ") == "TOKEN_INVALID"
    assert await refused(remote, text.upper()) == "TOKEN_INVALID"


async def test_a_revocation_is_effective_within_five_seconds(registry, remote, passing):
    text = await registry.create("alice", "human", READ, ["S1"])
    await remote.authenticate(text)
    await registry.revoke(text)
    passing.now += 5
    assert await refused(remote, text) == "TOKEN_INVALID"


async def test_an_expired_token_says_since_when(registry, remote, manual_clock):
    text = await registry.create("alice", "human", READ, ["S1"], timedelta(hours=1))
    manual_clock.advance(timedelta(hours=1) - timedelta(microseconds=1))
    await remote.authenticate(text)
    manual_clock.advance(timedelta(microseconds=1))
    assert await refused(remote, text) == "TOKEN_EXPIRED"


async def test_a_new_token_works_soon_although_the_table_was_just_read(registry, remote, passing):
    await refused(remote, "reach_000000000000_" + "A" * 43)
    text = await registry.create("alice", "human", READ, ["S1"])
    passing.now += 0.3
    assert (await remote.authenticate(text)).subject == "alice"


async def test_a_login_reaches_the_services_within_five_seconds(registry, remote, passing, manual_clock):
    text = await registry.create("alice", "human", READ, ["S1"])
    await remote.authenticate(text)
    manual_clock.advance(timedelta(minutes=20))
    await registry.login(text)
    passing.now += 5
    assert (await remote.authenticate(text)).login_at == manual_clock.now()


async def test_a_hundred_calls_cost_one_query_and_wrong_ones_no_flood(registry, remote, watched, passing):
    text = await registry.create("alice", "human", READ, ["S1"])
    await asyncio.gather(*(remote.authenticate(text) for _ in range(100)))
    assert watched.reads == 1
    for _ in range(100):
        await refused(remote, "reach_000000000000_" + "A" * 43)
    assert watched.reads == 1
    passing.now += 1
    for _ in range(100):
        await refused(remote, "reach_000000000000_" + "A" * 43)
    assert watched.reads == 2


async def test_without_its_database_nobody_gets_in_on_old_knowledge(registry, remote, watched, passing):
    text = await registry.create("alice", "human", READ, ["S1"])
    await remote.authenticate(text)
    watched.fails = Unavailable("DEPENDENCY_DOWN", "down")
    await remote.authenticate(text)  # the look is fresh enough
    passing.now += 5
    with pytest.raises(Unavailable):
        await remote.authenticate(text)
    watched.fails = None
    await remote.authenticate(text)
