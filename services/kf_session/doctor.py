"""What kf_session checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence

from services.kf_session.domain.diagnosis import (
    access_findings,
    accounts_finding,
    callback_finding,
    reading_finding,
)
from services.kf_session.pipeline.finding import Stores
from services.kf_session.store import sessions
from services.kf_session.store.accounts import Accounts
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db import callbacks
from shared.db.engine import Database
from shared.db.migrate import Location
from shared.errors import Conflict
from shared.ops.finding import CheckStatus, Finding
from shared.ops.ground import Ground
from shared.ops.part import Check
from shared.wecom.client import WeComClient
from shared.wecom.diagnosis import platform_clock_finding
from shared.wecom.kf import KfApi
from shared.wecom.outcome import State

_SECONDS = 3.0


class Doctor:
    """kf_session's checks."""

    def __init__(
        self,
        database: Database,
        locations: Sequence[Location],
        accounts: Accounts,
        stores: Stores,
        credentials: Credentials,
        wecom: WeComClient,
        clock: Clock,
        *,
        callback: bool,
    ) -> None:
        self._database = database
        self._ground = Ground(database, locations, clock, prefix="kf_")
        self._accounts = accounts
        self._stores = stores
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock
        self._callback = callback

    @property
    def checks(self) -> Sequence[Check]:
        """In the order they are told: what everything stands on comes first."""
        return (self._ground.database, self.secret, self.callback, self.reading, self._ground.backlog)

    async def secret(self) -> Sequence[Finding]:
        """Does WeCom let the KF secret in, and which accounts does it see?"""
        try:
            app = await self._credentials.kf(FIRST)
        except Conflict as error:
            fix = "store it again: `reach credentials add kf default`"
            return [Finding("kf_secret", CheckStatus.FAILED, error.message, fix)]
        if app is None:
            words = "no secret of WeChat KF is stored: customers are neither heard nor written to"
            fix = "set WECOM_CORP_ID and WECOM_KF_SECRET, or run `reach credentials add kf default`"
            return [Finding("kf_secret", CheckStatus.SKIPPED, words, fix)]
        before = self._clock.now()
        listed = await KfApi(self._wecom, app).accounts(deadline=_SECONDS)
        clock = platform_clock_finding(before, self._clock.now(), listed.date, "kf_clock")
        findings = access_findings(listed.outcome)
        if listed.outcome.state is State.ACCEPTED:
            managed = [one for one, _ in listed.accounts]
            homeless = [one for one in managed if self._stores.of(one) is None]
            findings.append(accounts_finding(managed, listed.unmanaged, homeless))
        else:
            findings.append(
                Finding("kf_accounts", CheckStatus.SKIPPED, "not tried: WeChat KF does not answer")
            )
        return [*findings, clock]

    async def callback(self) -> Sequence[Finding]:
        """Are the platform's callbacks heard?"""
        since = self._clock.now() - callbacks.KEPT
        async with self._database.read() as conn:
            heard_at, wrote_at = await callbacks.last(conn), await sessions.last_message(conn, since)
        found = callback_finding(
            configured=self._callback, heard_at=heard_at, wrote_at=wrote_at, kept=callbacks.KEPT
        )
        return [found]

    async def reading(self) -> Sequence[Finding]:
        """How old is the place up to which each account has been read?"""
        async with self._database.read() as conn:
            views = await self._accounts.list(conn)
        read_until = {view.id: view.read_until for view in views}
        failing = {view.id: view.hold_reason for view in views if view.hold_reason not in ("", "poll")}
        return [reading_finding(read_until, failing, self._clock.now())]
