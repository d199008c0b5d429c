"""What came of a run: in figures, and group by group as a table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from services.campaign.domain import report, table
from services.campaign.domain.campaign import Spec
from services.campaign.domain.outcomes import TargetStatus, TaskStatus
from services.campaign.domain.report import Funnel, Outcome, OwnerResult, Prompt, Segment, Taken
from services.campaign.domain.table import Line
from services.campaign.pipeline.holding import looked_at
from services.campaign.store import campaigns, reporting, targets
from services.campaign.store.campaigns import Kept
from services.campaign.store.reporting import Handed
from services.campaign.store.tasks import Run
from services.campaign.usecases.targets import run_of
from shared.clock import Clock
from shared.db.engine import Database
from shared.values import value_class

PAGE: Final = 1000
"""Groups of one part of a table: as many are in memory at once."""


@value_class
class Report:
    """A report; see report.proto."""

    campaign: Kept
    spec: Spec
    """Of the run's version."""
    run: Run
    read_at: datetime
    final: bool
    planned_end: datetime | None
    funnel: Funnel
    excluded: Mapping[str, int]
    statuses: Sequence[tuple[TargetStatus, int]]
    outcomes: Sequence[Outcome]
    tasks: Sequence[tuple[TaskStatus, int]]
    owners: Sequence[OwnerResult]
    others: OwnerResult | None
    taken: Taken
    reminders: int
    prompts: Sequence[Prompt]
    segments: Sequence[Segment]
    top_ups: Sequence[Handed]


@value_class
class Part:
    """Some lines of a table."""

    text: str
    groups: int


class Reporting:
    """See GetReport and ExportReport."""

    def __init__(self, database: Database, clock: Clock, *, qps: int) -> None:
        """*qps* is how many tasks a second may be made."""
        self._database = database
        self._clock = clock
        self._qps = qps

    async def report(self, campaign_id: str, run_id: str, owners: int) -> Report:
        """Of a run (see ``run_of``), naming so many *owners*. All of it is as it was at one instant. Raises NotFound."""
        async with self._database.read() as conn:
            now = self._clock.now()
            campaign = await looked_at(conn, campaign_id)
            run = await run_of(conn, campaign.id, run_id)
            spec = await campaigns.spec_of(conn, campaign.id, run.version) or campaign.spec
            cells = await reporting.cells(conn, run.id)
            by_label = await reporting.labelled_cells(conn, run.id)
            tasks = await reporting.task_facts(conn, run.id)
            excluded = await reporting.excluded_reasons(conn, run)
            given = await reporting.reminders_given(conn, run.id)
            prompts = await reporting.prompts(conn, campaign.id)
            handed = await reporting.handed_on(conn, campaign.id)
        named, others = report.league(tasks, given, owners)
        final = not report.open_groups(cells)
        end = None if final or run.dry else report.planned_end(spec, campaign.status, tasks, now, self._qps)
        return Report(
            campaign=campaign,
            spec=spec,
            run=run,
            read_at=now,
            final=final,
            planned_end=end,
            funnel=report.funnel(cells, excluded),
            excluded=excluded,
            statuses=report.statuses(cells),
            outcomes=report.outcomes(cells),
            tasks=report.task_statuses(tasks),
            owners=named,
            others=others,
            taken=report.taken(tasks),
            reminders=sum(given.values()),
            prompts=report.by_prompt(prompts),
            segments=report.segments(by_label),
            top_ups=handed,
        )

    async def export(self, campaign_id: str, run_id: str) -> AsyncIterator[Part]:
        """The groups of a run, a part at a time; a part is as it was when it was read. Raises NotFound."""
        async with self._database.read() as conn:
            campaign = await looked_at(conn, campaign_id)
            run = await run_of(conn, campaign.id, run_id)
        yield Part(table.head(), 0)
        after = ""
        while lines := await self._targets(run, after):
            after = lines[-1].chat_id
            yield Part("".join(map(table.line, lines)), len(lines))
        after = ""
        while lines := await self._excluded(run, after):
            after = lines[-1].chat_id
            yield Part("".join(map(table.line, lines)), len(lines))

    async def _targets(self, run: Run, after: str) -> Sequence[Line]:
        async with self._database.read() as conn:
            found = await targets.page(conn, run.id, (), after, PAGE)
            labels = await reporting.labels_of(conn, [one.chat_id for one in found])
        return [
            Line(
                campaign_id=run.campaign_id,
                version=run.version,
                run_id=run.id,
                dry=run.dry,
                chat_id=one.chat_id,
                name=one.name,
                owner=one.owner,
                labels=tuple(labels.get(one.chat_id, ())),
                status=one.status.value,
                raw_status=one.raw_status,
                reason=one.reason,
                errcode=one.errcode,
                error=one.error,
                task_id=one.task_id,
                task_status=one.task_status,
                msgid=one.msgid,
                asked_at=one.made_at,
                confirmed_at=one.confirmed_at,
                sent_at=one.sent_at,
                updated_at=one.updated_at,
            )
            for one in found
        ]

    async def _excluded(self, run: Run, after: str) -> Sequence[Line]:
        async with self._database.read() as conn:
            found = await reporting.excluded_page(conn, run, after, PAGE)
            labels = await reporting.labels_of(conn, [one.chat_id for one in found])
        return [
            Line(
                campaign_id=run.campaign_id,
                version=run.version,
                run_id=run.id,
                dry=run.dry,
                chat_id=one.chat_id,
                name=one.name,
                owner=one.owner,
                labels=tuple(labels.get(one.chat_id, ())),
                status=table.EXCLUDED,
                reason=one.reason,
                error=one.detail,
                updated_at=run.started_at,
            )
            for one in found
        ]
