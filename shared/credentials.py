"""Apps and robots as rows: written by operators, seeded from the settings, secrets sealed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import Clock
from shared.db.engine import Database
from shared.db.rows import insert_into
from shared.db.tables import credential
from shared.errors import NotFound
from shared.secrets import SecretKey
from shared.settings import Settings
from shared.telemetry.redaction import register_secret
from shared.values import value_class
from shared.wecom.credentials import App, Robot

MAX_AGE = 5.0
"""Seconds after which a change made by another replica is seen, whatever became of its wake-up."""

FIRST = "default"
"""Name of the app and the robot that the settings seed."""


T = TypeVar("T")


class Kind(StrEnum):
    """What a credential opens."""

    APP = "app"
    ROBOT = "robot"
    KF = "kf"
    CUSTOMER = "customer"


@value_class
class Card:
    """A credential without its secret."""

    kind: Kind
    name: str
    corp_id: str
    agent_id: int
    updated_at: datetime
    updated_by: str
    pool: str = ""
    """Of a robot: the group that it serves together with others."""


class Credentials:
    """The credentials of one service's database; reads are served from memory for up to five seconds.

    One that is not in memory is looked for in the database before it counts as missing: whoever added it a moment
    ago, through another replica, may use it at once.
    """

    def __init__(self, database: Database, key: SecretKey, clock: Clock) -> None:
        self._database = database
        self._key = key
        self._clock = clock
        self._apps: dict[str, App] = {}
        self._robots: dict[str, Robot] = {}
        self._kf: dict[str, App] = {}
        self._customer: dict[str, App] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def app(self, name: str) -> App | None:
        """The app registered as *name*."""
        return await self._known(lambda: self._apps, name)

    async def robot(self, name: str) -> Robot | None:
        """The robot registered as *name*."""
        return await self._known(lambda: self._robots, name)

    async def kf(self, name: str) -> App | None:
        """What opens WeChat KF, registered as *name*: a corp and a secret, no agent."""
        return await self._known(lambda: self._kf, name)

    async def customer(self, name: str) -> App | None:
        """What opens customer contact, registered as *name*: a corp and a secret, no agent."""
        return await self._known(lambda: self._customer, name)

    async def reread(self) -> None:
        """Read all of them anew; Conflict (SECRET_KEY_MISMATCH) when one cannot be opened with our key."""
        await self._look(time.monotonic())

    async def pools(self) -> Mapping[str, tuple[str, ...]]:
        """By the name of a group, the robots that serve it together: the one of its name, then others by name."""
        now = time.monotonic()
        if self._read_at < now - MAX_AGE:
            await self._look(now - MAX_AGE)
        found: dict[str, list[str]] = {}
        for name, robot in sorted(self._robots.items()):
            if robot.pool:
                found.setdefault(robot.pool, []).append(name)
        own = {pool for pool in found if pool in self._robots and not self._robots[pool].pool}
        return {pool: ((pool,) if pool in own else ()) + tuple(names) for pool, names in found.items()}

    async def cards(self) -> Sequence[Card]:
        """All of them, by kind and name."""
        query = sa.select(credential).order_by(credential.c.kind, credential.c.name)
        async with self._database.read() as conn:
            return [
                Card(
                    Kind(row.kind),
                    row.name,
                    row.corp_id,
                    row.agent_id or 0,
                    row.updated_at,
                    row.updated_by,
                    row.pool,
                )
                for row in await conn.execute(query)
            ]

    async def put(
        self,
        conn: AsyncConnection,
        kind: Kind,
        name: str,
        corp_id: str,
        agent_id: int,
        secret: str,
        by: str,
        pool: str = "",
    ) -> Card:
        """Add or replace one, in the caller's transaction."""
        register_secret(secret)
        now = self._clock.now()
        changed = {
            "corp_id": corp_id,
            "agent_id": agent_id,
            "pool": pool,
            "secret_enc": self._key.encrypt(secret, _context(kind, name)),
            "updated_at": now,
            "updated_by": by,
        }
        values = {"kind": kind.value, "name": name, "created_at": now, **changed}
        await conn.execute(
            insert_into(self._database.dialect, credential)
            .values(values)
            .on_conflict_do_update(index_elements=["kind", "name"], set_=changed)
        )
        self._read_at = float("-inf")
        return Card(kind, name, corp_id, agent_id, now, by, pool)

    async def remove(self, conn: AsyncConnection, kind: Kind, name: str) -> None:
        """Remove one, in the caller's transaction; ``NotFound`` when there is none."""
        gone = await conn.execute(
            sa.delete(credential).where(credential.c.kind == kind.value, credential.c.name == name)
        )
        if not gone.rowcount:
            raise NotFound("NOT_FOUND", f"no {kind} is registered as {name}", resource="credential")
        self._read_at = float("-inf")

    async def seed(self, settings: Settings) -> None:
        """Bring the credentials of the settings in: what they name replaces what they named before."""
        wecom = settings.wecom
        async with self._database.write() as conn:
            if wecom.corp_id and wecom.agent_id and wecom.secret:
                secret = wecom.secret.get_secret_value()
                await self.put(conn, Kind.APP, FIRST, wecom.corp_id, wecom.agent_id, secret, "settings")
            if wecom.corp_id and wecom.kf_secret:
                secret = wecom.kf_secret.get_secret_value()
                await self.put(conn, Kind.KF, FIRST, wecom.corp_id, 0, secret, "settings")
            if wecom.corp_id and wecom.customer.secret:
                secret = wecom.customer.secret.get_secret_value()
                await self.put(conn, Kind.CUSTOMER, FIRST, wecom.corp_id, 0, secret, "settings")
            if wecom.robot_key:
                key = wecom.robot_key.get_secret_value()
                await self.put(conn, Kind.ROBOT, FIRST, "", 0, key, "settings")

    async def _known(self, registered: Callable[[], Mapping[str, T]], name: str) -> T | None:
        asked_at = time.monotonic()
        if self._read_at < asked_at - MAX_AGE:
            await self._look(asked_at - MAX_AGE)
        if name not in registered():
            await self._look(asked_at)
        return registered().get(name)

    async def _look(self, not_before: float) -> None:
        """Read, unless what is in memory was read at *not_before* (monotonic) or later."""
        if self._read_at >= not_before:
            return
        async with self._reading:
            if self._read_at < not_before:
                await self._read()

    async def _read(self) -> None:
        read_at = time.monotonic()
        async with self._database.read() as conn:
            found = (await conn.execute(sa.select(credential))).all()
        apps: dict[str, App] = {}
        robots: dict[str, Robot] = {}
        kf: dict[str, App] = {}
        customer: dict[str, App] = {}
        for row in found:
            secret = self._key.decrypt(row.secret_enc, _context(Kind(row.kind), row.name))
            register_secret(secret)  # whatever repeats it, the platform's own words included
            if row.kind == Kind.APP:
                apps[row.name] = App(row.corp_id, row.agent_id, secret, row.name)
            elif row.kind == Kind.KF:
                kf[row.name] = App(row.corp_id, 0, secret, f"kf/{row.name}")
            elif row.kind == Kind.CUSTOMER:
                customer[row.name] = App(row.corp_id, 0, secret, f"customer/{row.name}")
            else:
                robots[row.name] = Robot(row.name, secret, row.pool)
        self._apps, self._robots, self._kf, self._customer = apps, robots, kf, customer
        self._read_at = read_at


def _context(kind: Kind, name: str) -> str:
    return f"credential/{kind.value}/{name}"
