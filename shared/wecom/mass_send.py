"""Mass sends to customer groups: six calls, one HTTP request each.

The platform sends nothing by itself. A call makes a task, and the sender has to press a button in the client.

Sources: developer.work.weixin.qq.com 92135 (making), 93338 (results), 97610 (reminding), 97611 (cancelling).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final, TypeVar

from shared.http.caller import DEADLINE
from shared.values import value_class
from shared.wecom.client import Answer, WeComClient
from shared.wecom.credentials import App
from shared.wecom.outcome import Outcome, State

NOBODY_LEFT: Final = 41048
"""No group of the task can be sent to."""
NOT_YET: Final = 41063
"""The task is still being handed out; ask again in some seconds."""
CANCELLED: Final = 41093
"""The task was cancelled."""
REMINDED_OUT: Final = 41094
"""Three reminders of the task in 24 hours."""
MEDIA_GONE: Final = 40007
"""A media_id that is not valid, or not any more: upload the file anew."""

MOST_LISTED: Final = 100
MOST_ASKED: Final = 1000
"""Most rows of one page; the platform takes a larger number for its default, without an error."""

_LONGEST_CURSOR = 1024
T = TypeVar("T")


class MemberStatus(IntEnum):
    """Whether a member of a task has pressed send. (Not the numbers of ``ChatStatus``.)"""

    UNSENT = 0
    SENT = 2


class ChatStatus(IntEnum):
    """What became of one group. (Not the numbers of ``MemberStatus``.)"""

    UNSENT = 0
    SENT = 1
    NOT_A_FRIEND = 2
    """It cannot be sent to any more."""
    LIMIT_REACHED = 3
    """It had received the permitted number of mass messages."""


@value_class
class Created:
    """What became of making a task."""

    outcome: Outcome
    msgid: str = ""
    """The task's id; there where *outcome* is accepted, in whole or in part."""
    refused: tuple[str, ...] = ()
    """Groups that the task leaves out."""


@value_class
class Listed:
    """A task as the list shows it."""

    msgid: str
    creator: str
    """Empty for one that was made by API."""
    created_at: datetime
    text: str = field(repr=False)
    attachments: tuple[Mapping[str, Any], ...] = field(repr=False)
    """As they came."""


@value_class
class Member:
    """Somebody who was asked to send."""

    userid: str
    status: int
    """See ``MemberStatus``; the platform may know others."""
    sent_at: datetime | None = None


@value_class
class Result:
    """One group that its owner has sent to, or tried to. Groups that were not sent to are not listed."""

    chat_id: str
    userid: str
    status: int
    """See ``ChatStatus``; the platform may know others."""
    sent_at: datetime | None = None


@value_class
class ListPage:
    """A page of tasks; *next_cursor* is empty on the last one."""

    outcome: Outcome
    tasks: tuple[Listed, ...] = ()
    next_cursor: str = ""


@value_class
class MemberPage:
    """A page of a task's members; *next_cursor* is empty on the last one."""

    outcome: Outcome
    members: tuple[Member, ...] = ()
    next_cursor: str = ""


@value_class
class ResultPage:
    """A page of a task's groups; *next_cursor* is empty on the last one."""

    outcome: Outcome
    results: tuple[Result, ...] = ()
    next_cursor: str = ""


