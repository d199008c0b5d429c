"""Approvals of people who come with a JWT, of which nobody keeps a row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.errors import Conflict, Denied
from shared.identity import LOCATION, SCHEMA, TokenRegistry
from shared.rpc.principal import acting_as
from shared.secrets import SecretKey
from tests.campaign.approval.house import DAY, HOUR, NOON, STORE, House, once, opened
from tests.identity.test_jwt import Door
from tests.support.issuer import ISSUER

BEN = f"{ISSUER}#ben"


class JwtHouse(House):
    """A house whose approvers come from an issuer."""

    door: Door
    identity: TokenRegistry

    async def approve_by_jwt(
        self, campaign_id: str, seen: str, subject: str = "ben", **claims: object
    ) -> str:
        """Approve as the bearer of a JWT that was just issued."""
        token = self.door.issuer.token(self.clock.now(), subject, **{"stores": [STORE], **claims})
        with acting_as(await self.door.authenticator.authenticate(token)):
            decided = await self.side.approving.approve(campaign_id, seen, "好", once("ApproveCampaign"))
        return decided.token_id

    async def running_by_jwt(self) -> tuple[str, str]:
        """A campaign that runs, approved by ben's JWT, and that JWT's id."""
        campaign_id = await self.write()
        token_id = await self.approve_by_jwt(campaign_id, await self.submit(campaign_id))
        await self.run(campaign_id)
        return campaign_id, token_id


@pytest.fixture
async def house(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[JwtHouse]:
    monkeypatch.setattr("shared.identity.authenticator.MAX_AGE", -1.0)  # each look is a fresh one
    url, clock = f"sqlite:///{tmp_path}/identity.db", ManualClock(NOON)
    await asyncio.to_thread(migrate, url, SCHEMA, [LOCATION])
    known, database = Database.open(url, schema=SCHEMA), await opened(database_url)
    try:
        door = Door(known, clock, tmp_path)
        made = JwtHouse(
            database, clock, SecretKey.create(tmp_path / "secret.key"), registry=door.authenticator
        )
        made.door, made.identity = door, TokenRegistry(known, clock)
        yield made
    finally:
        await database.close()
        await known.close()


async def test_it_stands_longer_than_the_jwt_and_no_longer_than_any_approval(house: JwtHouse):
    campaign_id, _ = await house.running_by_jwt()
    house.clock.advance(2 * DAY)
    assert await house.claim(campaign_id) == ""
    house.clock.advance(DAY)
    assert await house.claim(campaign_id) == "approval_expired"


@pytest.mark.parametrize("what", ["subject", "token", "issuer"])
async def test_it_falls_with_its_subject_its_jwt_and_its_issuer(house: JwtHouse, what: str):
    campaign_id, token_id = await house.running_by_jwt()
    house.clock.advance(HOUR)
    await house.identity.revoke_subject(f"{ISSUER}#somebody")
    assert await house.claim(campaign_id) == ""
    if what == "subject":
        await house.identity.revoke_subject(BEN)
    elif what == "token":
        await house.identity.revoke(token_id)
    else:
        await house.identity.revoke_issuer(ISSUER)
    assert await house.claim(campaign_id) == "approver_gone"


async def test_who_logs_in_after_a_revocation_may_approve_again(house: JwtHouse):
    await house.identity.revoke_subject(BEN)
    house.clock.advance(timedelta(minutes=1))
    campaign_id, _ = await house.running_by_jwt()
    assert await house.claim(campaign_id) == ""


@pytest.mark.parametrize(
    "claims", [{"sub_kind": None}, {"auth_time": None}, {"act": {"sub": "robot"}}, {"auth_time": 0}]
)
async def test_only_a_person_with_a_fresh_login_of_their_own_approves(
    house: JwtHouse, claims: dict[str, object]
):
    campaign_id = await house.write()
    seen = await house.submit(campaign_id)
    with pytest.raises(Denied) as caught:
        await house.approve_by_jwt(campaign_id, seen, **claims)
    assert caught.value.reason == "LOGIN_STALE"


@pytest.mark.parametrize("subject", ["ann", "ANN", "ａｎｎ", " ann"])
async def test_an_author_with_a_token_of_ours_and_a_jwt_is_one_person(house: JwtHouse, subject: str):
    campaign_id = await house.write(by="ann")
    seen = await house.submit(campaign_id)
    with pytest.raises(Conflict) as caught:
        await house.approve_by_jwt(campaign_id, seen, subject)
    assert caught.value.reason == "FOUR_EYES"
