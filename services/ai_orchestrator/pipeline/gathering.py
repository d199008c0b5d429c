"""What a prompt is made from: the facts, what a caller gave beside them, and what other apps brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.lifecycle import StepStatus
from services.ai_orchestrator.domain.material import Input, Material, Prompt
from services.ai_orchestrator.pipeline.ports import Materials, Results
from services.ai_orchestrator.store import runs


class Gathering:
    """Reads only."""

    def __init__(self, materials: Materials, results: Results) -> None:
        self._materials = materials
        self._results = results

    async def gather(
        self,
        conn: AsyncConnection,
        app: AppDefinition,
        subject: Subject,
        now: datetime,
        *,
        run_id: str = "",
        after: Sequence[str] = (),
        arguments: Mapping[str, Any] | None = None,
    ) -> tuple[Material, list[Input]]:
        """The facts and the inputs as they are now; *after* names the steps of a run that bring inputs."""
        material = await self._materials.gather(conn, app, subject, now)
        if app.given:
            material = replace(
                material, views={**material.views, app.given: dict(arguments or {})}, empty=not arguments
            )
        brought = {row["app_type"]: row for row in await runs.results(conn, run_id, after)} if after else {}
        kept = {one.app_type: one for one in await self._results.inputs(conn, app, subject, now)}
        return material, [_input(name, brought.get(name), kept.get(name)) for name in app.inputs]

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


def _input(name: str, brought: Mapping[Any, Any] | None, kept: Input | None) -> Input:
    """What an app contributes: this run's result; else the newest kept one, and why it is not this run's."""
    if brought is None:
        return kept or Input(name, None, missing="never_made")
    if StepStatus(brought["status"]).has_result:
        return Input(name, brought["result"], brought["finished_at"])
    if kept is not None and kept.result is not None:
        return replace(kept, stale=brought["status"])
    return Input(name, None, missing=brought["status"])
