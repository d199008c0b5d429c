"""A past: rows that are over, in any number, as a database makes them; deliveries with their recipients and attempts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database

STORES = 400
SPAN = timedelta(days=80)
"""Over which they are spread."""

_AGO = timedelta(days=1)
"""How long ago the last one was."""

Columns = Mapping[str, str]
"""What a table's columns are, as SQL over ``n``, which counts from 0, and the words of `SQL`."""

SQL = {
    "sqlite": {
        "numbers": "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < :count)"
        " SELECT n FROM s)",
        "at": "strftime('%Y-%m-%dT%H:%M:%f', :last, '-' || ((:count - n) * :step) || ' seconds') || '000Z'",
        "later": "strftime('%Y-%m-%dT%H:%M:%f', :last, '-' || ((:count - n) * :step - 0.05) || ' seconds') || '000Z'",
        # Hosts make ids that sort by time; these come before any of today.
        "id": "printf('00000000-%012d', n)",
        "json": "{}",
    },
    "postgresql": {
        "numbers": "generate_series(0, CAST(:count AS integer) - 1) AS g(n)",
        "at": "CAST(:last AS timestamptz) - (:count - n) * :step * interval '1 second'",
        "later": "CAST(:last AS timestamptz) - ((:count - n) * :step - 0.05) * interval '1 second'",
        "id": "'00000000-' || lpad(CAST(n AS text), 12, '0')",
        "json": "CAST({} AS jsonb)",
    },
}
_STATUS = (
    "CASE WHEN n % 50 = 7 THEN 'failed' WHEN n % 200 = 9 THEN 'unknown' WHEN n % 200 = 11 THEN 'expired' "
    "WHEN n % 500 = 13 THEN 'suppressed' ELSE 'accepted' END"
)
_CONTENT = """'{"format": "text", "text": "【新订单】订单 B20260220001，桌号 B02，共 3 件，合计 ¥158.00，请尽快安排出餐。"}'"""


async def fill(database: Database, now: datetime, count: int) -> None:
    """*count* deliveries of some months, up to a day before *now*; then have the planner look at what is there."""
    sql = SQL[database.dialect]
    at, later, key = sql["at"], sql["later"], sql["id"]
    event = f"'past-' || {key}"
    store = f"'s' || (n % {STORES})"
    delivery = {
        "id": key,
        "store_id": store,
        "event_id": event,
        "event_type": "CASE n % 3 WHEN 0 THEN 'order.created' WHEN 1 THEN 'payment.completed' ELSE 'guest.arrived' END",
        "rule_id": "'order.created'",
        "rule_version": "1",
        "channel": "CASE WHEN n % 10 = 3 THEN 'robot:hall' ELSE 'app:default' END",
        "part": "0",
        "content": sql["json"].format(_CONTENT),
        "status": _STATUS,
        "priority": "n % 4",
        "rank": at,
        "due_at": at,
        "attempt_no": "CASE WHEN n % 500 = 13 THEN 0 ELSE 1 END",
        "lease_epoch": "1",
        # The lanes of groups, which many rows of the past have, too.
        "lane": "CASE WHEN n % 10 = 3 THEN 'robot:hall' END",
        "retries": "0",
        "refreshes": "0",
        "resend_mark": "false",
        "reason": "''",
        "created_at": at,
        "updated_at": later,
        "go_at": at,
    }
    recipient = {
        "event_id": event,
        "store_id": store,
        "channel": "CASE WHEN n % 10 = 3 THEN 'robot:hall' ELSE 'app:default' END",
        "kind": "CASE WHEN n % 10 = 3 THEN 'robot' ELSE 'user' END",
        "target": "CASE WHEN n % 10 = 3 THEN 'hall' ELSE 'u' || (n % 1000) END",
        "part": "0",
        "delivery_id": key,
        "role": "CASE WHEN n % 2 = 0 THEN 'manager' ELSE 'kitchen_staff' END",
    }
    attempt = {
        "delivery_id": key,
        "attempt_no": "1",
        "epoch": "1",
        "state": "CASE WHEN n % 50 = 7 THEN 'rejected_permanent' ELSE 'accepted' END",
        "http_status": "200",
        "errcode": "0",
        "detail": "'ok'",
        "vendor_msgid": f"'msg-' || {key}",
        "owner": "'host-1'",
        "started_at": at,
        "finished_at": later,
    }
    tables = {"delivery": delivery, "recipient": recipient, "attempt": attempt}
    await insert(database, tables, now, count)
    await look(database)


async def insert(database: Database, tables: Mapping[str, Columns], now: datetime, count: int) -> None:
    """*count* rows of each table, spread over `SPAN`, up to a day before *now*."""
    last: Any = now - _AGO
    if database.dialect == "sqlite":
        last = last.strftime("%Y-%m-%d %H:%M:%S")
    given = {"count": count, "last": last, "step": SPAN.total_seconds() / count}
    numbers = SQL[database.dialect]["numbers"]
    async with database.write() as conn:
        if database.dialect == "postgresql":  # however busy the machine is
            await conn.execute(text("SET LOCAL statement_timeout = 0"))
        for table, columns in tables.items():
            names = ", ".join(f'"{name}"' for name in columns)
            statement = f"INSERT INTO {table} ({names}) SELECT {', '.join(columns.values())} FROM {numbers}"
            used = {name: value for name, value in given.items() if f":{name}" in statement}
            await conn.execute(text(statement.replace('": ', '"\\: ')), used)


async def look(database: Database) -> None:
    """Have the planner look at the tables, as PostgreSQL does by itself; on SQLite nobody does."""
    if database.dialect == "postgresql":
        async with database.write() as conn:
            await conn.execute(text("ANALYZE delivery, recipient, attempt"))
