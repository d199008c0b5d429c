"""Credentials are shared by replicas through the database, and remembered by each for a while."""

from __future__ import annotations

from pathlib import Path

from services.notifier.assembly import LOCATIONS, NAME
from shared.clock import SystemClock
from shared.credentials import Credentials, Kind
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.secrets import SecretKey


async def test_a_robot_added_through_one_replica_can_be_used_by_another_at_once(tmp_path: Path) -> None:
    """A replica that did not know it yet would refuse its posts for good."""
    url, key = f"sqlite:///{tmp_path}/notifier.db", SecretKey.create(tmp_path / "secret.key")
    migrate(url, NAME, LOCATIONS)
    database = Database.open(url, schema=NAME)
    try:
        here, there = (Credentials(database, key, SystemClock()) for _ in range(2))
        assert await there.robot("front") is None
        async with database.write() as conn:
            await here.put(conn, Kind.ROBOT, "front", "", 0, "a-webhook-key", "operator")
        found = await there.robot("front")
        assert found is not None
        assert found.key == "a-webhook-key"
    finally:
        await database.close()
