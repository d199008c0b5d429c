"""Has an application write texts for a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from services.ai_orchestrator.domain.copywriting import Brief, Copy, written
from services.ai_orchestrator.domain.definitions import Subject
from shared.db.once import Once
from shared.errors import Conflict
from shared.values import value_class

CUSTOMER_CAMPAIGN: Final = "customer_campaign"
"""The app that writes messages to a store's customers."""


@value_class
class Ran:
    """A run of one app that has a result."""

    run_id: str
    result: Mapping[str, Any]


class RunApp(Protocol):
    """The engine's way to run one app while somebody waits."""

    async def __call__(
        self, app_type: str, subject: Subject, *, arguments: Mapping[str, Any], trigger: str, once: Once
    ) -> Ran:
        """Run it with *arguments* beside its facts, past the gates; a repeat of *once* gives the first run's answer.

        Raises what the RPC RunApp raises when a gate is shut or the app has no result.
        """
        ...


class Copywriting:
    """Texts for campaigns; nothing is sent."""

    def __init__(self, run_app: RunApp) -> None:
        self._run_app = run_app

    async def write(self, store_id: str, brief: Brief, once: Once) -> Copy:
        """Candidates for *brief*. Raises Conflict (COPY_REFUSED) where none may be shown."""
        ran = await self._run_app(
            CUSTOMER_CAMPAIGN,
            Subject(store_id),
            arguments=brief.arguments,
            trigger=once.name,
            once=once,
        )
        copy = written(ran.run_id, brief, ran.result)
        if not copy.candidates:
            words = "、".join(dict.fromkeys(one.banned_word or "too long" for one in copy.dropped))
            text = f"no candidate may be shown ({words}); ask again, or for something else"
            raise Conflict("COPY_REFUSED", text, run_id=ran.run_id)
        return copy
