"""What prompts are made from: the views that an app's definition names, gathered from the facts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.clues import MANUAL
from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.facts import prompting, showing
from services.ai_orchestrator.domain.facts.figures import Figures, Selection
from services.ai_orchestrator.domain.facts.showing import Finance, Known
from services.ai_orchestrator.domain.facts.stores import Store
from services.ai_orchestrator.domain.material import Input, Material, Prompt, Reference
from services.ai_orchestrator.pipeline.finances import finances
from services.ai_orchestrator.store import clues, fact_figures, fact_reading
from services.ai_orchestrator.store.stores import store_of
from shared.errors import Invalid
from shared.values import value_class

FINANCE: Final = "finance"
_VISITS: Final = 20
_NOTES: Final = 10
_TASKS: Final = 5
_TOP: Final = 10
_CLUES: Final = 20


@value_class
class View:
    """One view."""

    shown: Any
    empty: bool
    references: tuple[Reference, ...] = ()


class FactMaterials:
    """See ``pipeline.ports.Materials``."""

    def __init__(self, zone: ZoneInfo) -> None:
        """*zone* is that of stores that name none."""
        self._zone = zone

    async def gather(
        self, conn: AsyncConnection, asked: Sequence[tuple[AppDefinition, Subject]], now: datetime
    ) -> list[Material]:
        """What the views of each app show of its subject; empty where the first of them is.

        Raises Invalid for a view or a part of the subject that there is not.
        """
        stores = {
            store_id: await store_of(conn, store_id, self._zone)
            for store_id in sorted({subject.store_id for _, subject in asked})
        }
        finances = await self._finances(conn, stores, asked, now)
        return [
            await _material(app, _Asked(conn, stores[subject.store_id], subject, now, finances.get(subject)))
            for app, subject in asked
        ]

    async def _finances(
        self,
        conn: AsyncConnection,
        stores: Mapping[str, Store],
        asked: Sequence[tuple[AppDefinition, Subject]],
        now: datetime,
    ) -> dict[Subject, Finance]:
        """The figures of all who want some, read together."""
        wanted = {subject: None for app, subject in asked if FINANCE in app.facts}
        found: dict[Subject, Finance] = {}
        for store_id, store in stores.items():
            subjects = [one for one in wanted if one.store_id == store_id]
            found |= zip(subjects, await finances(conn, store, subjects, now), strict=True)
        return found

    def assemble(
        self,
        app: AppDefinition,
        subject: Subject,
        material: Material,
        inputs: Sequence[Input],
        *,
        correction: str = "",
    ) -> Prompt:
        """The prompt; *correction* says what was wrong with the reply before."""
        return prompting.assemble(app, subject, material, inputs, correction=correction)


@value_class
class _Asked:
    """Of whom or what, when."""

    conn: AsyncConnection
    store: Store
    subject: Subject
    now: datetime
    finance: Finance | None
    """Where it is asked for."""

    @property
    def member(self) -> Selection:
        return Selection(self.subject.store_id, member_id=self.subject.member_id)

    @property
    def assistant(self) -> Selection:
        return Selection(self.subject.store_id, assistant_id=self.subject.assistant_id)

    @property
    def pair(self) -> Selection:
        return replace(self.member, assistant_id=self.subject.assistant_id)


async def _material(app: AppDefinition, asked: _Asked) -> Material:
    found: dict[str, View] = {}
    for name in app.facts:
        gatherer = _VIEWS.get(name)
        if gatherer is None:
            raise Invalid.field(
                "facts", f"{app.app_type} names {name}; there are {', '.join(sorted(_VIEWS))}"
            )
        found[name] = await gatherer(asked)
    told = {reference: None for view in found.values() for reference in view.references}
    return Material(
        {name: view.shown for name, view in found.items()},
        tuple(told),
        next((view.empty for view in found.values()), False),
        as_of=showing.local(asked.now, asked.store.zone),
    )


async def _finance(asked: _Asked) -> View:
    found = asked.finance
    assert found is not None  # the app names it
    named = f"finance:{found.area}:{found.window.first}..{found.window.last}"
    return View(
        showing.finance(asked.store, found),
        found.figures.empty and found.figures_before.empty,
        (Reference("aggregate", named, found.figures.last_at),),
    )


async def _member(asked: _Asked) -> View:
    conn, store_id, member_id = asked.conn, asked.subject.store_id, asked.subject.member_id
    known = Known(
        await fact_reading.member_of(conn, store_id, member_id),
        await fact_figures.figures(conn, asked.member),
        await fact_figures.by_area(conn, asked.member),
        await fact_figures.by_assistant(conn, asked.member, _TASKS),
        await fact_figures.top_items(conn, asked.member, _TOP),
        await fact_reading.count_notes(conn, store_id, member_id),
    )
    names = await fact_reading.names_of(conn, store_id, [one.name for one in known.by_assistant])
    nothing = known.profile is None and known.figures.empty and not known.notes
    return View(
        showing.member(asked.store, member_id, known, names),
        nothing,
        () if nothing else (Reference("member", member_id, known.figures.last_at),),
    )


async def _assistant(asked: _Asked) -> View:
    conn, assistant_id = asked.conn, asked.subject.assistant_id
    known = Known(
        await fact_reading.assistant_of(conn, asked.subject.store_id, assistant_id),
        await fact_figures.figures(conn, asked.assistant),
    )
    nothing = known.profile is None and known.figures.empty
    return View(
        showing.assistant(asked.store, assistant_id, known),
        nothing,
        () if nothing else (Reference("assistant", assistant_id, known.figures.last_at),),
    )


async def _pair(asked: _Asked) -> View:
    subject = asked.subject
    together = await fact_figures.figures(asked.conn, asked.pair)
    visits = await fact_reading.last_visits(asked.conn, asked.pair, _TASKS)
    tasks = await fact_reading.last_tasks(
        asked.conn, subject.store_id, subject.member_id, _TASKS, subject.assistant_id
    )
    of_member: Figures = await fact_figures.figures(asked.conn, asked.member)
    return View(
        showing.pair(asked.store, together, of_member, visits, tasks),
        together.empty and not tasks,
        (
            *(Reference("visit", one.visit_id, one.settled_at) for one in visits),
            *(Reference("task", one.task_id, one.assigned_at) for one in tasks),
        ),
    )


async def _visits(asked: _Asked) -> View:
    found = await fact_reading.last_visits(asked.conn, asked.member, _VISITS)
    served = {one.assistant_id for one in found if one.assistant_id is not None}
    names = await fact_reading.names_of(asked.conn, asked.subject.store_id, served)
    references = tuple(Reference("visit", one.visit_id, one.settled_at) for one in found)
    return View(showing.visits(asked.store, found, names), not found, references)


async def _notes(asked: _Asked) -> View:
    subject = asked.subject
    found = await fact_reading.last_notes(asked.conn, subject.store_id, subject.member_id, _NOTES)
    references = tuple(Reference("note", one.note_id, one.noted_at) for one in found)
    return View(showing.notes(asked.store, found), not found, references)


async def _tasks(asked: _Asked) -> View:
    subject = asked.subject
    found = await fact_reading.last_tasks(asked.conn, subject.store_id, subject.member_id, _TASKS)
    names = await fact_reading.names_of(asked.conn, subject.store_id, {one.assistant_id for one in found})
    references = tuple(Reference("task", one.task_id, one.assigned_at) for one in found)
    return View(showing.tasks(asked.store, found, names), not found, references)


async def _clues(asked: _Asked) -> View:
    subject = asked.subject
    found = await clues.newest(asked.conn, subject.store_id, subject.member_id, MANUAL, _CLUES)
    references = tuple(Reference("clue", one.id, one.created_at) for one in found)
    shown = showing.clues(asked.store, [(one.created_at, one.clue) for one in found])
    return View(shown, not found, references)


_VIEWS: Final[Mapping[str, Callable[[_Asked], Awaitable[View]]]] = {
    FINANCE: _finance,
    "member": _member,
    "assistant": _assistant,
    "pair": _pair,
    "visits": _visits,
    "notes": _notes,
    "tasks": _tasks,
    "clues": _clues,
}

VIEWS: Final = tuple(_VIEWS)
"""What an app's definition may name under `facts`."""
