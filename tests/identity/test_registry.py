from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shared.errors import Conflict, Invalid, NotFound
from shared.identity import TokenRegistry
from shared.identity.tables import token

READ = ["notify.read"]


async def test_the_token_is_shown_once_and_only_its_hash_is_kept(registry, database):
    text = await registry.create("alice", "human", READ, ["S1"])
    assert re.fullmatch(r"reach_[0-9a-f]{12}_[0-9A-Za-z_-]{43}", text)
    async with database.read() as connection:
        row = (await connection.execute(select(token))).one()
    assert text[-43:] not in str(tuple(row))
    assert len(row.hash) == 64


async def test_the_list_says_who_may_do_what_without_secrets(registry, manual_clock):
    text = await registry.create("pos", "service", ["events.publish", "notify.read"], ["S2", "S1"])
    await registry.create("alice", "human", READ, ["*"], timedelta(hours=1))
    service, human = sorted(await registry.list(), key=lambda r: r.principal.kind, reverse=True)
    assert service.principal.subject == "pos"
    assert service.principal.scopes == {"events.publish", "notify.read"}
    assert service.principal.stores == {"S1", "S2"}
    assert service.principal.login_at is None
    assert service.expires_at is None
    assert human.principal.stores == "*"
    assert human.principal.login_at == manual_clock.now()
    assert human.expires_at == manual_clock.now() + timedelta(hours=1)
    assert text[-43:] not in str([service, human])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "a\nb"}, "subject"),
        ({"kind": "local"}, "kind"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"stores": []}, "stores"),
        ({"stores": ["*", "S1"]}, "stores"),
        ({"stores": [""]}, "stores"),
        ({"ttl": timedelta(0)}, "ttl"),
    ],
)
async def test_a_token_that_makes_no_sense_is_not_issued(registry, wrong, field):
    right: dict[str, Any] = {"subject": "a", "kind": "human", "scopes": READ, "stores": ["S1"], "ttl": None}
    with pytest.raises(Invalid) as caught:
        await registry.create(**(right | wrong))
    assert caught.value.violations[0].field == field
    assert await registry.list() == []


async def test_revoking_twice_keeps_the_first_time(registry, manual_clock):
    text = await registry.create("alice", "human", READ, ["S1"])
    await registry.revoke(text)
    first = (await registry.list())[0].revoked_at
    manual_clock.advance(timedelta(hours=1))
    await registry.revoke((await registry.list())[0].principal.token_id)
    assert (await registry.list())[0].revoked_at == first is not None


async def test_a_login_is_noted_for_people(registry, manual_clock):
    text = await registry.create("alice", "human", READ, ["S1"])
    manual_clock.advance(timedelta(hours=3))
    assert await registry.login(text) == manual_clock.now()
    assert (await registry.list())[0].principal.login_at == manual_clock.now()


async def test_a_program_cannot_log_in(registry):
    text = await registry.create("pos", "service", READ, ["S1"])
    with pytest.raises(Conflict):
        await registry.login(text)


async def test_an_ended_token_cannot_log_in(registry: TokenRegistry, manual_clock):
    expired = await registry.create("alice", "human", READ, ["S1"], timedelta(hours=1))
    revoked = await registry.create("bob", "human", READ, ["S1"])
    await registry.revoke(revoked)
    manual_clock.advance(timedelta(hours=1))
    for text in (expired, revoked):
        with pytest.raises(Conflict):
            await registry.login(text)


async def test_a_token_with_a_wrong_secret_names_nothing(registry):
    text = await registry.create("alice", "human", READ, ["S1"])
    for wrong in (text[:-43] + "A" * 43, "nobody", ""):
        with pytest.raises(NotFound):
            await registry.revoke(wrong)
    assert (await registry.list())[0].revoked_at is None
