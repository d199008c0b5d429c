"""Customer contact's API of groups: which there are, who is in one, and the ways in. One HTTP request a call.

Sources: developer.work.weixin.qq.com 92120 (list), 92122 (one group), 92229 (join ways).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from shared.http.caller import DEADLINE
from shared.values import value_class
from shared.wecom.client import Answer, WeComClient
from shared.wecom.credentials import App
from shared.wecom.customer_groups import GroupDetail, GroupMember, JoinWaySpec
from shared.wecom.outcome import Outcome, State

REPLY_BYTES: Final = 8 * 1024 * 1024
"""Most that is read of a reply: a group may have 500 members, a page 1,000 groups."""
PAGE: Final = 1000
"""Most groups of one page."""
MOST_MEMBERS: Final = 5000
"""Most members that are read of one group, which the platform lets grow to a few hundred."""
_ID_CHARS = 128
_CURSOR_CHARS = 4096

NOT_A_GROUP: Final = frozenset({40050, 40058, 49008, 90501, 90509})
"""What asking for a group is answered with where there is none: unknown, dissolved, no customer group."""
DISSOLVED: Final = 49008
NO_PERMISSION: Final = frozenset({60011, 60021, 60111, 84061, 84074, 92000})
"""The group's owner is none of those whom the secret may act for."""
CURSOR_INVALID: Final = frozenset({40058, 50100})
UNKNOWN_WAY: Final = frozenset({40058, 40050, 41044, 41046})
"""What asking for a join way that does not exist is answered with."""


@value_class
class GroupPage:
    """What one call for the list brought."""

    outcome: Outcome
    groups: tuple[tuple[str, int], ...] = ()
    """Chat id and status: 0 normal, 1 owner left, 2 being inherited, 3 inherited."""
    next_cursor: str = ""
    """Empty at the end."""
    date: datetime | None = None
    """The platform's time, where its answer told it."""


@value_class
class GroupRead:
    """What became of asking for a group; *detail* is there where *outcome* is accepted."""

    outcome: Outcome
    detail: GroupDetail | None = None


@value_class
class JoinWayMade:
    """What became of making one."""

    outcome: Outcome
    config_id: str = ""


@value_class
class JoinWayRead:
    """What became of asking for one; *spec* is there where *outcome* is accepted."""

    outcome: Outcome
    spec: JoinWaySpec | None = None
    qr_code: str = ""
    """URL of its picture."""


class CustomerApi:
    """Calls on behalf of *app*, which holds the secret of customer contact. Never raises for what the other side does."""

    def __init__(self, wecom: WeComClient, app: App) -> None:
        self._wecom = wecom
        self._app = app

    async def groups(self, cursor: str = "", limit: int = PAGE, *, deadline: float = DEADLINE) -> GroupPage:
        """One page of the groups that the secret sees, behind *cursor*; empty is the beginning."""
        asked: dict[str, object] = {"status_filter": 0, "limit": limit}
        answer = await self._ask("list", asked | ({"cursor": cursor} if cursor else {}), deadline)
        if answer.outcome.state is not State.ACCEPTED:
            return GroupPage(answer.outcome, date=answer.date)
        found = _page(answer.data)
        if found is None:
            return GroupPage(_garbled(answer.outcome), date=answer.date)
        return GroupPage(answer.outcome, *found, date=answer.date)

    async def group(self, chat_id: str, *, deadline: float = DEADLINE) -> GroupRead:
        """One group with its members, without their names."""
        answer = await self._ask("get", {"chat_id": chat_id, "need_name": 0}, deadline)
        if answer.outcome.state is not State.ACCEPTED:
            return GroupRead(answer.outcome)
        detail = _detail(answer.data, chat_id)
        return GroupRead(answer.outcome, detail) if detail else GroupRead(_garbled(answer.outcome))

    async def add_join_way(self, spec: JoinWaySpec, *, deadline: float = DEADLINE) -> JoinWayMade:
        """Make one. The platform knows no key: whoever asks twice has two."""
        answer = await self._ask("add_join_way", _asked(spec), deadline)
        if answer.outcome.state is not State.ACCEPTED:
            return JoinWayMade(answer.outcome)
        config_id = _id(answer.data.get("config_id"))
        return JoinWayMade(answer.outcome, config_id) if config_id else JoinWayMade(_garbled(answer.outcome))

    async def join_way(self, config_id: str, *, deadline: float = DEADLINE) -> JoinWayRead:
        """One as the platform has it."""
        answer = await self._ask("get_join_way", {"config_id": config_id}, deadline)
        if answer.outcome.state is not State.ACCEPTED:
            return JoinWayRead(answer.outcome)
        found = answer.data.get("join_way")
        spec = _spec(found) if isinstance(found, dict) else None
        if spec is None or not isinstance(found, dict):
            return JoinWayRead(_garbled(answer.outcome))
        return JoinWayRead(answer.outcome, spec, _text(found.get("qr_code"), 2048))

    async def update_join_way(
        self, config_id: str, spec: JoinWaySpec, *, deadline: float = DEADLINE
    ) -> Outcome:
        """Write all of one; a repeat does no harm."""
        answer = await self._ask("update_join_way", {"config_id": config_id, **_asked(spec)}, deadline)
        return answer.outcome

    async def delete_join_way(self, config_id: str, *, deadline: float = DEADLINE) -> Outcome:
        """Take one away: its picture leads nowhere any more."""
        return (await self._ask("del_join_way", {"config_id": config_id}, deadline)).outcome

    async def _ask(self, call: str, asked: Mapping[str, object], deadline: float) -> Answer:
        path = f"/cgi-bin/externalcontact/groupchat/{call}"
        return await self._wecom.post(self._app, path, asked, deadline=deadline)


