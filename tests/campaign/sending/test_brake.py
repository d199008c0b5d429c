"""The first owners are asked alone, and many refusals stop the run: what a person then sees, and how it goes on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from reach.events.v1 import campaign_events_pb2

from services.campaign.domain import brake
from services.campaign.domain.brake import Ended
from services.campaign.domain.campaign import Canary
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.outcomes import TaskStatus
from services.campaign.domain.window import Hours, SendWindow
from services.campaign.store.campaign_tables import owner_task
from shared.db.payload import decode_body
from shared.db.tables import outbox
from tests.campaign.sending.sending_support import ADD, NOON, SHANGHAI, Bench
from tests.e2e.harness import eventually

HALF_AN_HOUR = timedelta(minutes=30)
BAD, GOOD = Ended(TaskStatus.REFUSED), Ended(TaskStatus.CREATED)
OURS = Ended(TaskStatus.REFUSED, own_check=True)


async def owners(bench: Bench, count: int) -> None:
    for at in range(count):
        await bench.owns(f"u{at:02d}", 1)


async def told(bench: Bench) -> list[tuple[str, str]]:
    """The events that were announced, with the reason of each."""
    found: list[Any] = sorted(await bench.rows(outbox), key=lambda row: (row.created_at, row.id))
    bodies = [decode_body(row.body, row.body_encoding) for row in found]
    read = [campaign_events_pb2.CampaignMoved.FromString(body) for body in bodies]
    return [(row.type, one.reason) for row, one in zip(found, read, strict=True)]


async def asked(bench: Bench) -> list[str]:
    return sorted(str(one["sender"]) for one in await bench.made())


async def test_the_brake_tells_why_and_what_was_refused_before_does_not_count_again(bench: Bench) -> None:
    await owners(bench, 16)
    bench.at_once = 1
    await bench.world.fault(path=ADD, errcode=41064, count=9)
    await bench.start()
    await bench.until_idle()
    assert await bench.status() == ("paused", "brake")
    assert ("campaign.paused", "brake") in await told(bench)
    await bench.move(Status.RUNNING)
    await bench.until_idle()
    # Four more are refused: five would be a pattern, and the five before were looked at by a person.
    assert await bench.status() == ("reconciling", "")
    assert len(await bench.made()) == 16 - 9
    kinds = [kind for kind, _ in await told(bench)]
    assert kinds.count("campaign.paused") == kinds.count("campaign.resumed") == 1


async def test_the_brake_is_pulled_again_where_it_goes_on_like_that(bench: Bench) -> None:
    await owners(bench, 16)
    bench.at_once = 1
    await bench.world.fault(path=ADD, errcode=41064)
    await bench.start()
    for refused in (5, 10, 15):
        await bench.until_idle()
        assert await bench.status() == ("paused", "brake")
        assert [one for one, _ in (await bench.tasks()).values()].count("refused") == refused
        await bench.move(Status.RUNNING)
    await bench.until_idle()
    assert await bench.status() == ("reconciling", "")


async def test_what_our_own_check_leaves_out_pulls_no_brake(bench: Bench) -> None:
    await owners(bench, 8)
    await bench.start()
    bench.groups.said |= {f"wr-u{at:02d}-0000": "opted_out" for at in range(7)}
    await bench.until_idle()
    assert await bench.status() == ("reconciling", "")
    assert await asked(bench) == ["u07"]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ([BAD] * 4, False),
        ([BAD] * 5, True),
        ([BAD] * 5 + [GOOD] * 11, True),
        ([BAD] * 5 + [GOOD] * 12, False),
        ([BAD] * 6 + [GOOD] * 14, True),
        ([OURS] * 20, False),
        ([Ended(TaskStatus.UNKNOWN)] * 5, True),
    ],
)
def test_five_and_three_in_ten_are_a_pattern(last: list[Ended], expected: bool) -> None:
    assert brake.pulled(last) is expected


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([], False),
        ([GOOD], False),
        ([BAD], True),
        ([BAD, GOOD, GOOD], True),
        ([BAD, GOOD, GOOD, GOOD], False),
        ([OURS, OURS], False),
    ],
)
def test_a_third_of_the_first_owners_speaks_against_the_others(first: list[Ended], expected: bool) -> None:
    assert brake.canary_failed(first) is expected


async def test_the_others_wait_from_when_the_last_of_the_first_was_asked(bench: Bench) -> None:
    await owners(bench, 5)
    await bench.world.fault(path=ADD, to="u01", errcode=-1, count=2)
    await bench.start(canary=Canary(2, HALF_AN_HOUR))
    await bench.until_made(2)
    last = max(row.made_at for row in await bench.rows(owner_task) if row.made_at is not None)
    assert last > NOON + timedelta(seconds=2)
    await bench.advance(last + HALF_AN_HOUR - timedelta(seconds=1) - bench.clock.now())
    for _ in range(3):
        await bench.replica.turn()
    assert await asked(bench) == ["u00", "u01"]
    await bench.advance(timedelta(seconds=2))
    await bench.until_idle()
    assert len(await bench.made()) == 5


async def test_first_owners_nobody_can_tell_of_keep_the_others_waiting(bench: Bench) -> None:
    await owners(bench, 4)
    await bench.world.fault(path=ADD, to="u00", drop="after-accept", count=1)
    await bench.world.fault(path="/cgi-bin/externalcontact/get_groupmsg_list_v2", errcode=-1)
    await bench.start(canary=Canary(1, timedelta(minutes=1)))
    await bench.until_asked()
    for _ in range(4):
        await bench.advance(timedelta(minutes=10))
        await bench.replica.turn()
    assert await asked(bench) == ["u00"]
    await bench.world.clear_faults()
    await bench.until_idle()
    await bench.advance(timedelta(minutes=1))
    await bench.until_idle()
    assert await asked(bench) == ["u00", "u01", "u02", "u03"]


async def test_a_canary_that_fails_while_somebody_has_paused_says_so_before_it_goes_on(bench: Bench) -> None:
    await owners(bench, 4)
    await bench.world.fault(path=ADD, to="u00", errcode=41064, latency_ms=400)
    await bench.start(canary=Canary(1, HALF_AN_HOUR))
    await bench.replica.sender.once(1)
    assert await eventually(lambda: bench.world.requests(ADD))
    await bench.move(Status.PAUSED, "by_hand")
    await bench.replica.sender.settled()
    assert await bench.status() == ("paused", "canary_failed")
    assert [one for one in await told(bench) if one[0] == "campaign.paused"] == [
        ("campaign.paused", "by_hand"),
        ("campaign.paused", "canary_failed"),
    ]
    await bench.advance(timedelta(hours=1))
    await bench.until_idle()
    assert await asked(bench) == []
    await bench.move(Status.RUNNING)
    await bench.until_idle()
    assert await asked(bench) == ["u01", "u02", "u03"]


async def test_a_window_that_never_opens_again_ends_what_is_left_with_the_reason(bench: Bench) -> None:
    await owners(bench, 3)
    hours = Hours.read("10:00", "12:01", field="")
    today = SendWindow(SHANGHAI, ((6, ()),), ((date(2026, 3, 2), (hours,)),))
    bench.at_once = 1
    await bench.start(window=today)
    await bench.until_made(2)
    await bench.advance(timedelta(minutes=2))
    await bench.until_idle()
    assert sorted((await bench.targets()).values()) == [
        ("awaiting_owner", ""),
        ("awaiting_owner", ""),
        ("refused", "window_over"),
    ]
    assert await bench.status() == ("reconciling", "")
