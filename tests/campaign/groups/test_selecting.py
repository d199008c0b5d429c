"""Whom a filter chooses of what is stored, held against the same question asked of plain facts; and why not some."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from services.campaign.domain.eligibility import Reason
from services.campaign.pipeline import selecting
from services.campaign.store.campaign_tables import campaign_target
from services.campaign.store.group_tables import customer_group, group_join, group_label
from shared.db.once import Once
from shared.errors import Invalid
from shared.ids import new_id
from tests.campaign.groups.house import House

DAY = timedelta(days=1)
STORE = "s1"
OWNERS, LABELS, STATES = ("ann", "ben", "cy"), ("vip", "lunch", "opted_out", "Vip"), ("poster", "flyer")
NAMES = ("老客群", "VIP 老客", "vip午市", "50%_群", "")


class Town:
    """Groups as plain facts, and as rows; what is asked of the rows can be asked of the facts as well."""

    def __init__(self, now: datetime, count: int, seed: int = 4) -> None:
        self.now, self._chance = now, random.Random(seed)
        self.facts = [self._made(f"wr{at:03}") for at in range(count)]

    def _made(self, chat_id: str) -> dict[str, Any]:
        pick = self._chance
        ago = [self.now - pick.choice((0, 1, 6, 7, 30, 31, 400)) * DAY for _ in range(4)]
        return {
            "chat_id": chat_id,
            "store_id": pick.choice((STORE, STORE, STORE, "s2")),
            "owner": pick.choice(OWNERS),
            "name": pick.choice(NAMES),
            "member_count": pick.randrange(0, 60),
            "gone_reason": pick.choice(("", "", "", "", "dismissed")),
            "created_at": pick.choice((None, *ago[:1])),
            "last_joined_at": pick.choice((None, *ago[1:2])),
            "last_changed_at": pick.choice((None, *ago[2:3])),
            "labels": {one for one in LABELS if pick.random() < 0.25},
            "states": {one: pick.random() < 0.7 for one in STATES if pick.random() < 0.5},
            "sent": [pick.choice((None, *ago)) for _ in range(pick.randrange(3))],
        }

    async def store(self, room: House) -> None:
        """As a sync, people and campaigns would have left them."""
        rows: dict[sa.Table, list[dict[str, Any]]] = {
            customer_group: [],
            group_label: [],
            group_join: [],
            campaign_target: [],
        }
        for one in self.facts:
            chat_id = one["chat_id"]
            row = {name: value for name, value in one.items() if name not in ("labels", "states", "sent")}
            rows[customer_group].append({**_ROW, **row, "first_seen_at": self.now, "updated_at": self.now})
            rows[group_label] += [
                {"chat_id": chat_id, "label": label, "by": "ann", "at": self.now} for label in one["labels"]
            ]
            rows[group_join] += [
                {
                    "chat_id": chat_id,
                    "member": f"m-{state}",
                    "joined_at": self.now,
                    "state": state,
                    "left_at": None if here else self.now,
                }
                for state, here in one["states"].items()
            ]
            rows[campaign_target] += [
                {
                    **dict.fromkeys(("owner", "name", "status", "reason", "error", "task_id"), "x"),
                    "run_id": new_id(),
                    "campaign_id": "c",
                    "chat_id": chat_id,
                    "sent_at": at,
                    "created_at": self.now,
                    "updated_at": self.now,
                }
                for at in one["sent"]
            ]
        async with room.database.write() as conn:
            for table, many in rows.items():
                await conn.execute(sa.insert(table), many)

    def chosen(self, document: dict[str, Any]) -> list[str]:
        """Whom a filter means, by what its words say."""
        found = [one for one in self.facts if one["store_id"] == STORE]
        if named := document.get("chat_ids"):
            found = [one for one in found if one["chat_id"] in named]
        else:
            found = [one for one in found if not one["gone_reason"]]
        where = document.get("where")
        return [one["chat_id"] for one in found if where is None or self._is(one, where)]

    def _is(self, one: dict[str, Any], where: dict[str, Any]) -> bool:
        [(name, value)] = where.items()
        sent = [at for at in one["sent"] if at is not None]
        stirs = [one[name] for name in ("created_at", "last_joined_at", "last_changed_at") if one[name]]
        match name:
            case "all_of":
                return all(self._is(one, each) for each in value)
            case "any_of":
                return any(self._is(one, each) for each in value)
            case "none_of":
                return not any(self._is(one, each) for each in value)
            case "label":
                return bool(one["labels"] & set(value))
            case "owner" | "chat_id":
                return one[name] in value
            case "join_state":
                return any(one["states"].get(state) for state in value)
            case "name_contains":
                return value.lower() in one["name"].lower()
            case "members":
                return value["min"] <= one["member_count"] <= value.get("max", 10**9)
            case "silent_for_days":
                return bool(stirs) and all(self.now - at >= value * DAY for at in stirs)
            case "joined_within_days":
                return one["last_joined_at"] is not None and self.now - one["last_joined_at"] < value * DAY
            case "created_within_days":
                return one["created_at"] is not None and self.now - one["created_at"] < value * DAY
            case "not_sent_for_days":
                return all(self.now - at >= value * DAY for at in sent)
        raise AssertionError(name)

    def filter(self, depth: int = 0) -> dict[str, Any]:
        """Some condition."""
        pick = self._chance
        if depth < 4 and pick.random() < 0.5:
            name = pick.choice(("all_of", "any_of", "none_of"))
            return {name: [self.filter(depth + 1) for _ in range(pick.randrange(1, 4))]}
        least, days = pick.randrange(60), pick.choice((1, 6, 7, 8, 30, 31, 400))
        words = {"label": LABELS, "owner": (*OWNERS, "eve"), "join_state": STATES}
        name = pick.choice((*words, "chat_id", "name_contains", "members", *_DAYS))
        match name:
            case "chat_id":
                return {name: [one["chat_id"] for one in pick.sample(self.facts, 5)]}
            case "name_contains":
                return {name: pick.choice(("vip", "VIP", "老客", "%", "_", "群"))}
            case "members":
                bound = {"max": least + pick.randrange(30)} if pick.random() < 0.5 else {}
                return {name: {"min": least, **bound}}
            case "label" | "owner" | "join_state":
                return {name: pick.sample(words[name], pick.randrange(1, 3))}
        return {name: days}


_DAYS = ("silent_for_days", "joined_within_days", "created_within_days", "not_sent_for_days")
_ROW = {
    "status": "normal",
    "customer_count": 0,
    "read_at": datetime(2026, 1, 1, tzinfo=UTC),
    "read_rank": 1,
    "read_attempts": 0,
    **dict.fromkeys(("read_error", "sync_id", "seen_in", "counted_in"), ""),
}


async def select(room: House, document: dict[str, Any], caps: Any = None, store: str = STORE) -> Any:
    """Whom a filter chooses now."""
    async with room.database.read() as conn:
        return await selecting.StoredGroups(caps).select(conn, store, document, room.clock.now())


async def test_what_is_chosen_from_the_rows_is_what_the_filter_says_of_the_facts(
    room: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selecting, "PAGE", 37)
    town = Town(room.clock.now(), 150)
    await town.store(room)
    sizes = set()
    for _ in range(250):
        document = {"where": town.filter()}
        found = await select(room, document)
        chosen = sorted(
            [one.chat_id for one in found.included] + [one.group.chat_id for one in found.excluded]
        )
        assert chosen == town.chosen(document), document
        assert [one.chat_id for one in found.included] == sorted(one.chat_id for one in found.included)
        sizes.add(len(chosen))
    assert len(sizes) > 40  # they are no filters that choose all or nothing
    every = await select(room, {"every_group": True})
    assert len(every.included) + len(every.excluded) == len(town.chosen({}))


async def test_a_group_that_is_named_is_told_of_though_it_is_gone_and_must_be_of_the_store(
    room: House,
) -> None:
    town = Town(room.clock.now(), 40)
    await town.store(room)
    mine = [one for one in town.facts if one["store_id"] == STORE]
    document = {"chat_ids": [one["chat_id"] for one in mine]}
    found = await select(room, document)
    gone = {one["chat_id"] for one in mine if one["gone_reason"]}
    assert gone
    assert {one.group.chat_id for one in found.excluded if one.reason == "dismissed"} == gone
    theirs = next(one["chat_id"] for one in town.facts if one["store_id"] != STORE)
    with pytest.raises(Invalid) as refused:
        await select(room, {"chat_ids": [mine[0]["chat_id"], theirs]})
    assert refused.value.violations[0].field == "audience.chat_ids[1]"


class Full:
    """Says that a group has received all it may."""

    def __init__(self, *chat_ids: str) -> None:
        self.chat_ids = chat_ids

    async def full(self, conn: Any, store_id: str, chat_ids: Any, at: datetime) -> dict[str, str]:
        """Of those asked for."""
        return {one: "1 a day" for one in chat_ids if one in self.chat_ids}


async def test_each_reason_for_which_nothing_is_sent_is_named_with_the_fact_that_decided(
    room: House,
) -> None:
    for n in range(1, 10):
        await room.declare(f"wr{n}", owner="cy" if n == 2 else "ann")
    await room.declare("wr11", owner="ben")
    side = room.side(caps=Full("wr8"))
    await room.until_idle(side)
    await room.later(20 * 86_400)
    await room.change("wr1", dismiss=True)
    await room.world.declare(users=[{"userid": "cy", "no_customers": True}])
    await room.change("wr3", status=1)
    await room.change("wr4", status=2)
    await side.groups.label(["wr5"], ["opted_out"], [], "", None, once=Once("", "x/LabelGroups", "", "h"))
    for n in (3, 4, 5, 7, 8, 9):
        await room.change(f"wr{n}", join=[{"external_userid": f"new{n}", "scene": 3}])
    await room.declare("wr10")
    await room.world.fault(path="/cgi-bin/externalcontact/groupchat/get", body='"wr10"', errcode=60011)
    await side.groups.sync(True, once=Once("", "x/SyncGroups", "", "h"))
    await room.until_idle(side)
    async with room.database.write() as conn:
        nobody = sa.update(customer_group).where(customer_group.c.chat_id == "wr9").values(owner="")
        await conn.execute(nobody)
        mine = sa.update(customer_group).where(customer_group.c.chat_id == "wr10").values(store_id=STORE)
        await conn.execute(mine)

    async with room.database.read() as conn:
        asked = {"chat_ids": [f"wr{n}" for n in range(1, 11)], "leave_out_silent_days": 14}
        chosen = await side.selecting.select(conn, STORE, asked, room.clock.now())
        with_room = await side.selecting.select(conn, STORE, asked, room.clock.now(), with_room=True)
        everybody = [f"wr{n}" for n in range(1, 13)]
        standing = await side.selecting.standing(conn, STORE, everybody, room.clock.now())
    told = {one.group.chat_id: (one.reason, one.detail) for one in chosen.excluded}
    day = f"{room.clock.now():%Y-%m-%d}"
    assert told == {
        "wr1": (Reason.DISMISSED, f"dismissed, seen {day}"),
        "wr2": (Reason.NOT_IN_RANGE, f"not among the groups that the secret sees since {day}"),
        "wr3": (Reason.OWNER_LEFT, "ann has left the company"),
        "wr4": (Reason.BEING_INHERITED, "it is on its way from ann to another owner"),
        "wr5": (Reason.OPTED_OUT, "labelled opted_out"),
        "wr6": (
            Reason.SILENT,
            f"nobody joined or left for 20 days, since {room.clock.now() - 20 * DAY:%Y-%m-%d}",
        ),
        "wr9": (Reason.NO_OWNER, "the platform names no owner"),
        "wr10": (Reason.NOT_READ, "never read: denied"),
    }
    # What a group has received counts on the day on which it would receive more, not when it is chosen.
    assert [one.chat_id for one in chosen.included] == ["wr7", "wr8"]
    assert [one.chat_id for one in with_room.included] == ["wr7"]
    assert [
        (one.group.chat_id, one.reason, one.detail)
        for one in with_room.excluded
        if not told.get(one.group.chat_id)
    ] == [("wr8", Reason.NO_SLOT_TODAY, "1 a day")]
    now = {one: found if isinstance(found, str) else "" for one, found in standing.items()}
    assert (now["wr8"], now["wr7"], now["wr6"]) == (Reason.NO_SLOT_TODAY, "", "")
    assert (now["wr11"], now["wr12"]) == (Reason.OTHER_STORE, Reason.NOT_IN_RANGE)
    for chat_id in ("wr1", "wr2", "wr3", "wr4", "wr5", "wr9", "wr10"):
        assert now[chat_id] == told[chat_id][0]
    shown = (await side.groups.get("wr8", None, 0)).judged.verdict
    assert (shown.reason, shown.detail) == (Reason.NO_SLOT_TODAY, "1 a day")
