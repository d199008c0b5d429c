"""Groups and join ways as callers meet them: over gRPC, with tokens that see one store or all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from reach.campaign.v1 import campaign_service_pb2_grpc, group_pb2, join_way_pb2
from reach.ops.v1 import audit_pb2

from services.campaign import group_service, join_way_service
from shared.rpc.status import from_call
from tests.campaign.groups.house import SETTINGS, build, populate
from tests.e2e.harness import Grant, Reach, Sandbox, create_tokens, embedded, eventually

READ, WRITE, OPERATE = "campaign.read", "campaign.write", "campaign.operate"
PEOPLE: dict[str, Grant] = {
    "chief": ((READ, WRITE, OPERATE, "audit.read", "ops.read"), ("*",)),
    "north": ((READ, WRITE, OPERATE), ("s1",)),
    "south": ((READ, WRITE, OPERATE), ("s2",)),
    "guest": (("audit.read",), ("*",)),
}
API = "/cgi-bin/externalcontact/groupchat/"


class Door:
    """The service to each person."""

    def __init__(self, world: Sandbox, reach: Reach, tokens: dict[str, str]) -> None:
        self.world, self.reach = world, reach
        self.seen = {name: reach.bearing(token) for name, token in tokens.items()}

    def of(self, person: str) -> Any:
        """The stub that bears a person's token."""
        channel = self.seen[person].channel
        return campaign_service_pb2_grpc.CampaignServiceStub(channel)  # type: ignore[no-untyped-call]

    async def groups(self, person: str = "chief", **asked: Any) -> list[Any]:
        """Those that a person is shown."""
        return list((await self.of(person).ListGroups(group_pb2.ListGroupsRequest(**asked))).groups)

    async def synced(self, **asked: Any) -> Any:
        """A sync, and its report when it is over."""
        begun = await self.of("chief").SyncGroups(group_pb2.SyncGroupsRequest(**asked))

        async def over() -> Any:
            request = group_pb2.GetGroupSyncRequest(sync_id=begun.sync.id)
            found = (await self.of("chief").GetGroupSync(request)).sync
            return None if found.status == group_pb2.SYNC_STATUS_RUNNING else found

        return await eventually(over)

    async def label(self, person: str, *chat_ids: str, **more: Any) -> int:
        """LabelGroups; how many it were."""
        request = group_pb2.LabelGroupsRequest(chat_ids=chat_ids, **more)
        return int((await self.of(person).LabelGroups(request)).group_count)


@pytest.fixture
async def door(world: Sandbox, tmp_path: Path) -> AsyncIterator[Door]:
    """Three groups of s1 and two of s2, synchronised."""
    await populate(world)
    for n, owner in enumerate(("ann", "ann", "cy", "ben", "ben"), 1):
        await world.post("/sandbox/groups", chat_id=f"wr{n}", owner=owner, name=f"群 {n}")
    tokens = await create_tokens(tmp_path / "home", PEOPLE)
    async with embedded(world.url, tmp_path / "home", builds=[build], **SETTINGS) as reach:
        made = Door(world, reach, tokens)

        async def ready() -> bool:
            found = await made.groups()
            return [one.eligible for one in found] == [True] * 5

        await eventually(ready)
        yield made


