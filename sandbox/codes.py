"""Codes that update a card: each is taken once, within 72 hours."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.journal import Message

LIVES_SECONDS = 72 * 3600
_KEPT = 50_000


@dataclass(slots=True)
class _Code:
    message: Message
    expires_at: float


class Codes:
    """Those that were given and not taken yet."""

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self._new_id = new_id
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        self._open: dict[str, _Code] = {}

    def issue(self, message: Message, now: float) -> str:
        """A code for the card of *message*."""
        code = self._new_id("rc")
        self._open[code] = _Code(message, now + LIVES_SECONDS)
        if len(self._open) > _KEPT:
            del self._open[next(iter(self._open))]
        return code

    def redeem(self, code: str, agentid: int, now: float) -> Message | None:
        """The message whose card *code* updates, which it does no second time; None for a code that does not serve."""
        found = self._open.get(code)
        if found is None or found.message.agentid != agentid or found.expires_at <= now:
            return None
        del self._open[code]
        return found.message
