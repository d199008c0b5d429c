"""Everything about groups and join ways, wired: what the assembly takes from this room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.group_doctor import GroupDoctor
from services.campaign.pipeline.group_reading import Reader
from services.campaign.pipeline.group_sync import GroupSync
from services.campaign.pipeline.ports import Caps
from services.campaign.pipeline.selecting import StoredGroups
from services.campaign.pipeline.way_checking import WayChecking
from services.campaign.store import group_readings, group_syncs, groups
from services.campaign.usecases.group_ringing import PATH, GroupRinging
from services.campaign.usecases.groups import CustomerGroups
from services.campaign.usecases.join_ways import JoinWays
from shared.audit import AuditLog
from shared.clock import Clock
from shared.credentials import Credentials
from shared.db.engine import Database
from shared.hosting.callback_door import CallbackDoor, callback_key
from shared.secrets import SecretKey
from shared.settings import Settings
from shared.supervise import Loop
from shared.telemetry.metrics import Metrics
from shared.wecom.client import WeComClient
from shared.wecom.customer import PAGE

SYNCS_KEPT: Final = timedelta(days=90)
LEDGERS_KEPT: Final = timedelta(days=400)
"""Changes, days, and joins of those who left."""


class GroupsSide:
    """The parts: use cases for the servicer, the port for the other rooms, two loops, a door, checks, a purge."""

    def __init__(
        self,
        service: str,
        database: Database,
        credentials: Credentials,
        wecom: WeComClient,
        audit: AuditLog,
        clock: Clock,
        numbers: Metrics,
        settings: Settings,
        key: SecretKey,
        owner: str,
        caps: Caps | None = None,
        page: int = PAGE,
    ) -> None:
        """*service* is its name, *owner* this process; *caps* tells which groups may receive no more;
        a *page* of the platform's list holds so many."""
        customer, default = settings.wecom.customer, settings.default_store

        def store_of(userid: str) -> str:
            return customer.store_of(userid, default) or ""

        zone = settings.default_zone
        self.selecting = StoredGroups(caps)
        """The port ``Groups``."""
        self.groups = CustomerGroups(database, self.selecting, credentials, wecom, audit, clock, zone)
        self.join_ways = JoinWays(database, credentials, wecom, audit, clock, numbers, owner)
        self.syncing = GroupSync(
            database,
            Reader(store_of, key.derive("group members"), zone, numbers),
            credentials,
            wecom,
            clock,
            numbers,
            owner,
            cron=customer.sync_cron,
            zone=zone,
            per_second=customer.read_qps,
            lease=settings.limits.lease,
            page=page,
        )
        self.checking = WayChecking(database, credentials, wecom, clock, numbers, owner)
        door = callback_key(settings.wecom.corp_id, settings.wecom.customer_callback)
        self.ringing = GroupRinging(database)
        self.routes = (
            [CallbackDoor(service, PATH, database, door, self.ringing.take, clock, numbers).route]
            if door is not None
            else []
        )
        """HTTP routes; none where no callback is configured."""
        doctor = GroupDoctor(database, credentials, wecom, clock, callback=door is not None)
        self.checks = doctor.checks
        """For Doctor."""

    @property
    def loops(self) -> Mapping[str, Loop]:
        """Its background loops, by name."""
        return {"groups": self.syncing.run, "join_ways": self.checking.run}

    async def purge(self, conn: AsyncConnection, now: datetime, limit: int) -> int:
        """Delete a batch of what is past its time; the most rows of one table."""
        before = now - LEDGERS_KEPT
        gone: Sequence[int] = [
            await group_syncs.purge(conn, now - SYNCS_KEPT, limit),
            await groups.purge_changes(conn, before, limit),
            await group_readings.purge_days(conn, before, limit),
            await group_readings.purge_joins(conn, before, limit),
        ]
        return max(gone)
