"""Has an application write texts for a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from services.ai_orchestrator.domain.copywriting import Brief, Copy, Origin, written
from services.ai_orchestrator.domain.definitions import Subject
from shared.db.once import Once
from shared.errors import Conflict
from shared.values import value_class

CUSTOMER_CAMPAIGN: Final = "customer_campaign"
"""The app that writes messages to a store's customers."""


@value_class
class Ran:
    """A run of one app that has ended."""

    run_id: str
    result: Mapping[str, Any] | None
    origin: Origin
    reason: str = ""
    """Why there is no result, as a stable word."""


class RunApp(Protocol):
    """The engine's way to run one app while somebody waits."""

    async def __call__(
        self, app_type: str, subject: Subject, *, arguments: Mapping[str, Any], trigger: str, once: Once
    ) -> Ran:
        """Run it with *arguments* beside its facts, past the gates; a repeat of *once* gives the first run's answer.

        Raises what the RPC RunApp raises when a gate is shut, and Unavailable (DEPENDENCY_DOWN) where it has not ended in
        time: it goes on, and a repeat finds it.
        """
        ...


class Copywriting:
    """Texts for campaigns; nothing is sent."""

    def __init__(self, run_app: RunApp) -> None:
        self._run_app = run_app

    async def write(self, store_id: str, brief: Brief, once: Once) -> Copy:
        """Candidates for *brief*. Raises Conflict (COPY_REFUSED) where there is none that may be shown."""
        ran = await self._run_app(
            CUSTOMER_CAMPAIGN,
            Subject(store_id),
            arguments=brief.arguments,
            trigger=once.name,
            once=once,
        )
        if ran.result is None:
            raise _refused(ran, f"the application has written nothing ({ran.reason})")
        copy = written(ran.run_id, brief, ran.result, ran.origin)
        if not copy.candidates:
            words = "、".join(dict.fromkeys(one.banned_word or "too long" for one in copy.dropped))
            raise _refused(ran, f"no candidate may be shown ({words})")
        return copy


def _refused(ran: Ran, why: str) -> Conflict:
    text = f"{why}; GetRun tells more; ask again under another key"
    return Conflict("COPY_REFUSED", text, run_id=ran.run_id, cause=ran.reason)
