"""Sending to customers of WeChat KF: two calls, one HTTP request each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.http.caller import DEADLINE
from shared.values import value_class
from shared.wecom.client import WeComClient
from shared.wecom.credentials import App
from shared.wecom.outcome import Outcome

COUNT_REACHED: Final = 95001
"""Five messages since the customer's last one."""
WINDOW_OVER: Final = 95002
"""48 hours since the customer's last message."""
STATE_FORBIDS: Final = 95018
"""The session's state does not allow it, or it is older than 48 hours."""
_ILLEGAL: Final = 40058


@value_class
class Sent:
    """What became of one send."""

    outcome: Outcome
    platform_at: datetime | None = None
    """The platform's own time of its answer, in whole seconds; None where there was none."""

    @property
    def says_repeated(self) -> bool:
        """Whether it was refused because its msgid had been taken before."""
        return self.outcome.errcode == _ILLEGAL and "msgid" in self.outcome.errmsg.lower()


class KfSending:
    """The sending half of WeChat KF's API; *app* is the KF credential. Never raises for what the other side does."""

    def __init__(self, wecom: WeComClient) -> None:
        self._wecom = wecom

    async def send(self, app: App, body: Mapping[str, object], *, deadline: float = DEADLINE) -> Sent:
        """``kf/send_msg``. A repeat bears the same msgid, which the platform takes once."""
        return await self._post(app, "/cgi-bin/kf/send_msg", body, deadline)

    async def send_on_event(
        self, app: App, body: Mapping[str, object], *, deadline: float = DEADLINE
    ) -> Sent:
        """``kf/send_msg_on_event``, with a one-shot code."""
        return await self._post(app, "/cgi-bin/kf/send_msg_on_event", body, deadline)

    async def _post(self, app: App, path: str, body: Mapping[str, object], deadline: float) -> Sent:
        answer = await self._wecom.post(app, path, body, deadline=deadline)
        return Sent(answer.outcome, answer.date)
