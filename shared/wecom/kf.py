"""WeChat KF's API but for sending: messages to read, sessions to hand on, accounts, ways in, customers.

Sources: developer.work.weixin.qq.com 94670 (reading), 94669 (states), 94661 (accounts), 94665 (ways in), 95171
(customers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Final

from shared.http.caller import DEADLINE
from shared.values import value_class
from shared.wecom.client import Answer, WeComClient
from shared.wecom.credentials import App
from shared.wecom.outcome import Outcome, State

REPLY_BYTES: Final = 8 * 1024 * 1024
"""Most that is read of a reply: a page of messages is larger than any other."""

MOST_ACCOUNTS: Final = 5000
MOST_CUSTOMERS: Final = 100
_ACCOUNTS_A_CALL = 100
_CODE_CHARS = 1024


@value_class
class Page:
    """What one call brought."""

    next_cursor: str
    has_more: bool
    items: tuple[object, ...] = field(repr=False)
    """As they came: nothing in them is checked."""


@value_class
class Pulled:
    """What became of asking for messages; *page* is there where *outcome* is accepted."""

    outcome: Outcome
    page: Page | None = None


@value_class
class StateOf:
    """Where the platform has a session; *state* is None unless *outcome* is accepted."""

    outcome: Outcome
    state: int | None = None
    servicer_userid: str = ""


@value_class
class Moved:
    """What became of handing a session on."""

    outcome: Outcome
    code: str = field(default="", repr=False)
    """Allows one message about it; empty where none may be sent."""


@value_class
class Listed:
    """The accounts that the secret sees; all of them only where *outcome* is accepted."""

    outcome: Outcome
    accounts: tuple[tuple[str, str], ...] = ()
    """Id and name."""
    unmanaged: tuple[str, ...] = ()
    """Ids of those that it sees and may not manage."""
    date: datetime | None = None
    """The platform's time, as its last answer told it."""


@value_class
class WayIn:
    """What became of asking for a link."""

    outcome: Outcome
    url: str = ""


class KfApi:
    """Calls on behalf of *app*, which holds the KF secret; one HTTP request each, but for ``accounts``."""

    def __init__(self, wecom: WeComClient, app: App) -> None:
        self._wecom = wecom
        self._app = app

    async def sync(
        self, open_kfid: str, cursor: str, token: str = "", limit: int = 1000, *, deadline: float = DEADLINE
    ) -> Pulled:
        """Read on from *cursor*; empty is the beginning of what the platform keeps, three days."""
        asked: dict[str, object] = {"open_kfid": open_kfid, "limit": limit}
        asked |= {name: value for name, value in (("cursor", cursor), ("token", token)) if value}
        answer = await self._ask("/cgi-bin/kf/sync_msg", asked, deadline)
        if answer.outcome.state is not State.ACCEPTED:
            return Pulled(answer.outcome)
        page = _page(answer.data, cursor)
        return Pulled(answer.outcome, page) if page is not None else Pulled(_garbled(answer.outcome))

    async def state(self, open_kfid: str, external_userid: str, *, deadline: float = DEADLINE) -> StateOf:
        """In whose hands a session is."""
        asked = {"open_kfid": open_kfid, "external_userid": external_userid}
        answer = await self._ask("/cgi-bin/kf/service_state/get", asked, deadline)
        if answer.outcome.state is not State.ACCEPTED:
            return StateOf(answer.outcome)
        state = answer.data.get("service_state")
        if isinstance(state, bool) or not isinstance(state, int) or not 0 <= state <= 4:
            return StateOf(_garbled(answer.outcome))
        return StateOf(answer.outcome, state, _text(answer.data.get("servicer_userid")))

    async def transfer(
        self,
        open_kfid: str,
        external_userid: str,
        state: int,
        servicer_userid: str = "",
        *,
        deadline: float = DEADLINE,
    ) -> Moved:
        """Bring a session into *state*; *servicer_userid* goes with state 3."""
        asked: dict[str, object] = {
            "open_kfid": open_kfid,
            "external_userid": external_userid,
            "service_state": state,
        }
        if servicer_userid:
            asked["servicer_userid"] = servicer_userid
        answer = await self._ask("/cgi-bin/kf/service_state/trans", asked, deadline)
        code = _text(answer.data.get("msg_code")) if answer.outcome.state is State.ACCEPTED else ""
        return Moved(answer.outcome, code if len(code) <= _CODE_CHARS else "")

    async def accounts(self, *, deadline: float = DEADLINE) -> Listed:
        """Every account that may be managed with the secret; *deadline* is each call's."""
        found: dict[str, str] = {}
        others: list[str] = []
        for offset in range(0, MOST_ACCOUNTS, _ACCOUNTS_A_CALL):
            asked = {"offset": offset, "limit": _ACCOUNTS_A_CALL}
            answer = await self._ask("/cgi-bin/kf/account/list", asked, deadline)
            if answer.outcome.state is not State.ACCEPTED:
                return Listed(answer.outcome, tuple(found.items()), date=answer.date)
            rows = answer.data.get("account_list") or []
            if not isinstance(rows, list):
                return Listed(_garbled(answer.outcome), tuple(found.items()))
            for one, name, managed in map(_account, rows):
                if one and managed:
                    found[one] = name
                elif one:
                    others.append(one)
            if len(rows) < _ACCOUNTS_A_CALL:
                break
        return Listed(answer.outcome, tuple(found.items()), tuple(others), answer.date)

    async def contact_way(self, open_kfid: str, scene: str = "", *, deadline: float = DEADLINE) -> WayIn:
        """A link that opens the account's chat; who comes by it brings *scene*."""
        asked = {"open_kfid": open_kfid} | ({"scene": scene} if scene else {})
        answer = await self._ask("/cgi-bin/kf/add_contact_way", asked, deadline)
        if answer.outcome.state is not State.ACCEPTED:
            return WayIn(answer.outcome)
        url = _text(answer.data.get("url"))
        return WayIn(answer.outcome, url) if url else WayIn(_garbled(answer.outcome))

    async def customers(self, external_userids: Sequence[str], *, deadline: float = DEADLINE) -> Answer:
        """What the platform tells of up to ``MOST_CUSTOMERS`` customers, as it came; names are personal data."""
        if not 1 <= len(external_userids) <= MOST_CUSTOMERS:
            raise ValueError(f"1 to {MOST_CUSTOMERS} customers at a time")
        asked = {"external_userid_list": list(external_userids), "need_enter_session_context": 1}
        return await self._ask("/cgi-bin/kf/customer/batchget", asked, deadline)

    async def _ask(self, path: str, asked: Mapping[str, object], deadline: float) -> Answer:
        return await self._wecom.post(self._app, path, asked, deadline=deadline)


def _page(data: Mapping[str, object], cursor: str) -> Page | None:
    """None where the answer cannot be gone on from."""
    items, more = data.get("msg_list") or [], data.get("has_more", 0)
    if not isinstance(items, list) or more not in (0, 1):
        return None
    following = _text(data.get("next_cursor"))
    if not following and more:
        return None
    return Page(following or cursor, bool(more), tuple(items))


def _account(row: object) -> tuple[str, str, bool]:
    """Id, name, and whether it is ours to read; an empty id for what is none."""
    if not isinstance(row, dict):
        return "", "", False
    return _text(row.get("open_kfid")), _text(row.get("name")), row.get("manage_privilege") is not False


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _garbled(outcome: Outcome) -> Outcome:
    detail = "the answer has not what it must have"
    return replace(outcome, state=State.UNKNOWN, cause="malformed", detail=detail)
