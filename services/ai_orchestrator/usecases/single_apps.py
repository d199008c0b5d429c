"""What somebody asks of one app, and waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.asking import check_given, checked
from services.ai_orchestrator.domain.copywriting import Origin
from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.gating import Refusal, Refused, refusal_error
from services.ai_orchestrator.domain.lifecycle import StepStatus
from services.ai_orchestrator.domain.material import Prompt
from services.ai_orchestrator.pipeline.book import Book
from services.ai_orchestrator.pipeline.ending import ENDED
from services.ai_orchestrator.pipeline.gathering import Gathering
from services.ai_orchestrator.pipeline.ports import Sites
from services.ai_orchestrator.pipeline.starting import OneApp, Starter
from services.ai_orchestrator.store import attempts, run_reading, runs
from services.ai_orchestrator.store.run_reading import Row, RunView
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.telemetry.traces import current_traceparent

_LOOK_AGAIN: Final = 0.5
"""Seconds between looks at a run that another replica may end."""


class SingleApps:
    """Runs of one step."""

    def __init__(
        self,
        database: Database,
        book: Book,
        sites: Sites,
        starter: Starter,
        gathering: Gathering,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._database = database
        self._book = book
        self._sites = sites
        self._starter = starter
        self._gathering = gathering
        self._audit = audit
        self._clock = clock

    async def _checked(
        self, app_type: str, subject: Subject, arguments: Mapping[str, Any] | None, user_id: str
    ) -> tuple[AppDefinition, Subject]:
        """The app, and its subject as its steps have it. Raises Invalid."""
        app = self._book.app_named(app_type)
        check_given(app, arguments or {}, user_id)
        async with self._database.read() as conn:
            site = await self._sites(conn, subject.store_id)
        return app, checked(app, subject, site, self._book.apps.values())

    async def dry_run(
        self, app_type: str, subject: Subject, arguments: Mapping[str, Any] | None = None, user_id: str = ""
    ) -> Prompt:
        """What would be asked. Raises Invalid."""
        app, subject = await self._checked(app_type, subject, arguments, user_id)
        async with self._database.read() as conn:
            now = self._clock.now()
            material, inputs = await self._gathering.gather(conn, app, subject, now, arguments=arguments)
        return self._gathering.assemble(app, subject, material, inputs)

    async def run(
        self,
        app_type: str,
        subject: Subject,
        *,
        once: Once,
        wait: timedelta,
        trigger: str = "on_demand",
        refresh: bool = False,
        arguments: Mapping[str, Any] | None = None,
        user_id: str = "",
    ) -> RunView:
        """Run one app and wait for its end at most *wait*; under way still where that was too short.

        A repeat of *once* waits for the same run; where a gate refused that, it is tried again.

        Raises Invalid; and, where a gate is shut, Unavailable (CIRCUIT_OPEN) or Throttled (RATE_LIMITED, BUDGET_EXCEEDED).
        """
        app, subject = await self._checked(app_type, subject, arguments, user_id)
        trace = current_traceparent()
        order = OneApp(app, subject, trigger, refresh, arguments or {}, user_id, trace)

        async def write(conn: AsyncConnection) -> str:
            now = self._clock.now()
            earlier = await once.begin(conn, now)
            # What a gate refused was never asked: the key answers for the next try.
            if earlier is not None and not await runs.was_refused(conn, earlier.decode()):
                return earlier.decode()
            run_id = await self._starter.run_app(conn, order, now)
            await once.finish(conn, run_id.encode())
            told = {"app_type": app.app_type}
            await self._audit.record(conn, NewEntry(once.name, run_id, subject.store_id, detail=told), now)
            return run_id

        view = await self._ended(await self._database.transact(write), wait)
        (step,) = view.steps
        if step["status"] == StepStatus.REFUSED:
            no = step["refusals"][-1]
            until = datetime.fromisoformat(no["until"])
            raise refusal_error(Refused(Refusal(no["refusal"]), no["detail"], until), self._clock.now())
        return view

    async def origin(self, step: Row) -> Origin:
        """What brought the result of a step that was asked, and what its requests have cost together."""
        async with self._database.read() as conn:
            made = await attempts.of_run(conn, step["run_id"])
        return Origin(
            step["app_version"],
            made[-1]["prompt_hash"] if made else "",
            tuple(made[-1]["models"]) if made else (),
            sum(one["input_tokens"] for one in made),
            sum(one["output_tokens"] for one in made),
            step["tokens"],
        )

    async def _ended(self, run_id: str, wait: timedelta) -> RunView:
        """A run, once it has ended or *wait* is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait.total_seconds()
        signal = self._database.wakeups.listen(ENDED)
        while True:
            view = await self._get(run_id)
            left = end - loop.time()
            if view.run["finished_at"] is not None or left <= 0:
                return view
            await signal.wait(min(left, _LOOK_AGAIN))

    async def _get(self, run_id: str) -> RunView:
        async with self._database.read() as conn:
            view = await run_reading.get(conn, run_id, None)
        assert view is not None  # it was written before it is waited for
        return view
