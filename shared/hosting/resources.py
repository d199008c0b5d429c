"""What a process has and lends to its services."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import sqlalchemy as sa

from shared.bus import Bus
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.migrate import Location, migrate
from shared.db.rows import insert_into
from shared.db.tables import meta
from shared.environment import ConfigurationError
from shared.errors import Invalid
from shared.identity.authenticator import Authenticator
from shared.rpc.paging import PageTokens
from shared.secrets import SecretKey
from shared.settings import Settings
from shared.telemetry.metrics import Metrics

_FINGERPRINT = "secret_key"


@dataclass(slots=True)
class Resources:
    """Opened once, closed by the stack in reverse order."""

    settings: Settings
    clock: Clock
    numbers: Metrics
    key: SecretKey
    owner: str
    """Names this process in leases and attempts: host, process id, and what tells it from one before."""

    stack: AsyncExitStack
    authenticator: Authenticator
    bus: Bus | None = None
    """Set before services' loops start; services are built before it."""
    grpc: str | None = None
    """Where this process serves gRPC, all its services; set when it does, before services' loops start."""

    @property
    def tokens(self) -> PageTokens:
        """Page tokens that every replica with the same secret key understands."""
        return PageTokens(self.key.derive("page tokens"))

    async def database(self, schema: str, locations: Sequence[Location]) -> Database:
        """Open the database of *schema*, bring it up to date by *locations*, and check that it was
        set up with our secret key."""
        database = await open_database(self.settings, self.stack, schema, locations)
        await self._check_key(database)
        return database

    async def _check_key(self, database: Database) -> None:
        mine = self.key.fingerprint()
        async with database.write() as conn:
            statement = insert_into(database.dialect, meta).values(key=_FINGERPRINT, value=mine)
            await conn.execute(statement.on_conflict_do_nothing())
            found = (
                await conn.execute(sa.select(meta.c.value).where(meta.c.key == _FINGERPRINT))
            ).scalar_one()
        if found != mine:
            raise ConfigurationError(
                [
                    f"{database.place} was set up with secret key {found}, and this process has {mine}: "
                    "give every process the same REACH_SECRET_KEY_FILE"
                ]
            )


async def open_database(
    settings: Settings, stack: AsyncExitStack, schema: str, locations: Sequence[Location]
) -> Database:
    """Open the database of *schema*, brought up to date by *locations*; *stack* closes it."""
    url = database_url(settings, schema)
    await asyncio.to_thread(migrate, url, schema, locations)
    database = Database.open(url, schema=schema)
    stack.push_async_callback(database.close)
    await database.start()
    return database


def database_url(settings: Settings, schema: str) -> str:
    """Where the rows of *schema* are: PostgreSQL when configured, else a file of its own under the home."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.home.absolute()}/{schema}.db"


def owner_name() -> str:
    """A name for this process that no process before it had."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def secret_key(settings: Settings) -> SecretKey:
    """The key of REACH_SECRET_KEY_FILE, or one made under the home at the first start.

    Raises ``ConfigurationError`` for a file that holds no key.
    """
    path = settings.secret_key_file
    if path is None:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = settings.home / "secret.key"
        if not path.exists():
            return SecretKey.create(path)
    try:
        return SecretKey.load(path)
    except Invalid as error:
        raise ConfigurationError(
            [f"REACH_SECRET_KEY_FILE: {path}: {error.message}; bring back the file it was set up with"]
        ) from None