def _page(data: Mapping[str, object]) -> tuple[tuple[tuple[str, int], ...], str] | None:
    """None where the answer cannot be gone on from: a group that is overlooked would count as gone."""
    rows, cursor = data.get("group_chat_list") or [], data.get("next_cursor") or ""
    if not isinstance(rows, list) or not isinstance(cursor, str) or len(cursor) > _CURSOR_CHARS:
        return None
    found: list[tuple[str, int]] = []
    for row in rows:
        chat_id = _id(row.get("chat_id")) if isinstance(row, dict) else ""
        status = row.get("status", 0) if isinstance(row, dict) else None
        if not chat_id or isinstance(status, bool) or not isinstance(status, int):
            return None
        found.append((chat_id, status))
    return tuple(found), cursor


def _detail(data: Mapping[str, object], chat_id: str) -> GroupDetail | None:
    found = data.get("group_chat")
    if not isinstance(found, dict) or found.get("chat_id") != chat_id:
        return None
    rows = found.get("member_list") or []
    if not isinstance(rows, list) or len(rows) > MOST_MEMBERS:
        return None
    members = [_member(row) for row in rows]
    if any(one is None for one in members):
        return None
    return GroupDetail(
        chat_id,
        _text(found.get("name"), 256),
        _id(found.get("owner")),
        _instant(found.get("create_time")),
        tuple(one for one in members if one is not None),
        _text(found.get("member_version"), _ID_CHARS),
    )


def _member(row: object) -> GroupMember | None:
    if not isinstance(row, dict) or not (known := _id(row.get("userid"))):
        return None
    external = row.get("type") == 2
    state = _text(row.get("state"), 64) if external else ""
    return GroupMember(known, external, _instant(row.get("join_time")), state)


def _spec(found: Mapping[str, object]) -> JoinWaySpec | None:
    """As told; the vendor's own sample has a scene that none may be made with, so it is not judged."""
    chats, scene = found.get("chat_id_list") or [], found.get("scene")
    if isinstance(scene, bool) or not isinstance(scene, int):
        return None
    if not isinstance(chats, list) or not all(isinstance(one, str) for one in chats):
        return None
    number = found.get("room_base_id")
    return JoinWaySpec(
        scene=scene,
        chat_ids=tuple(chats),
        remark=_text(found.get("remark"), 256),
        auto_create_room=found.get("auto_create_room", 1) in (1, True),
        room_base_name=_text(found.get("room_base_name"), 256),
        room_base_id=number if isinstance(number, int) and not isinstance(number, bool) else 0,
        state=_text(found.get("state"), 256),
        mark_source=found.get("mark_source") is not False,
    )


def _asked(spec: JoinWaySpec) -> dict[str, object]:
    asked: dict[str, object] = {
        "scene": spec.scene,
        "remark": spec.remark,
        "auto_create_room": int(spec.auto_create_room),
        "room_base_name": spec.room_base_name,
        "chat_id_list": list(spec.chat_ids),
        "state": spec.state,
        "mark_source": spec.mark_source,
    }
    return asked | ({"room_base_id": spec.room_base_id} if spec.room_base_id else {})


def _id(value: object) -> str:
    return value if isinstance(value, str) and 0 < len(value) <= _ID_CHARS and value.isprintable() else ""


def _text(value: object, most: int) -> str:
    """Text without what no database keeps, cut where it is longer than anything known."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "").encode("utf-8", "replace").decode()[:most]


def _instant(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 4_102_444_800:
        return None
    return datetime.fromtimestamp(value, UTC)


def _garbled(outcome: Outcome) -> Outcome:
    detail = "the answer has not what it must have"
    return replace(outcome, state=State.UNKNOWN, cause="malformed", detail=detail)
