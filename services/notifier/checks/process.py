"""Looks at the process and what it stands on: database, broker, clock, keys, and what piles up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from services.notifier.domain.diagnosis.process import broker_finding, callback_finding, key_file_finding
from services.notifier.store.health import count_unknown
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.db.migrate import Location
from shared.db.migrate import check as check_schema
from shared.errors import Conflict, Invalid, ReachError
from shared.hosting.resources import Resources
from shared.ops.finding import CheckStatus, Finding
from shared.ops.ground import Ground
from shared.secrets import SecretKey
from shared.wecom.diagnosis import CLOCK_SLACK


class ProcessChecks:
    """What has nothing to do with WeCom."""

    def __init__(
        self,
        resources: Resources,
        database: Database,
        locations: Sequence[Location],
        credentials: Credentials,
    ) -> None:
        self._resources = resources
        self._database = database
        self._locations = locations
        self._credentials = credentials
        self._ground = Ground(database, locations, resources.clock, prefix="")

    async def database(self) -> Sequence[Finding]:
        """Does the database answer, and has it the tables this release needs?"""
        try:
            await self._database.ping()
        except ReachError as error:
            fix = "start the database, or correct REACH_DATABASE_URL; this process comes back by itself"
            return [
                Finding("database", CheckStatus.FAILED, error.message, fix),
                Finding("schema", CheckStatus.SKIPPED, "not tried: it needs the database"),
            ]
        findings = [Finding("database", CheckStatus.OK, f"{self._database.place} answers")]
        try:
            await check_schema(self._database, self._locations)
        except ReachError as error:
            fix = "run `reach migrate` of this release against the database, then start the process again"
            return [*findings, Finding("schema", CheckStatus.FAILED, error.message, fix)]
        return [*findings, Finding("schema", CheckStatus.OK, "as this release needs it")]

    async def secret_key(self) -> Sequence[Finding]:
        """Is the file with the secret key what it was at the start?"""
        named = self._resources.settings.secret_key_file
        path = named or self._resources.settings.home / "secret.key"
        now, problem, loose = None, "", False
        try:
            now = (await asyncio.to_thread(SecretKey.load, path)).fingerprint()
            # A file that an operator names may be a mounted secret, whose mode is not theirs to choose.
            loose = named is None and bool(path.stat().st_mode & 0o077)
        except (Invalid, OSError) as error:
            problem = error.message if isinstance(error, Invalid) else str(error.strerror)
        mine = self._resources.key.fingerprint()
        return [key_file_finding(mine=mine, now=now, problem=problem, path=str(path), loose=loose)]

    async def credentials(self) -> Sequence[Finding]:
        """Does our key open what is stored?"""
        try:
            await self._credentials.reread()
        except Conflict as error:
            return [
                Finding(
                    "credentials",
                    CheckStatus.FAILED,
                    f"{error.message}: nothing can be sent",
                    "store each again (`reach credentials list` names them) with `reach credentials add app NAME` or "
                    "`reach credentials add robot NAME`; after a restore bring back the REACH_SECRET_KEY_FILE of then",
                )
            ]
        return [Finding("credentials", CheckStatus.OK, "every stored secret opens")]

    async def broker(self) -> Sequence[Finding]:
        """Are events coming in and going out?"""
        bus = self._resources.bus
        if bus is None:
            return [Finding("broker", CheckStatus.SKIPPED, "the process is still starting")]
        return [broker_finding(bus.status(), embedded=self._resources.settings.embedded)]

    async def clock(self) -> Sequence[Finding]:
        """Does this host agree with the shared time?"""
        if self._resources.settings.clock == "sandbox":
            return [Finding("clock", CheckStatus.OK, "follows the sandbox")]
        off = abs((self._resources.clock.now() - datetime.now(UTC)).total_seconds())
        if off > CLOCK_SLACK:
            found = f"this host is {off:.0f} s off the database's time"
            fix = "synchronise the hosts' clocks (NTP; `timedatectl` shows whether it is on)"
            return [Finding("clock", CheckStatus.WARNING, found, fix)]
        return [Finding("clock", CheckStatus.OK, f"within {off:.1f} s of the database")]

    async def wecom_callback(self) -> Sequence[Finding]:
        """Can the app's callbacks be verified and opened?"""
        callback = self._resources.settings.wecom.app_callback
        token = callback.token.get_secret_value() if callback.token else None
        aes_key = callback.aes_key.get_secret_value() if callback.aes_key else None
        return [callback_finding(token, aes_key)]

    async def backlog(self) -> Sequence[Finding]:
        """Does anything pile up?"""
        async with self._database.read() as conn:
            unknown = await count_unknown(conn)
        return [*await self._ground.backlog(), _unknown(unknown)]


def _unknown(count: int) -> Finding:
    if not count:
        return Finding("unknown_sends", CheckStatus.OK, "none")
    fix = "ListUnknown names them; look, and say what you found with ResolveUnknown (runbook: An outcome is unknown)"
    return Finding("unknown_sends", CheckStatus.WARNING, f"{count}: nobody knows whether they arrived", fix)
