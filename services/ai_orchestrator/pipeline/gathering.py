"""What a prompt is made from: the facts, what a caller gave beside them, and what other apps brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.lifecycle import StepStatus
from services.ai_orchestrator.domain.material import Input, Material, Prompt
from services.ai_orchestrator.pipeline.ports import Materials, Results
from services.ai_orchestrator.store import runs
from shared.values import value_class


@value_class
class About:
    """An app that is to be asked about a subject."""

    app: AppDefinition
    subject: Subject
    run_id: str = ""
    after: Sequence[str] = ()
    """Names of the run's steps that bring inputs."""
    arguments: Mapping[str, Any] | None = field(default=None, hash=False)


class Gathering:
    """Reads only."""

    def __init__(self, materials: Materials, results: Results) -> None:
        self._materials = materials
        self._results = results

    async def gather(
        self, conn: AsyncConnection, about: Sequence[About], now: datetime
    ) -> list[tuple[Material, list[Input]]]:
        """The facts and the inputs of each as they are now."""
        found = await self._materials.gather(conn, [(one.app, one.subject) for one in about], now)
        return [
            (_given(one, material), await self._inputs(conn, one, now))
            for one, material in zip(about, found, strict=True)
        ]

    async def _inputs(self, conn: AsyncConnection, one: About, now: datetime) -> list[Input]:
        if not one.app.inputs:
            return []
        results = await runs.results(conn, one.run_id, one.after) if one.after else []
        brought = {row["app_type"]: row for row in results}
        kept = {each.app_type: each for each in await self._results.inputs(conn, one.app, one.subject, now)}
        return [_input(name, brought.get(name), kept.get(name)) for name in one.app.inputs]

    def assemble(
        self,
        app: AppDefinition,
        subject: Subject,
        material: Material,
        inputs: Sequence[Input],
        *,
        correction: str = "",
    ) -> Prompt:
        """The prompt."""
        return self._materials.assemble(app, subject, material, inputs, correction=correction)


def _given(one: About, material: Material) -> Material:
    """With what the caller gave."""
    if not one.app.given:
        return material
    views = {**material.views, one.app.given: dict(one.arguments or {})}
    return replace(material, views=views, empty=not one.arguments)


def _input(name: str, brought: Mapping[Any, Any] | None, kept: Input | None) -> Input:
    """What an app contributes: this run's result; else the newest kept one, and why it is not this run's."""
    if brought is None:
        return kept or Input(name, None, missing="never_made")
    if StepStatus(brought["status"]).has_result:
        return Input(name, brought["result"], brought["finished_at"])
    if kept is not None and kept.result is not None:
        return replace(kept, stale=brought["status"])
    return Input(name, None, missing=brought["status"])
