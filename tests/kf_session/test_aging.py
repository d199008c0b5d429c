"""What is over leaves; what a later decision asks for stays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.pipeline.retention import HISTORY_KEPT, OldRows
from services.kf_session.store.learning_tables import experiment, reply_hour
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.matching_tables import intent, match, profile
from services.kf_session.store.tables import credit, preference, session
from shared.clock import ManualClock
from shared.ops.retention import Retention
from shared.settings import Limits
from tests.kf_session.learning_support import STORE, add_match, add_push, add_session, opened

LONG_AGO = datetime(2026, 3, 2, 4, tzinfo=UTC)
NOW = LONG_AGO + HISTORY_KEPT + timedelta(days=1)


async def _fill(conn: AsyncConnection) -> None:
    for who in ("idle", "waited-for"):
        key = SessionKey("kf-1", who)
        await add_session(conn, LONG_AGO, key)
        row = {"open_kfid": "kf-1", "external_userid": who, "window_no": 1, "slot": 1, "push_id": f"c-{who}"}
        await conn.execute(sa.insert(credit).values(**row, reserved_at=LONG_AGO))
        hour = {"store_id": STORE, "external_userid": who, "hour": 9, "weight": 1.0}
        await conn.execute(sa.insert(reply_hour).values(**hour))
    await add_session(conn, NOW, SessionKey("kf-1", "fresh"))
    await add_push(conn, "waits", LONG_AGO, external_userid="waited-for", status="deferred")
    gone = {"store_id": STORE, "external_userid": "idle", "spec": {}, "unsubscribed_at": LONG_AGO}
    await conn.execute(sa.insert(preference).values(**gone, updated_at=LONG_AGO, updated_by="customer"))
    for name, deleted_at in (("there", None), ("gone", LONG_AGO)):
        await conn.execute(sa.insert(intent).values(**_intent(name, deleted_at)))
    about = {"name": "张三", "text": "", "fields": {}, "fingerprint": "f"}
    await conn.execute(
        sa.insert(profile).values(
            store_id=STORE, profile_id="p1", created_at=LONG_AGO, updated_at=LONG_AGO, **about
        )
    )
    for ident, intent_id, profile_id, withdrawn_at in (
        ("may-match-again", "there", "p1", LONG_AGO),
        ("no-profile", "there", "p2", LONG_AGO),
        ("no-intent", "gone", "p1", LONG_AGO),
        ("just-now", "gone", "p2", NOW),
        ("stands", "there", "p3", None),
    ):
        await add_match(
            conn, ident, intent_id, LONG_AGO, profile_id=profile_id, withdrawn_at=withdrawn_at, push_id="x"
        )
    for number, status in enumerate(("stopped", "stopped", "running")):
        at = LONG_AGO + timedelta(hours=number)
        trial = {"reason": "", "adopt": False, "alpha": 0.05, "created_by": "a", "status": status}
        await conn.execute(
            sa.insert(experiment).values(
                id=f"e{number}", store_id=STORE, template_id="default" if number else "other",
                started_at=at, ends_at=at, stopped_at=at if status == "stopped" else None, **trial,
            )
        )  # fmt: skip


def _intent(name: str, deleted_at: datetime | None) -> dict[str, Any]:
    return {
        "store_id": STORE,
        "intent_id": name,
        "version": 1,
        "name": "找人",
        "description": "",
        "spec": {"conditions": [], "min_score": 0.7},
        "open_kfid": "",
        "external_userid": "idle",
        "auto_push": True,
        "deleted_at": deleted_at,
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    }


async def test_what_is_over_leaves_and_what_a_later_decision_asks_for_stays(database_url: str) -> None:
    async with opened(database_url) as database:
        async with database.write() as conn:
            await _fill(conn)
        horizon = Limits().dedupe_horizon
        keeping = Retention(database, ManualClock(NOW), horizon, [OldRows(horizon).purge])
        assert not await database.transact(keeping.tidy)

        async def column(what: sa.Column[Any]) -> Sequence[Any]:
            async with database.read() as conn:
                return (await conn.scalars(sa.select(what).order_by(what))).all()

        assert await column(session.c.external_userid) == ["fresh", "waited-for"]
        assert await column(credit.c.external_userid) == ["waited-for"]
        assert await column(reply_hour.c.external_userid) == ["waited-for"]
        assert await column(preference.c.external_userid) == ["idle"]  # who unsubscribed stays so
        assert await column(match.c.id) == ["just-now", "may-match-again", "stands"]
        assert await column(experiment.c.id) == ["e0", "e2"]  # the last of each template
        assert await column(intent.c.intent_id) == ["gone", "there"]  # the id is not given again
        assert await column(intent.c.external_userid) == ["", "idle"]
        assert await column(intent.c.name) == ["", "找人"]
