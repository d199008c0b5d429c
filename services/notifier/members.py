"""What WeCom knows of a member, asked through the app credential: who has a mobile number, and who there is."""

from __future__ import annotations

from services.notifier.domain.routing import DEFAULT_ACCOUNT
from shared.credentials import Credentials
from shared.errors import ReachError
from shared.values import value_class
from shared.wecom.client import Answer, WeComClient
from shared.wecom.outcome import State

_NOBODY = frozenset({46004, 60111})
"""Error codes of: no such member, or none that this app may see."""


@value_class
class Found:
    """An answer about one member."""

    userid: str = ""
    """Empty where there is no such member, or none that this app may see."""
    problem: str = ""
    """Why nobody can tell, for people; empty when it is known."""


class Members:
    """Asks one member at a time; each method is at most one request."""

    def __init__(self, credentials: Credentials, wecom: WeComClient, account: str = DEFAULT_ACCOUNT) -> None:
        self._credentials = credentials
        self._wecom = wecom
        self.account = account
        """Name of the app credential: another app may see other members."""

    async def by_mobile(self, mobile: str, deadline: float) -> Found:
        """Who has that number (``user/getuserid``)."""
        return await self._ask("/cgi-bin/user/getuserid", {"mobile": mobile}, deadline, post=True)

    async def by_userid(self, userid: str, deadline: float) -> Found:
        """Whether there is that member (``user/get``)."""
        return await self._ask("/cgi-bin/user/get", {"userid": userid}, deadline, post=False)

    async def _ask(self, path: str, asked: dict[str, str], deadline: float, *, post: bool) -> Found:
        try:
            app = await self._credentials.app(self.account)
        except ReachError as error:
            return Found(problem=error.message)
        if app is None:
            return Found(problem=f"no app is registered as {self.account}")
        ask = self._wecom.post if post else self._wecom.get
        return _found(await ask(app, path, asked, deadline=deadline))


def _found(answer: Answer) -> Found:
    outcome, userid = answer.outcome, answer.data.get("userid")
    if outcome.errcode in _NOBODY:
        return Found()
    if outcome.state is State.ACCEPTED and isinstance(userid, str) and userid:
        return Found(userid)
    if outcome.errcode:
        return Found(problem=f"WeCom refuses the question (errcode {outcome.errcode})")
    return Found(problem=f"WeCom gives no answer ({outcome.cause or 'no userid'})")
