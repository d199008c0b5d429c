"""The apps and chains of this deployment, and those of earlier versions that runs began with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ai_orchestrator.definition_files import app_of, app_spec, chain_spec
from services.ai_orchestrator.domain.definitions import AppDefinition, ChainDefinition
from services.ai_orchestrator.store import definitions
from shared.errors import Invalid


class Book:
    """What is read from files, by name; older versions of apps from the database."""

    def __init__(self, apps: Iterable[AppDefinition], chains: Iterable[ChainDefinition]) -> None:
        """Raises Invalid for a chain with a step whose app is not there, and for two chains of one event type."""
        self.apps = {app.app_type: app for app in apps}
        self.chains = {chain.name: chain for chain in chains}
        self.by_event: dict[str, ChainDefinition] = {}
        for chain in self.chains.values():
            other = self.by_event.setdefault(chain.event_type, chain)
            if other is not chain:
                raise Invalid.field(f"{chain.name} event_type", f"starts {other.name} already")
            for step in chain.steps:
                if step.app_type not in self.apps:
                    text = f"{step.app_type} is no app; there are {', '.join(sorted(self.apps)) or 'none'}"
                    raise Invalid.field(f"{chain.name} step {step.name} app_type", text)
        self._older: dict[tuple[str, str], AppDefinition] = {}

    async def keep(self, conn: AsyncConnection, now: datetime) -> None:
        """Write the present versions, so that another replica, or this one after a change of files, finds them."""
        for app in self.apps.values():
            await definitions.keep(conn, definitions.APP, app.app_type, app.version, app_spec(app), now)
        for chain in self.chains.values():
            await definitions.keep(conn, definitions.CHAIN, chain.name, chain.version, chain_spec(chain), now)

    async def app(self, conn: AsyncConnection, app_type: str, version: str) -> AppDefinition | None:
        """The app of a version; None where nobody ever knew it."""
        now = self.apps.get(app_type)
        if now is not None and now.version == version:
            return now
        if (app_type, version) not in self._older:
            spec = await definitions.find(conn, definitions.APP, app_type, version)
            if spec is None:
                return None
            # Its digest was taken of the file, which is not kept: the version is what it was called then.
            self._older[app_type, version] = replace(app_of(app_type, spec), version=version)
        return self._older[app_type, version]

    def chain_of(self, event_type: str) -> ChainDefinition:
        """The chain an event starts. Raises Invalid."""
        chain = self.by_event.get(event_type)
        if chain is None:
            text = f"starts no chain; those that do are {', '.join(sorted(self.by_event))}"
            raise Invalid.field("event_type", text)
        return chain

    def app_named(self, app_type: str) -> AppDefinition:
        """The present version of an app. Raises Invalid."""
        app = self.apps.get(app_type)
        if app is None:
            raise Invalid.field("app_type", f"is no app; there are {', '.join(sorted(self.apps))}")
        return app
