"""What ends JWTs, which nobody has a list of."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.errors import Invalid, Unauthenticated, Unavailable
from shared.identity import Authenticator
from tests.identity.test_jwt import Door
from tests.support.issuer import ISSUER

ALICE = f"{ISSUER}#alice"


@pytest.fixture
def door(watched, manual_clock, tmp_path) -> Door:
    made = Door(watched, manual_clock, tmp_path)
    made.now = 1000.0
    return made


@pytest.fixture(autouse=True)
def passing(monkeypatch, door):
    """Each look at the tables is a fresh one."""
    monkeypatch.setattr("shared.identity.authenticator.MAX_AGE", -1.0)


async def refused(door: Door, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await door.authenticator.authenticate(token)
    return caught.value.message


async def test_a_subject_that_is_revoked_must_log_in_anew(door, registry):
    login = door.clock.now()
    before = door.issuer.token(login)
    other = door.issuer.token(login, "bob")
    door.clock.advance(timedelta(seconds=5))
    await registry.revoke_subject(ALICE)
    assert "revoked" in await refused(door, before)
    await door.authenticator.authenticate(other)
    door.clock.advance(timedelta(seconds=5))
    refreshed = door.issuer.token(door.clock.now(), auth_time=int(login.timestamp()))
    assert "revoked" in await refused(door, refreshed)  # a new one of the same login
    await door.authenticator.authenticate(door.issuer.token(door.clock.now()))


async def test_one_token_and_a_whole_issuer_can_be_revoked(door, registry):
    one, another = (door.issuer.token(door.clock.now(), jti=name) for name in ("t-1", "t-2"))
    await registry.revoke("jwt:t-1")
    assert "revoked" in await refused(door, one)
    await door.authenticator.authenticate(another)
    await registry.revoke_issuer(ISSUER)
    assert "revoked" in await refused(door, another)
    door.clock.advance(timedelta(seconds=5))
    await door.authenticator.authenticate(door.issuer.token(door.clock.now()))


async def test_a_subject_takes_its_tokens_along(registry, door):
    texts = [await registry.create("alice", "human", ["notify.read"], ["*"]) for _ in range(2)]
    other = await registry.create("bob", "human", ["notify.read"], ["*"])
    await registry.revoke(texts[0])
    assert await registry.revoke_subject("alice") == 1
    for text in texts:
        assert "revoked" in await refused(door, text)
    await door.authenticator.authenticate(other)


async def test_revoking_again_covers_who_logged_in_since(door, registry, manual_clock):
    await registry.revoke_subject(ALICE)
    manual_clock.advance(timedelta(minutes=1))
    token = door.issuer.token(manual_clock.now())
    await door.authenticator.authenticate(token)
    await registry.revoke_subject(ALICE)
    assert "revoked" in await refused(door, token)
    (listed,) = await registry.revocations()
    assert (listed.kind, listed.name, listed.revoked_at) == ("subject", ALICE, manual_clock.now())


async def test_what_was_done_with_a_jwt_stands_until_one_of_the_three_is_revoked(door, registry):
    async def stands(token_id: str = "jwt:t-1", subject: str = ALICE) -> bool:
        return await door.authenticator.upholds(subject, token_id, login)

    login = door.clock.now()
    assert await stands()
    door.clock.advance(timedelta(days=3))  # longer than any JWT is good for
    assert await stands()
    await registry.revoke("jwt:t-2")
    await registry.revoke_subject(f"{ISSUER}#bob")
    assert await stands()
    assert not await stands("jwt:t-2")
    await registry.revoke_subject(ALICE)
    assert not await stands()
    login = door.clock.now() + timedelta(seconds=1)
    assert await stands()
    await registry.revoke_issuer(ISSUER)
    login = door.clock.now()
    assert not await stands(subject=f"{ISSUER}#carol")


async def test_without_its_issuer_nothing_stands(door, database, manual_clock):
    assert not await door.authenticator.upholds("https://other#alice", "jwt:t", manual_clock.now())
    assert not await door.authenticator.upholds(f"{ISSUER}.evil#alice", "jwt:t", manual_clock.now())
    none = Authenticator(database, manual_clock, local_operator=False)
    assert not await none.upholds(ALICE, "jwt:t", manual_clock.now())


async def test_without_its_database_no_jwt_gets_in(door, watched):
    token = door.issuer.token(door.clock.now())
    watched.fails = Unavailable("DEPENDENCY_DOWN", "down")
    with pytest.raises(Unavailable):
        await door.authenticator.authenticate(token)
    with pytest.raises(Unavailable):
        await door.authenticator.upholds(ALICE, "jwt:t", door.clock.now())


async def test_nobody_of_ours_can_be_named_like_somebody_of_an_issuer(registry):
    with pytest.raises(Invalid) as caught:
        await registry.create(ALICE, "human", ["notify.read"], ["*"])
    assert caught.value.violations[0].field == "subject"
