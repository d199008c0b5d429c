"""What this room checks when somebody asks whether all is well, with the fix for each failure."""

from __future__ import annotations

from collections.abc import Sequence

from services.campaign.domain.contact_diagnosis import (
    access_findings,
    callback_finding,
    owners_finding,
    sync_finding,
    ways_finding,
)
from services.campaign.store import group_syncs, groups, join_ways
from shared.clock import Clock
from shared.credentials import FIRST, Credentials
from shared.db.engine import Database
from shared.errors import Conflict
from shared.ops.finding import CheckStatus, Finding
from shared.ops.part import Check
from shared.wecom.client import WeComClient
from shared.wecom.customer import CustomerApi
from shared.wecom.diagnosis import platform_clock_finding

_SECONDS = 3.0


class GroupDoctor:
    """The checks of customer contact."""

    def __init__(
        self,
        database: Database,
        credentials: Credentials,
        wecom: WeComClient,
        clock: Clock,
        *,
        callback: bool,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._wecom = wecom
        self._clock = clock
        self._callback = callback

    @property
    def checks(self) -> Sequence[Check]:
        """In the order they are told: what everything stands on comes first."""
        return (self.secret, self.callback, self.groups)

    async def secret(self) -> Sequence[Finding]:
        """Does WeCom let the secret of customer contact in, and may it read groups?"""
        try:
            app = await self._credentials.customer(FIRST)
        except Conflict as error:
            fix = "store it again: `reach credentials add customer default`"
            return [Finding("customer_secret", CheckStatus.FAILED, error.message, fix)]
        if app is None:
            words = "no secret of customer contact is stored: no group is known, and no campaign can run"
            fix = (
                "set WECOM_CORP_ID and WECOM_CUSTOMER_SECRET, or run `reach credentials add customer default`"
            )
            return [Finding("customer_secret", CheckStatus.SKIPPED, words, fix)]
        before = self._clock.now()
        found = await CustomerApi(self._wecom, app).groups(limit=1, deadline=_SECONDS)
        clock = platform_clock_finding(before, self._clock.now(), found.date, "customer_clock")
        return [*access_findings(found.outcome), clock]

    async def callback(self) -> Sequence[Finding]:
        """Are the platform's callbacks heard?"""
        async with self._database.read() as conn:
            heard_at = await groups.last_hint(conn)
        return [callback_finding(configured=self._callback, heard_at=heard_at)]

    async def groups(self) -> Sequence[Finding]:
        """Are the groups fresh, and do they belong somewhere? Are the ways in what we made them?"""
        async with self._database.read() as conn:
            last, listed_at = await group_syncs.last(conn), await group_syncs.listed_at(conn)
            counts, ways = await groups.counts(conn), await join_ways.counts(conn)
            owners = await groups.homeless_owners(conn) if counts["homeless"] else []
        if last is None and await self._credentials.customer(FIRST) is None:
            return []
        sync = sync_finding(
            listed_at=listed_at,
            status=last.status.value if last else "",
            error=last.error if last else "",
            counts=counts,
            now=self._clock.now(),
        )
        return [sync, owners_finding(counts["homeless"], owners), ways_finding(ways)]
