"""What kf_session checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.kf_session.pipeline.finding import Stores
from services.kf_session.pipeline.pulling import BEHIND
from services.kf_session.store.accounts import Accounts, AccountView
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db import dead, outbox
from shared.db.engine import Database
from shared.db.migrate import Location
from shared.db.migrate import check as check_schema
from shared.errors import Conflict, ReachError
from shared.ops.finding import CheckStatus, Finding
from shared.ops.part import Check
from shared.wecom.client import WeComClient
from shared.wecom.kf import KfApi, Listed
from shared.wecom.outcome import State

PAGE: Final = "微信客服 → API → 可调用接口的应用"
_SECONDS = 3.0
_OLD_OUTBOX = timedelta(seconds=60)


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
        self._locations = locations
        self._accounts = accounts
        self._stores = stores
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock
        self._callback = callback

    @property
    def checks(self) -> Sequence[Check]:
        """In the order they are told: what everything stands on comes first."""
        return (self.database, self.secret, self.callback, self.reading, self.backlog)

    async def database(self) -> Sequence[Finding]:
        """Does the database answer, and has it the tables this release needs?"""
        try:
            await self._database.ping()
            await check_schema(self._database, self._locations)
        except ReachError as error:
            fix = "start the database, or correct REACH_DATABASE_URL; run `reach migrate` of this release"
            return [Finding("kf_database", CheckStatus.FAILED, error.message, fix)]
        return [Finding("kf_database", CheckStatus.OK, f"{self._database.place} answers")]

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
        listed = await KfApi(self._wecom, app).accounts(deadline=_SECONDS)
        if listed.outcome.state is not State.ACCEPTED:
            outcome = listed.outcome
            told = outcome.errmsg or outcome.detail or outcome.cause
            fix = f"check the secret, and that the app may call the interface ({PAGE}); errcode {outcome.errcode}"
            return [Finding("kf_secret", CheckStatus.FAILED, f"WeCom refuses it: {told}", fix)]
        return [Finding("kf_secret", CheckStatus.OK, "WeCom lets it in"), self._visible(listed)]

    def _visible(self, listed: Listed) -> Finding:
        ids = [one for one, _ in listed.accounts]
        homeless = [one for one in ids if self._stores.of(one) is None]
        if not ids:
            fix = f"make an account, and give the app the right to manage it: {PAGE}"
            return Finding("kf_accounts", CheckStatus.WARNING, "the secret sees no account", fix)
        if homeless:
            words = f"{len(homeless)} of {len(ids)} belong to no store and are not read: {', '.join(homeless[:5])}"
            fix = "say where they belong with REACH_KF_STORES, or set REACH_DEFAULT_STORE"
            return Finding("kf_accounts", CheckStatus.FAILED, words, fix)
        return Finding("kf_accounts", CheckStatus.OK, f"{len(ids)} visible")

    async def callback(self) -> Sequence[Finding]:
        """Would the platform's callback be heard?"""
        if self._callback:
            return [Finding("kf_callback", CheckStatus.OK, "token and EncodingAESKey are set")]
        words = "not configured: messages are found by the slow poll alone, and welcomes come too late"
        fix = "set WECOM_KF_CALLBACK_TOKEN and WECOM_KF_CALLBACK_AES_KEY, and enter /callback/kf where they come from"
        return [Finding("kf_callback", CheckStatus.WARNING, words, fix)]

    async def reading(self) -> Sequence[Finding]:
        """How old is the place up to which each account has been read?"""
        async with self._database.read() as conn:
            views = await self._accounts.list(conn)
        now = self._clock.now()
        late = [view for view in views if now - view.read_until > BEHIND]
        if late:
            fix = "the platform keeps three days: see the log of the puller, and the lines above"
            return [Finding("kf_reading", CheckStatus.FAILED, _behind(late, now - late[0].read_until), fix)]
        failing = [view for view in views if view.hold_reason not in ("", "poll")]
        if failing:
            words = (
                f"{len(failing)} could not be read last time: {_names(failing)} ({failing[0].hold_reason})"
            )
            return [Finding("kf_reading", CheckStatus.WARNING, words, "see the log of the puller")]
        return [Finding("kf_reading", CheckStatus.OK, f"{len(views)} accounts are read to their end")]

    async def backlog(self) -> Sequence[Finding]:
        """Does anything pile up?"""
        async with self._database.read() as conn:
            waiting = await outbox.backlog(conn)
            letters = sum((await dead.counts(conn)).values())
        oldest = waiting.oldest_created_at
        if oldest is not None and self._clock.now() - oldest > _OLD_OUTBOX:
            words = f"{waiting.pending} events wait to be published, the oldest since {oldest.isoformat()}"
            return [Finding("kf_outbox", CheckStatus.WARNING, words, "see the line of the broker")]
        if letters:
            fix = "look with `reach dead list`, replay with `reach dead replay ID`"
            return [Finding("kf_dead_letters", CheckStatus.WARNING, f"{letters}: parked", fix)]
        return [Finding("kf_outbox", CheckStatus.OK, f"{waiting.pending} waiting")]


def _behind(late: Sequence[AccountView], since: timedelta) -> str:
    hours = since.total_seconds() / 3600
    return f"{len(late)} accounts were not read to their end for {hours:.0f} h and more: {_names(late)}"


def _names(views: Sequence[AccountView]) -> str:
    return ", ".join(view.id for view in views[:5])