class MassSend:
    """Mass sends to customer groups; *app* is the customer-contact credential.

    Never raises for what the other side does. A page is there only where its outcome is accepted; an answer that cannot
    be understood is unknown.
    """

    def __init__(self, wecom: WeComClient) -> None:
        self._wecom = wecom

    async def ready(self, app: App, *, deadline: float = DEADLINE) -> None:
        """Have at hand what a request needs, so that the next one leaves at once."""
        await self._wecom.ready(app, deadline=deadline)

    async def create(
        self,
        app: App,
        body: Mapping[str, object],
        *,
        deadline: float = DEADLINE,
        traceparent: str | None = None,
        still: Callable[[], bool] | None = None,
    ) -> Created:
        """``add_msg_template``. The platform cannot tell a repeat: after an unknown outcome look for the task.

        *still* is asked right before the request leaves, when the token is there: False, and nothing is sent.
        """
        path = "/cgi-bin/externalcontact/add_msg_template"
        answer = await self._wecom.post(
            app, path, body, deadline=deadline, traceparent=traceparent, still=still
        )
        outcome = answer.outcome
        if outcome.state not in (State.ACCEPTED, State.ACCEPTED_PARTIAL):
            return Created(outcome)
        if not outcome.msgid:
            return Created(_garbled(outcome))
        refused = answer.data.get("fail_list")
        left_out = tuple(map(_text, refused)) if isinstance(refused, list) else ()
        named = tuple(one for one in left_out if one)
        if named:
            outcome = replace(outcome, state=State.ACCEPTED_PARTIAL)
        return Created(outcome, outcome.msgid or "", named)

    async def listed(
        self,
        app: App,
        start_at: datetime,
        end_at: datetime,
        *,
        cursor: str = "",
        limit: int = MOST_LISTED,
        deadline: float = DEADLINE,
    ) -> ListPage:
        """``get_groupmsg_list_v2``: tasks for groups that were made by the corp from *start_at* to *end_at* (a month at
        most), in whole seconds."""
        asked: dict[str, object] = {
            "chat_type": "group",
            "start_time": int(start_at.timestamp()),
            "end_time": int(end_at.timestamp()),
            "filter_type": 0,
            "limit": limit,
        }
        answer = await self._page(app, "get_groupmsg_list_v2", asked, cursor, deadline)
        tasks, following = _rows(answer, "group_msg_list", _listed)
        if tasks is None:
            return ListPage(_refused(answer))
        return ListPage(answer.outcome, tasks, following)

    async def members(
        self,
        app: App,
        msgid: str,
        *,
        cursor: str = "",
        limit: int = MOST_ASKED,
        deadline: float = DEADLINE,
    ) -> MemberPage:
        """``get_groupmsg_task``: who was asked, and who has sent. ``NOT_YET`` right after the task was made."""
        answer = await self._page(
            app, "get_groupmsg_task", {"msgid": msgid, "limit": limit}, cursor, deadline
        )
        members, following = _rows(answer, "task_list", _member)
        if members is None:
            return MemberPage(_refused(answer))
        return MemberPage(answer.outcome, members, following)

    async def results(
        self,
        app: App,
        msgid: str,
        userid: str,
        *,
        cursor: str = "",
        limit: int = MOST_ASKED,
        deadline: float = DEADLINE,
    ) -> ResultPage:
        """``get_groupmsg_send_result``: the groups that *userid* has sent to. One that is missing is no failure."""
        asked: dict[str, object] = {"msgid": msgid, "userid": userid, "limit": limit}
        answer = await self._page(app, "get_groupmsg_send_result", asked, cursor, deadline)
        results, following = _rows(answer, "send_list", _result)
        if results is None:
            return ResultPage(_refused(answer))
        return ResultPage(answer.outcome, results, following)

    async def remind(
        self,
        app: App,
        msgid: str,
        *,
        deadline: float = DEADLINE,
        traceparent: str | None = None,
        still: Callable[[], bool] | None = None,
    ) -> Outcome:
        """``remind_groupmsg_send``: ask those who have not sent once more; at most three times in 24 hours.

        *still* is as for ``create``.
        """
        path, asked = "/cgi-bin/externalcontact/remind_groupmsg_send", {"msgid": msgid}
        answer = await self._wecom.post(
            app, path, asked, deadline=deadline, traceparent=traceparent, still=still
        )
        return answer.outcome

    async def cancel(
        self,
        app: App,
        msgid: str,
        *,
        deadline: float = DEADLINE,
        still: Callable[[], bool] | None = None,
    ) -> Outcome:
        """``cancel_groupmsg_send``: what was not sent yet cannot be any more. A repeat does no harm.

        *still* is as for ``create``.
        """
        path = "/cgi-bin/externalcontact/cancel_groupmsg_send"
        return (await self._wecom.post(app, path, {"msgid": msgid}, deadline=deadline, still=still)).outcome

    async def _page(
        self, app: App, call: str, asked: dict[str, object], cursor: str, deadline: float
    ) -> Answer:
        if cursor:
            asked["cursor"] = cursor
        return await self._wecom.post(app, f"/cgi-bin/externalcontact/{call}", asked, deadline=deadline)


def _rows(
    answer: Answer, name: str, read: Callable[[Mapping[str, Any]], T | None]
) -> tuple[tuple[T, ...] | None, str]:
    """The rows of a page and where the next begins; None where there is no page that can be relied on."""
    if answer.outcome.state is not State.ACCEPTED:
        return None, ""
    found = answer.data.get(name, [])
    following = answer.data.get("next_cursor", "")
    if not isinstance(found, list) or not isinstance(following, str) or len(following) > _LONGEST_CURSOR:
        return None, ""
    rows = [read(one) if isinstance(one, dict) else None for one in found]
    understood = tuple(one for one in rows if one is not None)
    if len(understood) < len(rows):
        return None, ""  # a row that is passed over could be the one that matters
    return understood, following


def _listed(row: Mapping[str, Any]) -> Listed | None:
    msgid, at = _text(row.get("msgid")), _instant(row.get("create_time"))
    text, attachments = row.get("text"), row.get("attachments")
    said = _text(text.get("content")) if isinstance(text, dict) else ""
    parts: Sequence[Any] = attachments if isinstance(attachments, list) else ()
    if not msgid or at is None:
        return None
    return Listed(
        msgid, _text(row.get("creator")), at, said, tuple(one for one in parts if isinstance(one, dict))
    )


def _member(row: Mapping[str, Any]) -> Member | None:
    userid, status = _text(row.get("userid")), _whole(row.get("status"))
    if not userid or status is None:
        return None
    return Member(userid, status, _instant(row.get("send_time")))


def _result(row: Mapping[str, Any]) -> Result | None:
    chat_id, status = _text(row.get("chat_id")), _whole(row.get("status"))
    if not chat_id or status is None:
        return None
    return Result(chat_id, _text(row.get("userid")), status, _instant(row.get("send_time")))


def _instant(value: object) -> datetime | None:
    seconds = _whole(value)
    if seconds is None or not 0 < seconds < 1 << 36:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _refused(answer: Answer) -> Outcome:
    return _garbled(answer.outcome) if answer.outcome.state is State.ACCEPTED else answer.outcome


def _garbled(outcome: Outcome) -> Outcome:
    detail = "the answer has not what it must have"
    return replace(outcome, state=State.UNKNOWN, cause="malformed", detail=detail)