async def refused(call: Any, reason: str) -> Any:
    """The failure, which has to have *reason*."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # gRPC's own error, read below
        await call
    found = from_call(caught.value)
    assert found.reason == reason, found
    return found


def ids(groups: list[Any]) -> list[str]:
    return [one.chat_id for one in groups]


async def test_everybody_sees_the_groups_of_their_stores_page_by_page(door: Door):
    assert ids(await door.groups("chief")) == ["wr1", "wr2", "wr3", "wr4", "wr5"]
    assert ids(await door.groups("north")) == ["wr1", "wr2", "wr3"]
    assert ids(await door.groups("south")) == ["wr4", "wr5"]
    await refused(door.groups("north", store_id="s2"), "STORE_FORBIDDEN")
    await refused(door.groups("guest"), "SCOPE_MISSING")
    pages, token = [], ""
    for _ in range(3):
        request = group_pb2.ListGroupsRequest(page_size=2, page_token=token)
        answer = await door.of("north").ListGroups(request)
        pages.append(ids(answer.groups))
        token = answer.next_page_token
        if not token:
            break
    assert pages == [["wr1", "wr2"], ["wr3"]]
    stolen = group_pb2.ListGroupsRequest(page_size=2, owner="ann", page_token="x")
    await refused(door.of("north").ListGroups(stolen), "PAGE_TOKEN_INVALID")
    assert ids(await door.groups(owner="cy")) == ["wr3"]
    assert ids(await door.groups(name_contains="群 4")) == ["wr4"]
    assert ids(await door.groups(statuses=[group_pb2.GROUP_STATUS_OWNER_LEFT])) == []


async def test_one_group_is_shown_with_its_history_to_those_of_its_store(door: Door):
    await door.world.post("/sandbox/groups/wr1", owner="ben", name="新")
    report = await door.synced(whole=True)
    assert (report.status, report.changed, report.whole) == (group_pb2.SYNC_STATUS_FINISHED, 1, True)
    request = group_pb2.GetGroupRequest(chat_id="wr1", days=7)
    told = await door.of("south").GetGroup(request)
    assert [(one.kind, one.before, one.after) for one in told.changes][::-1] == [
        ("owner", "ann", "ben"),
        ("name", "群 1", "新"),
        ("store", "s1", "s2"),
    ]
    assert (told.group.owner, told.group.store_id, told.group.silent_days) == ("ben", "s2", 0)
    await refused(door.of("north").GetGroup(request), "NOT_FOUND")
    await refused(door.of("chief").GetGroup(group_pb2.GetGroupRequest(chat_id="wr9")), "NOT_FOUND")


async def test_labels_are_put_on_all_groups_or_on_none_and_shape_who_may_be_sent_to(door: Door):
    assert await door.label("north", "wr1", "wr2", add=["vip", "lunch"]) == 2
    assert ids(await door.groups(labels=["vip"])) == ["wr1", "wr2"]
    await refused(door.label("north", "wr1", "wr4", add=["x"]), "NOT_FOUND")
    await refused(door.label("chief", "wr1", "wr4", add=["x"]), "FIELD_INVALID")
    await refused(door.label("chief", "wr1"), "FIELD_INVALID")
    await refused(door.label("chief", "wr1", add=["a"], remove=["a"]), "FIELD_INVALID")
    for n in range(2):
        many = [f"{n}-{m}" for m in range(20)]
        assert await door.label("north", "wr3", add=many) == 1
    await refused(door.label("north", "wr3", add=[f"2-{m}" for m in range(11)]), "FIELD_INVALID")
    assert ids(await door.groups(labels=["2-0"])) == []

    assert await door.label("north", "wr1", add=["opted_out"], remove=["lunch"], idempotency_key="k") == 1
    assert await door.label("north", "wr1", remove=["opted_out"]) == 1
    # The same call once more is not done once more, and takes nothing back.
    assert await door.label("north", "wr1", add=["opted_out"], remove=["lunch"], idempotency_key="k") == 1
    [first, *_] = await door.groups()
    assert (list(first.labels), first.eligible) == (["vip"], True)
    await door.label("north", "wr1", add=["opted_out"])
    [first, *_] = await door.groups()
    assert (first.eligible, first.reason, first.detail) == (False, "opted_out", "labelled opted_out")


async def test_labels_survive_whatever_the_platform_tells(door: Door):
    await door.label("north", "wr3", add=["vip"])
    await door.world.declare(users=[{"userid": "cy", "no_customers": True}])
    assert (await door.synced()).gone == 1
    assert ids(await door.groups("north")) == ["wr1", "wr2"]
    [gone] = [one for one in await door.groups(include_gone=True) if one.chat_id == "wr3"]
    assert (gone.gone_reason, gone.reason) == ("not_in_range", "not_in_range")
    await door.world.declare(users=[{"userid": "cy", "no_customers": False}])
    assert (await door.synced()).changed == 1
    assert ids(await door.groups(labels=["vip"])) == ["wr3"]


async def test_syncs_are_listed_with_their_reports_and_one_that_failed_says_why(door: Door):
    await door.world.fault(path=API + "list", errcode=48002)
    failed = await door.synced()
    assert (failed.status, failed.errcode) == (group_pb2.SYNC_STATUS_FAILED, 48002)
    assert failed.error
    await door.world.clear_faults()
    assert (await door.synced(idempotency_key="k")).status == group_pb2.SYNC_STATUS_FINISHED
    request = group_pb2.ListGroupSyncsRequest(page_size=1)
    first = await door.of("north").ListGroupSyncs(request)
    request.page_token = first.next_page_token
    second = await door.of("north").ListGroupSyncs(request)
    assert [one.status for one in (*first.syncs, *second.syncs)] == [
        group_pb2.SYNC_STATUS_FINISHED,
        group_pb2.SYNC_STATUS_FAILED,
    ]
    assert first.syncs[0].started_by == "chief"
    asked = group_pb2.GetGroupSyncRequest(sync_id="none")
    await refused(door.of("north").GetGroupSync(asked), "NOT_FOUND")


async def test_a_join_way_is_made_shown_with_a_picture_that_can_be_read_and_taken_away(door: Door):
    spec = join_way_pb2.JoinWaySpec(
        scene=join_way_pb2.JOIN_WAY_SCENE_QR_CODE, chat_ids=["wr1"], state="poster", remark="海报"
    )
    request = join_way_pb2.CreateJoinWayRequest(store_id="s1", spec=spec, idempotency_key="k")
    made = (await door.of("north").CreateJoinWay(request)).join_way
    assert (made.status, made.created_by) == (join_way_pb2.JOIN_WAY_STATUS_ACTIVE, "north")
    assert (await door.of("north").CreateJoinWay(request)).join_way.id == made.id
    assert len(await door.world.requests(API + "add_join_way")) == 1
    asked = join_way_pb2.GetJoinWayRequest(id=made.id)

    async def picture() -> str:
        return str((await door.of("north").GetJoinWay(asked)).join_way.qr_code)

    async with door.reach.session.get(await eventually(picture)) as answer:
        assert answer.content_type == "image/png"
        assert (await answer.read()).startswith(b"\x89PNG\r\n\x1a\n")
    await refused(door.of("south").GetJoinWay(asked), "NOT_FOUND")
    await refused(
        door.of("south").CreateJoinWay(join_way_pb2.CreateJoinWayRequest(store_id="s1", spec=spec)),
        "STORE_FORBIDDEN",
    )
    theirs = join_way_pb2.JoinWaySpec(scene=join_way_pb2.JOIN_WAY_SCENE_QR_CODE, chat_ids=["wr1"])
    foreign = join_way_pb2.CreateJoinWayRequest(store_id="s2", spec=theirs)
    found = await refused(door.of("south").CreateJoinWay(foreign), "FIELD_INVALID")
    assert [one.field for one in found.violations] == ["spec.chat_ids[0]"]
    delete = join_way_pb2.DeleteJoinWayRequest(id=made.id, comment="一次性")
    gone = (await door.of("north").DeleteJoinWay(delete)).join_way
    assert gone.status == join_way_pb2.JOIN_WAY_STATUS_DELETED
    left = await door.of("north").ListJoinWays(join_way_pb2.ListJoinWaysRequest())
    assert list(left.join_ways) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chat_ids": []}, "spec.chat_ids"),
        ({"chat_ids": [f"wr{n}" for n in range(6)]}, "spec.chat_ids"),
        ({"state": "x" * 31}, "spec.state"),
        ({"room_base_name": "名" * 41}, "spec.room_base_name"),
        ({"remark": "注" * 31}, "spec.remark"),
        ({"scene": join_way_pb2.JOIN_WAY_SCENE_UNSPECIFIED}, "spec.scene"),
    ],
)
async def test_a_join_way_beyond_the_limits_is_refused_by_field_and_never_asked_for(
    door: Door, changes: dict[str, Any], field: str
):
    fields = {"scene": join_way_pb2.JOIN_WAY_SCENE_QR_CODE, "chat_ids": ["wr1"]} | changes
    request = join_way_pb2.CreateJoinWayRequest(store_id="s1", spec=join_way_pb2.JoinWaySpec(**fields))
    found = await refused(door.of("north").CreateJoinWay(request), "FIELD_INVALID")
    assert [one.field for one in found.violations] == [field]
    assert await door.world.requests(API + "add_join_way") == []


async def test_what_people_did_with_groups_is_in_the_audit_log(door: Door):
    await door.label("north", "wr1", add=["vip"], comment="常客")
    await door.synced()
    found = await door.seen["chief"].ops.ListAuditLog(audit_pb2.ListAuditLogRequest())
    assert [(one.method, one.subject) for one in found.entries] == [
        ("SyncGroups", "chief"),
        ("LabelGroups", "north"),
    ]
    assert '"comment":"常客"' in found.entries[1].detail_json
    assert (await door.seen["chief"].ops.VerifyAudit(audit_pb2.VerifyAuditRequest())).ok


def test_every_method_of_these_rooms_has_a_scope():
    for module, methods in (
        (group_service, group_service.GroupMethods),
        (join_way_service, join_way_service.JoinWayMethods),
    ):
        own = {name for name in vars(methods) if name[0].isupper()}
        assert own == {name.rpartition("/")[2] for name in module.SCOPES}
