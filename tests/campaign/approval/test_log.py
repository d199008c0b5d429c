"""The audit log of campaigns: who had what sent to whom, in a chain in which nothing is altered or cut unseen."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from reach.campaign.v1 import audit_pb2

from services.campaign.audit_service import AuditMethods
from shared.db.tables import audit_entry
from shared.errors import Conflict, Denied
from shared.rpc.paging import PageTokens
from tests.campaign.approval.house import DAY, HOUR, House, once


class Room(AuditMethods):
    """The two RPCs, called by whoever acts."""

    def __init__(self, house: House) -> None:
        self._chain, self._tokens = house.side.chain, PageTokens(house.key.derive("pages"))


async def played(house: House) -> str:
    """A campaign written, rejected, approved, run, held, resumed, stopped: seven things done by hand."""
    house.hire("chief", stores="*")
    campaign_id = await house.write()
    await house.submit(campaign_id)
    with house.by("ben"):
        guard = once("RejectCampaign")
        await house.side.approving.reject(campaign_id, "太长", expected=0, once=guard)
    await house.approve(campaign_id, await house.submit(campaign_id))
    await house.run(campaign_id)
    with house.by("ann"):
        await house.side.running.pause(campaign_id, "", once("PauseCampaign"))
        await house.side.running.cancel(campaign_id, "", once("CancelCampaign"))
    return campaign_id


async def verified(house: House, **noted: Any) -> tuple[bool, int, str]:
    """VerifyAudit, as the chief asks for it."""
    with house.by("chief"):
        found = await Room(house).VerifyAudit(audit_pb2.VerifyAuditRequest(**noted), None)
    return found.ok, found.first_broken_sequence, found.problem


async def entries(house: House) -> list[Any]:
    return await house.rows(audit_entry)


async def tamper(house: House, statement: Any) -> None:
    """Change the log; whoever does has taken the database's own guard away first."""
    async with house.database.write() as conn:
        if house.database.dialect == "postgresql":
            await conn.execute(sa.text("ALTER TABLE audit_entry DISABLE TRIGGER ALL"))
        else:
            for action in ("update", "delete"):
                await conn.execute(sa.text(f"DROP TRIGGER IF EXISTS audit_entry_no_{action}"))
        await conn.execute(statement)


FIRST, MIDDLE, LAST = 1, 4, 7


CHANGES = {
    "subject": "eve",
    "method": "GetCampaign",
    "object_id": "another",
    "content_hash": "0" * 64,
    "detail": {"version": 9},
    "token_id": "stolen",
    "hash": "0" * 64,
}


@pytest.mark.parametrize("seq", [FIRST, MIDDLE, LAST])
async def test_one_altered_entry_is_found_wherever_it_stands(house: House, seq: int) -> None:
    await played(house)
    before = {one.seq: one for one in await entries(house)}
    assert list(before) == list(range(FIRST, LAST + 1))
    assert await verified(house) == (True, 0, "")
    mine = sa.update(audit_entry).where(audit_entry.c.seq == seq)
    for name, value in CHANGES.items():
        await tamper(house, mine.values({name: value}))
        assert await verified(house) == (False, seq, "altered"), name
        await tamper(house, mine.values({name: before[seq]._mapping[name]}))
        assert await verified(house) == (True, 0, ""), name


@pytest.mark.parametrize(
    ("seq", "problem"), [(FIRST, "missing"), (MIDDLE, "missing"), (LAST, "head_differs")]
)
async def test_one_entry_that_was_cut_out_is_found_wherever_it_stood(
    house: House, seq: int, problem: str
) -> None:
    await played(house)
    await tamper(house, sa.delete(audit_entry).where(audit_entry.c.seq == seq))
    assert await verified(house) == (False, seq, problem)


async def test_two_entries_that_changed_places_are_found(house: House) -> None:
    await played(house)
    for before, after in ((2, 99), (3, 2), (99, 3)):
        await tamper(house, sa.update(audit_entry).where(audit_entry.c.seq == before).values(seq=after))
    assert await verified(house) == (False, 2, "altered")


async def test_an_end_that_was_cut_off_with_its_head_is_found_by_what_was_noted(house: House) -> None:
    await played(house)
    noted = (await entries(house))[-1]
    two = (await entries(house))[-2]
    await tamper(house, sa.delete(audit_entry).where(audit_entry.c.seq == LAST))
    async with house.database.write() as conn:
        await conn.execute(sa.text("UPDATE audit_head SET seq = :seq, hash = :hash"), two._mapping)
    assert await verified(house, known_sequence=noted.seq, known_hash=noted.hash) == (
        False,
        LAST,
        "noted_differs",
    )


async def test_the_database_itself_refuses_to_change_an_entry(house: House) -> None:
    await played(house)
    for statement in (
        sa.update(audit_entry).values(subject="eve"),
        sa.delete(audit_entry).where(audit_entry.c.seq == LAST),
    ):
        with pytest.raises(sa.exc.DBAPIError):
            await house.execute(statement)
    assert await verified(house) == (True, 0, "")


async def test_the_log_says_who_had_what_sent_to_how_many(house: House) -> None:
    campaign_id = await played(house)
    found = await entries(house)
    assert [(one.method, one.subject) for one in found] == [
        ("SubmitCampaign", "ann"),
        ("RejectCampaign", "ben"),
        ("SubmitCampaign", "ann"),
        ("ApproveCampaign", "ben"),
        ("RunCampaign", "ann"),
        ("PauseCampaign", "ann"),
        ("CancelCampaign", "ann"),
    ]
    assert {one.object_id for one in found} == {campaign_id}
    approved, ran = found[3].detail, found[4].detail
    assert ran["content_hash"] == approved["content_hash"]
    assert (ran["dry"], ran["version"], ran["groups"]) == (False, 1, 4)
    assert not any("春日" in str(one.detail) for one in found)  # its words are not for the log


async def test_what_will_begin_by_itself_is_in_the_log_as_whoever_ordered_it(house: House) -> None:
    campaign_id = await house.approved(schedule_at=house.clock.now() + HOUR)
    await house.run(campaign_id)
    ordered = (await entries(house))[-1]
    assert (ordered.method, ordered.subject, ordered.detail["groups"]) == ("RunCampaign", "ann", 4)
    house.clock.advance(HOUR)
    assert await house.side.scheduling.begin_due() == 1
    assert house.start.planned[0][3] == ordered.detail["content_hash"]


async def test_what_was_refused_leaves_no_entry(house: House) -> None:
    campaign_id = await house.write()
    seen = await house.submit(campaign_id)
    count = len(await entries(house))
    for call in (house.approve(campaign_id, seen, by="ann"), house.run(campaign_id)):
        with pytest.raises(Conflict):
            await call
    house.clock.advance(DAY)
    with pytest.raises(Denied):
        await house.approve(campaign_id, seen)
    assert len(await entries(house)) == count
