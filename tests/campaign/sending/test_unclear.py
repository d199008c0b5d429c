"""A request of which nobody knows whether it made a task: the platform is asked before anything is made again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from services.campaign.domain.campaign import Attachment, AttachmentKind, Content
from services.campaign.domain.lifecycle import Status
from services.campaign.store.campaign_tables import owner_task
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
