"""Templates and experiments on them: look at them, change them, try them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain import experiment as trials
from services.kf_session.domain.experiment import Seen, Variant
from services.kf_session.domain.rendering import Finding, checked, lint, render, samples
from services.kf_session.domain.templates import DEFAULT, FIELDS, TemplateSpec
from services.kf_session.pipeline.templating import acting, shipped
from services.kf_session.store import experiments
from services.kf_session.store import templates as store
from services.kf_session.store.experiments import Experiment
from services.kf_session.store.templates import Version
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.errors import Conflict, Invalid, NotFound, Overtaken
from shared.ids import new_id
from shared.rpc.principal import current
from shared.values import value_class

BY_HAND = "stopped_by_hand"
DELETED = "template_deleted"


@value_class
class Preview:
    """How a template comes out."""

    spec: TemplateSpec
    content: Mapping[str, object]
    findings: tuple[Finding, ...]


@value_class
class Trial:
    """An experiment, and what is known of its customers."""

    experiment: Experiment
    seen: Mapping[str, Seen]


class Templates:
    """What operators may look at and change."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def create(
        self, store_id: str, template_id: str, spec: TemplateSpec, comment: str, once: Once
    ) -> Version:
        """Add a template. Raises Invalid for what it says, Conflict (STATE_INVALID) where there is one."""
        checked(spec)
        now = self._clock.now()
        new = Version(store_id, template_id, 1, spec, comment, now, current().subject, acting=True)

        async def write(conn: AsyncConnection) -> None:
            if not await once.is_first(conn, now):
                return
            head = await store.hold(conn, self._database.dialect, store_id, template_id, now)
            if head.latest:
                text = f"there is a template {template_id} already; update it"
                raise Conflict("STATE_INVALID", text, template_id=template_id)
            await store.add(conn, new)
            await store.act(conn, store_id, template_id, 1, now)
            await self._note(conn, once, new, now)

        await self._database.transact(write)
        return await self.version(store_id, template_id, 1)

    async def update(
        self,
        store_id: str,
        template_id: str,
        spec: TemplateSpec,
        *,
        draft: bool,
        expected: int,
        comment: str,
        once: Once,
    ) -> Version:
        """Add a version. Raises Invalid, NotFound, Overtaken (VERSION_CONFLICT)."""
        checked(spec)
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> int:
            before = await once.begin(conn, now)
            if before is not None:
                return int(before)
            head = await self._held(conn, store_id, template_id, expected, now)
            number = head.latest + 1
            new = Version(store_id, template_id, number, spec, comment, now, current().subject)
            await store.add(conn, new)
            if not draft:
                await store.act(conn, store_id, template_id, number, now)
            await once.finish(conn, str(number).encode())
            await self._note(conn, once, new, now)
            return number

        return await self.version(store_id, template_id, await self._database.transact(write))

    async def act(
        self, store_id: str, template_id: str, number: int, *, expected: int, once: Once
    ) -> Version:
        """Let another version act. Raises NotFound, Overtaken."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> None:
            if not await once.is_first(conn, now):
                return
            await self._held(conn, store_id, template_id, expected, now)
            found = await store.version(conn, store_id, template_id, number)
            if found is None:
                raise _absent()
            await store.act(conn, store_id, template_id, number, now)
            await self._note(conn, once, found, now)

        await self._database.transact(write)
        return await self.version(store_id, template_id, number)

    async def delete(self, store_id: str, template_id: str, once: Once) -> None:
        """Let it act no more, and end the experiment on it. Raises NotFound."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> None:
            if not await once.is_first(conn, now):
                return
            trial = await experiments.of_template(conn, store_id, template_id, lock=True)
            await self._held(conn, store_id, template_id, 0, now)
            if trial is not None:
                await experiments.stop(conn, trial.id, DELETED, None, now)
            await store.act(conn, store_id, template_id, 0, now)
            await self._audit.record(conn, NewEntry(once.name, template_id, store_id), now)

        await self._database.transact(write)

    async def version(self, store_id: str, template_id: str, number: int) -> Version:
        """One version. Raises NotFound."""
        async with self._database.read() as conn:
            found = await store.version(conn, store_id, template_id, number)
        if found is None:
            raise _absent()
        return found

    async def list(
        self,
        stores: Collection[str] | None,
        template_id: str,
        *,
        every_version: bool,
        after: tuple[str, str, int] | None,
        limit: int,
    ) -> tuple[list[Version], dict[tuple[str, str], Trial]]:
        """Versions, and the last experiment on each of their templates; what ships stands behind the last."""
        seen_stores = None if stores is None else {*stores, store.EVERY_STORE}
        async with self._database.read() as conn:
            found = await store.listed(
                conn, seen_stores, template_id, every_version=every_version, after=after, limit=limit
            )
            tried: dict[tuple[str, str], Trial] = {}
            for one in found:
                latest = await experiments.latest(conn, one.store_id, one.template_id) if one.acting else None
                if latest is not None:
                    tried[one.store_id, one.template_id] = Trial(latest, await experiments.seen(conn, latest))
        if len(found) < limit and template_id in ("", DEFAULT):
            found.append(shipped())
        return found, tried

    async def preview(
        self,
        store_id: str,
        template_id: str,
        version: int,
        spec: TemplateSpec | None,
        matches: int,
        values: Mapping[str, object],
    ) -> Preview:
        """How stored or other words come out. Raises Invalid, NotFound."""
        unknown = sorted(values.keys() - FIELDS.keys())
        if unknown:
            raise Invalid.field(f"values.{unknown[0][:40]}", f"has no meaning; use {', '.join(FIELDS)}")
        if spec is None:
            spec = await self._stored(store_id, template_id or DEFAULT, version)
        template, findings = lint(spec)
        given = [
            replace(one, score=None, facts={**one.facts, **values}) if values else one
            for one in samples(matches)
        ]
        return Preview(spec, render(template, given), tuple(findings))

    async def _stored(self, store_id: str, template_id: str, version: int) -> TemplateSpec:
        async with self._database.read() as conn:
            if not version:
                return (await acting(conn, store_id, template_id)).spec
            for place in (store_id, store.EVERY_STORE):
                found = await store.version(conn, place, template_id, version)
                if found is not None:
                    return found.spec
        raise _absent()

    async def start(
        self,
        store_id: str,
        template_id: str,
        variants: Sequence[Variant],
        *,
        alpha: float,
        duration: timedelta,
        adopt: bool,
        once: Once,
    ) -> Trial:
        """Let versions run against each other. Raises Invalid, NotFound, Conflict (STATE_INVALID)."""
        trials.check(variants)
        if not timedelta(0) < duration <= trials.DURATION_MOST:
            raise Invalid.field(
                "duration", f"must be at most {trials.DURATION_MOST.days} days, and some time"
            )
        now = self._clock.now()
        new = Experiment(
            new_id(),
            store_id,
            template_id,
            "",
            tuple(variants),
            alpha or trials.ALPHA,
            adopt,
            now,
            now + duration,
            current().subject,
        )

        async def write(conn: AsyncConnection) -> str:
            before = await once.begin(conn, now)
            if before is not None:
                return before.decode()
            head = await self._held(conn, store_id, template_id, 0, now)
            if not head.acting:
                raise _absent()
            for at, one in enumerate(variants):
                if one.version > head.latest:
                    raise Invalid.field(f"variants[{at}].version", f"the latest is {head.latest}")
            if not await experiments.add(conn, self._database.dialect, new):
                raise Conflict("STATE_INVALID", "an experiment on this template runs", state="running")
            await once.finish(conn, new.id.encode())
            plain = {"variants": [[one.name, one.version, one.share] for one in variants]}
            await self._audit.record(conn, NewEntry(once.name, template_id, store_id, plain), now)
            return new.id

        return await self.trial(await self._database.transact(write))

    async def stop(self, store_id: str, template_id: str, reason: str, once: Once) -> Trial:
        """End the experiment on a template. Raises NotFound where none runs."""
        now = self._clock.now()

        async def write(conn: AsyncConnection) -> str:
            before = await once.begin(conn, now)
            if before is not None:
                return before.decode()
            found = await experiments.of_template(conn, store_id, template_id, lock=True)
            if found is None:
                raise NotFound("NOT_FOUND", "no experiment on this template runs", resource="experiment")
            await experiments.stop(conn, found.id, reason or BY_HAND, None, now)
            await once.finish(conn, found.id.encode())
            await self._audit.record(conn, NewEntry(once.name, template_id, store_id), now)
            return found.id

        return await self.trial(await self._database.transact(write))

    async def trial(self, ident: str) -> Trial:
        """One experiment with its figures. Raises NotFound."""
        async with self._database.read() as conn:
            found = await experiments.of_id(conn, ident)
            if found is None:
                raise NotFound("NOT_FOUND", "there is no such experiment", resource="experiment")
            return Trial(found, await experiments.seen(conn, found))

    async def _held(
        self, conn: AsyncConnection, store_id: str, template_id: str, expected: int, now: datetime
    ) -> store.Head:
        head = await store.hold(conn, self._database.dialect, store_id, template_id, now)
        if not head.latest:
            raise _absent()
        if expected and expected != head.latest:
            raise Overtaken("VERSION_CONFLICT", f"the latest version is {head.latest}", version=head.latest)
        return head

    async def _note(self, conn: AsyncConnection, once: Once, said: Version, now: datetime) -> None:
        entry = NewEntry(
            once.name, said.template_id, said.store_id, said.spec.to_json(), {"version": said.version}
        )
        await self._audit.record(conn, entry, now)


def _absent() -> NotFound:
    return NotFound("NOT_FOUND", "there is no such template", resource="template")
