"""A request of which nobody knows whether it made a task: the platform is asked before anything is made again."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from services.campaign.domain.campaign import Attachment, AttachmentKind, Content
from services.campaign.domain.lifecycle import Status
from services.campaign.store.campaign_tables import campaign_run, campaign_target, owner_task
from services.campaign.unknowns import TaskDesk
from shared.db.once import Once
from shared.errors import Conflict
from shared.ops.part import Verdict
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from tests.campaign.sending.sending_support import ADD, STORE, Bench, Replica

LIST = "/cgi-bin/externalcontact/get_groupmsg_list_v2"
METHOD = "reach.ops.v1.OpsService/ResolveUnknown"
LINK = Content("看看", (Attachment(AttachmentKind.LINK, title="新品", url="https://a.cn/x"),))


@pytest.mark.parametrize("content", [Content("周五上新"), LINK])
async def test_a_task_that_exists_though_the_call_failed_is_found_and_not_made_again(
    bench: Bench, content: Content
) -> None:
    groups = await bench.owns("li", 2)
    await bench.world.fault(path=ADD, drop="after-accept", count=1)
    await bench.start(content=content)
    await bench.until_asked()
    assert await bench.tasks() == {"li/0": ("deferred", "look_up")}
    assert set((await bench.targets()).values()) == {("unknown", "outcome_unknown")}
    await bench.until_idle()
    [made] = await bench.made()
    assert len(await bench.world.requests(ADD)) == 1
    [row] = await bench.rows(owner_task)
    assert (row.status, row.msgid, row.unclear_at) == ("created", made["msgid"], None)
    assert await bench.targets() == dict.fromkeys(groups, ("awaiting_owner", ""))
    assert [one.msgid for one in bench.replica.follow.tasks] == [made["msgid"]]
    assert await bench.status() == ("reconciling", "")


async def test_a_task_that_does_not_exist_after_several_looks_is_made_again(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.world.fault(path=ADD, drop="before-accept", count=1)
    await bench.start()
    await bench.until_idle()
    assert len(await bench.made()) == 1
    assert len(await bench.world.requests(ADD)) == 2
    assert len(await bench.world.requests(LIST)) == 3
    assert await bench.attempts() == ["unknown", "accepted"]


async def test_a_look_that_fails_tells_nothing(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.world.fault(path=ADD, drop="after-accept", count=1)
    await bench.world.fault(path=LIST, errcode=-1, count=4)
    await bench.start()
    await bench.until_idle()
    assert len(await bench.made()) == 1
    assert len(await bench.world.requests(ADD)) == 1
    assert await bench.tasks() == {"li/0": ("created", "")}


async def test_tasks_of_other_owners_other_words_and_of_ours_are_not_taken_for_it(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.owns("wu", 1)
    await bench.start("别的")
    await bench.until_idle()
    await bench.world.post(
        "/sandbox/mass-sends", creator="li", sender="li", chat_ids=["wr-li-0000"], text="周五上新"
    )
    await bench.world.fault(path=ADD, drop="before-accept", to="li", count=1)
    await bench.start("周五上新")
    await bench.until_idle()
    ours = [one for one in await bench.made() if one["text"] == "周五上新" and one["creator"] is None]
    assert sorted(one["sender"] for one in ours) == ["li", "wu"]
    assert len({row.msgid for row in await bench.rows(owner_task)}) == 4


async def ambiguous(bench: Bench) -> str:
    """A request of unknown outcome, while somebody else's program makes the same task; the task's id."""
    await bench.owns("li", 1)
    await bench.world.fault(path=ADD, drop="after-accept", count=1)
    await bench.start()
    await bench.until_asked()
    app = bench.replica
    body = {
        "chat_type": "group",
        "sender": "li",
        "chat_id_list": ["wr-li-0000"],
        "text": {"content": "周五上新"},
    }
    made = await app.side.sender._live._api.create(await app._app(), body)  # type: ignore[attr-defined]  # as another program would
    assert made.msgid
    await bench.until_idle()
    assert await bench.tasks() == {"li/0": ("unknown", "several_found")}
    [row] = await bench.rows(owner_task)
    return str(row.id)


def desk(bench: Bench) -> TaskDesk:
    return bench.replica.side.desk


async def resolve(bench: Bench, task_id: str, verdict: Verdict, key: str = "k") -> str | None:
    with acting_as(LOCAL_OPERATOR):
        return await desk(bench).resolve(
            task_id, verdict, stores={STORE}, by="op", comment="", once=Once(STORE, METHOD, key, "h")
        )


async def test_what_stays_ambiguous_waits_for_a_person_and_keeps_the_campaign_open(bench: Bench) -> None:
    task_id = await ambiguous(bench)
    assert await bench.status() == ("running", "")
    [found] = await desk(bench).list_unknown({STORE}, "", 10)
    assert (found.id, found.kind, "2 tasks could be it" in found.detail) == (task_id, "owner_task", True)
    assert not await desk(bench).list_unknown({"other"}, "", 10)
    assert await resolve(bench, task_id, Verdict.SENT) == "pending"
    assert await resolve(bench, task_id, Verdict.SENT) == "pending", "a repeat answers as the first time"
    await bench.until_idle()
    first = (await bench.made())[0]["msgid"]
    [row] = await bench.rows(owner_task)
    assert (row.status, row.msgid) == ("created", first)
    assert len(await bench.made()) == 2
    with pytest.raises(Conflict):
        await resolve(bench, task_id, Verdict.RESEND, "k2")
    assert await bench.status() == ("reconciling", "")


async def test_a_person_may_say_that_it_was_not_made(bench: Bench) -> None:
    task_id = await ambiguous(bench)
    assert await resolve(bench, task_id, Verdict.NOT_SENT) == "refused"
    assert await bench.targets() == {"wr-li-0000": ("refused", "resolved_not_sent")}
    assert await bench.status() == ("reconciling", "")


async def test_a_person_may_have_it_made_again_under_all_the_rules(bench: Bench) -> None:
    task_id = await ambiguous(bench)
    await bench.move(Status.PAUSED)
    assert await resolve(bench, task_id, Verdict.RESEND) == "pending"
    await bench.until_idle()
    assert len(await bench.made()) == 2
    await bench.move(Status.RUNNING)
    await bench.until_idle()
    assert len(await bench.made()) == 3


async def test_nothing_else_with_these_words_goes_to_this_sender_until_it_is_clear(bench: Bench) -> None:
    task_id = await ambiguous(bench)
    await bench.start()
    await bench.replica.turn()
    assert [row.hold_reason for row in await bench.rows(owner_task) if row.id != task_id] == [
        "unknown_before"
    ]
    await resolve(bench, task_id, Verdict.SENT)
    await bench.advance(timedelta(seconds=31))
    await bench.until_idle()
    assert {row.status for row in await bench.rows(owner_task)} == {"created"}
    assert len({row.msgid for row in await bench.rows(owner_task)}) == 2
    assert len(await bench.made()) == 3


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": "after-accept"},
        {"drop": "after-accept", "reset": True},
        {"http_status": 502, "accepted": True},
        {"malformed": "truncated"},
        {"malformed": "html"},
        {"malformed": "no_errcode"},
        {"short": True},
    ],
    ids=["closed", "reset", "502", "truncated", "html", "no_errcode", "short"],
)
async def test_however_the_answer_is_lost_the_task_is_found_and_made_once(
    bench: Bench, fault: dict[str, Any]
) -> None:
    await bench.owns("li", 2)
    await bench.world.fault(path=ADD, count=1, **fault)
    await bench.start()
    await bench.until_idle()
    [made] = await bench.made()
    assert await bench.attempts() == ["unknown"]
    [row] = await bench.rows(owner_task)
    assert (row.status, row.msgid) == ("created", made["msgid"])
    assert (row.retries, row.looks) == (0, 0), "a look that found it used up nothing"


async def test_no_answer_within_the_deadline_is_looked_for(bench: Bench) -> None:
    await bench.owns("li", 1)
    # It is accepted, and the answer never comes.
    await bench.world.fault(path=ADD, count=1, hang=True, accepted=True)
    await bench.start()
    bench.replica.sender._deadline = timedelta(seconds=0.5)
    await bench.until_idle()
    assert await bench.attempts() == ["unknown"]
    [made] = await bench.made()
    [row] = await bench.rows(owner_task)
    assert (row.status, row.msgid) == ("created", made["msgid"])


@pytest.mark.parametrize("drop", ["after-accept", "before-accept"])
async def test_several_tasks_of_one_owner_with_the_same_words_are_told_apart(bench: Bench, drop: str) -> None:
    """Two campaigns of the same words, and two tasks in each: whichever answers are lost, four tasks, each known."""
    groups = await bench.owns("li", 4)
    bench.replica.side.start._groups_a_task = 2
    await bench.world.fault(path=ADD, drop=drop, probability=0.6, seed=4, count=2)
    await bench.start()
    await bench.start()
    await bench.until_idle()
    made = await bench.made()
    assert Counter(chat_id for one in made for chat_id in one["chat_ids"]) == dict.fromkeys(groups, 2)
    assert len(made) == 4
    asked = {one["msgid"]: sorted(one["chat_ids"]) for one in made}
    for row in await bench.rows(owner_task):
        theirs = [one.chat_id for one in await bench.rows(campaign_target) if one.task_id == row.id]
        assert asked.pop(row.msgid) == sorted(theirs), "each has the task that holds its groups"
    assert not asked


async def test_many_looks_ask_about_each_task_once(bench: Bench) -> None:
    """After an outage all that was under way is looked for at once; they share the rate, and so what they learn."""
    for at in range(6):
        await bench.owns(f"u{at}", 1)
    await bench.world.fault(path=ADD, drop="after-accept", count=6)
    await bench.start()
    fast = Replica(
        bench.database,
        bench.clock,
        bench.world.url,
        bench.groups,
        "b",
        qps=50,
        follow=bench.replica.follow,
    )
    try:
        assert await fast.turn() == 6
        await bench.advance(timedelta(seconds=6))
        assert await fast.turn() == 6
    finally:
        await fast.close()
    assert {status for status, _ in (await bench.tasks()).values()} == {"created"}
    assert len(await bench.made()) == 6
    asked = await bench.world.requests("/cgi-bin/externalcontact/get_groupmsg_task")
    assert len(asked) == 6, "not thirty-six"


async def test_a_look_ends_before_its_lease_does(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.world.fault(path=ADD, drop="after-accept", count=1)
    await bench.world.fault(path=LIST, hang=True)
    await bench.start()
    await bench.until_asked()
    bench.replica.sender._lease = timedelta(seconds=2.5)
    await bench.advance(timedelta(seconds=6))
    await bench.replica.turn()
    [row] = await bench.rows(owner_task)
    assert (row.status, row.hold_reason, row.looks) == ("deferred", "look_up", 0)
    assert "took too long" in row.error


async def test_what_cannot_be_looked_for_in_a_day_is_for_a_person(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.world.fault(path=ADD, drop="after-accept", count=1)
    await bench.world.fault(path=LIST, errcode=-1)
    await bench.start()
    await bench.until_asked()
    for _ in range(4):
        await bench.advance(timedelta(hours=5.9))
        await bench.replica.turn()
        assert await bench.tasks() == {"li/0": ("deferred", "look_up")}
    await bench.advance(timedelta(minutes=25))
    await bench.replica.turn()
    assert await bench.tasks() == {"li/0": ("unknown", "look_up_failed")}
    [found] = await desk(bench).list_unknown({STORE}, "", 10)
    await bench.world.clear_faults()
    assert await resolve(bench, found.id, Verdict.SENT) == "pending"
    await bench.until_idle()
    assert await bench.tasks() == {"li/0": ("created", "")}
    assert len(await bench.made()) == 1


async def test_a_cancelled_campaign_still_finds_out_what_its_last_request_made(bench: Bench) -> None:
    await bench.owns("li", 1)
    await bench.owns("wu", 1)
    await bench.world.fault(path=ADD, to="li", drop="after-accept", count=1)
    await bench.world.fault(path=ADD, to="wu", drop="before-accept", count=1)
    await bench.start()
    await bench.until_asked(2)
    await bench.move(Status.CANCELLED)
    await bench.until_idle()
    assert await bench.tasks() == {"li/0": ("created", ""), "wu/0": ("cancelled", "campaign_cancelled")}
    assert len(await bench.made()) == 1
    assert [one.owner for one in bench.replica.follow.tasks] == ["li"], "so that it is cancelled there, too"
    assert {status for status, _ in (await bench.targets()).values()} == {"awaiting_owner", "cancelled"}


async def test_a_dry_run_whose_process_is_gone_is_looked_for_nowhere(bench: Bench) -> None:
    await bench.owns("li", 2)
    await bench.start(dry=True)
    make = bench.replica.sender._dry.make
    stuck = asyncio.Event()

    async def never(*_: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    bench.replica.sender._dry.make = never  # type: ignore[method-assign, assignment]  # it dies in there
    await bench.replica.sender.once(1)
    await stuck.wait()
    for call in list(bench.replica.sender._calls):
        call.cancel()
    await bench.replica.sender.settled()
    bench.replica.sender._dry.make = make  # type: ignore[method-assign]
    before = len(await bench.world.requests())
    await bench.advance(timedelta(seconds=61))
    await bench.replica.sender._take_over(bench.clock.now())
    await bench.until_idle()
    assert len(await bench.world.requests()) == before
    assert await bench.tasks() == {"li/0": ("simulated", "")}
    assert {status for status, _ in (await bench.targets()).values()} == {"simulated"}
    [run] = await bench.rows(campaign_run)
    assert run.finished_at is not None


@pytest.mark.parametrize("point", range(14))
async def test_a_process_that_is_gone_at_any_moment_leaves_no_task_out_and_none_twice(
    bench: Bench, point: int
) -> None:
    """It dies at its n-th await of the database or the network; another one goes on when its lease is over."""
    for owner in ("li", "wu", "xu"):
        await bench.owns(owner, 2)
    await bench.start()
    claimed = asyncio.create_task(bench.replica.turn(3))
    await _step(claimed, point * 7)
    claimed.cancel()
    for call in list(bench.replica.sender._calls):
        call.cancel()
    await asyncio.wait([claimed, *bench.replica.sender._calls])
    second = Replica(
        bench.database,
        bench.clock,
        bench.world.url,
        bench.groups,
        "b",
        follow=bench.replica.follow,
    )
    try:
        bench.replica, first = second, bench.replica
        await bench.advance(timedelta(seconds=61))
        await second.sender._reap()
        await bench.until_idle()
        for _ in range(3):
            await bench.advance(timedelta(seconds=61))
            await second.sender._take_over(bench.clock.now())
            await bench.until_idle()
    finally:
        bench.replica = first
        await second.close()
    made = await bench.made()
    assert sorted(one["sender"] for one in made) == ["li", "wu", "xu"]
    assert {row.msgid for row in await bench.rows(owner_task)} == {one["msgid"] for one in made}
    assert {status for status, _ in (await bench.targets()).values()} == {"awaiting_owner"}
    assert await bench.status() == ("reconciling", "")
    assert sorted(one.msgid for one in bench.replica.follow.tasks) == sorted(one["msgid"] for one in made)


async def _step(task: asyncio.Task[int], steps: int) -> None:
    """Let the loop go round so many times, or until *task* is done."""
    for _ in range(steps):
        if task.done():
            return
        await asyncio.sleep(0)
