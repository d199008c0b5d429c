"""A past of chains: what 400 clubs leave behind in some months, and steps that still wait for a gate."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from shared.db.engine import Database
from tests.support import past

TABLES = (
    "chain_run", "run_event", "step_run", "attempt", "hold", "insight", "member_news", "clue", "alert", "visit", "note",
    "task", "member",
)  # fmt: skip
WAITS = 20
"""One of so many steps waits for its store's budget."""


async def fill(database: Database, now: datetime, count: int) -> None:
    """*count* rows of each table; then have the planner look at what is there."""
    sql = past.SQL[database.dialect]
    at, later, key, json = sql["at"], sql["later"], sql["id"], sql["json"]
    later_than_all = {"sqlite": "'2099-01-01T00:00:00.000000Z'", "postgresql": "timestamptz '2099-01-01'"}
    tomorrow = later_than_all[database.dialect]
    nothing, listed = json.format("'{}'"), json.format("'[]'")
    waits = f"n % {WAITS} = 0"
    store, member = f"'s' || (n % {past.STORES})", "'m' || (n % 20000)"
    about = {"store_id": store, "member_id": member, "assistant_id": "''"}
    step = {**about, "time_dimension": "''", "area": "''", "app_type": "'app3_clue'"}
    chain_run = {
        **about,
        "id": key, "chain": "'consumption'", "chain_version": "'1'", "event_type": "'consumption.settled'",
        "event_id": f"'past-' || {key}", "trigger": "'event'", "connector": "'till'", "day": "'2026-01-01'",
        "dedup_key": f"'past-' || {key}", "prewarm": "false", "priority": "2", "width": "0",
        "status": f"CASE WHEN {waits} THEN 'running' ELSE 'completed' END", "reason": "''", "error": "''",
        "deadline_at": tomorrow, "created_at": at, "started_at": at,
        "finished_at": f"CASE WHEN {waits} THEN NULL ELSE {later} END",
    }  # fmt: skip
    step_run = {
        **step,
        "id": key, "run_id": key, "position": "0", "name": "'app3_clue'", "app_version": "'1'", "arguments": nothing,
        "user_id": "''", "after": listed, "refresh": "false", "patient": "true", "missing": listed, "refusals": listed,
        "correction": "''", "reason": f"CASE WHEN {waits} THEN 'budget_exceeded' ELSE '' END", "error": "''",
        "tokens": "900", "status": f"CASE WHEN {waits} THEN 'deferred' ELSE 'completed' END", "priority": "2",
        "rank": at, "due_at": f"CASE WHEN {waits} THEN {tomorrow} ELSE {at} END",
        "hold_reason": f"CASE WHEN {waits} THEN 'budget_exceeded' END", "attempt_no": "1", "lease_epoch": "1",
        "lane": f"'lane-' || {key}", "finished_at": f"CASE WHEN {waits} THEN NULL ELSE {later} END",
    }  # fmt: skip
    attempt = {
        **step,
        "id": key, "step_id": key, "run_id": key, "attempt_no": "1", "interactive": "true", "status": "'completed'",
        "reason": "''", "code": "''", "error": "''", "prompt": "'请分析'", "response": "'{}'".replace("{}", "好"),
        "prompt_bytes": "2000", "input_tokens": "800", "output_tokens": "100", "charged_tokens": "900",
        "request_id": f"'r-' || {key}", "finish_reason": "'stop'", "owner": "'host-1'", "trace_id": "''",
        "until": later, "started_at": at, "finished_at": later, "took_ms": "50",
    }  # fmt: skip
    hold = {
        "attempt_id": key, "store_id": store, "app_type": "'app3_clue'", "day": "'2026-01-01'", "month": "'2026-01'",
        "tokens": "5000", "taken_at": at, "until": later, "settled_at": later, "charged": "900",
    }  # fmt: skip
    insight = {
        **step,
        "cache_type": "'clue'", "target": f"'past-' || {key}", "app_version": "'1'", "result": nothing,
        "fingerprint": f"'f-' || {key}", "made_from": listed, "missing": listed, "triggered_by": "'consumption.settled'",
        "run_id": key, "made_at": at, "known_at": at, "revision": "1",
    }  # fmt: skip
    clue = {
        "id": key, "store_id": store, "member_id": member, "source": "'ai_consumption'", "category": "'客户基础'",
        "emoji": "'🎱'", "summary": "'常来'", "detail": "''", "providers": "''", "run_id": key, "created_at": at,
        "created_by": "''",
    }  # fmt: skip
    alert = {
        "id": key, "seq": "n + 1", "once": f"'past-' || {key}", "store_id": store, "app_type": "'app3_clue'",
        "kind": "CASE n % 2 WHEN 0 THEN 'failed' ELSE 'timeout' END", "message": "'x'", "run_id": key,
        "step": "'app3_clue'", "announced": "n % 10 = 0", "created_at": at,
    }  # fmt: skip
    people = {"store_id": store, "member_id": member}
    visit = {
        **about, "visit_id": f"'past-' || {key}", "cents": "28000", "area": "'A区'", "area_folded": "'a区'", "seconds": "3600",
        "settled_at": at,
    }  # fmt: skip
    note = {**people, "note_id": f"'past-' || {key}", "content": "'好'", "noted_by": "'小林'", "noted_at": at}
    task = {**people, "task_id": f"'past-' || {key}", "assistant_id": "'a1'", "assigned_at": at}
    one_each = {"store_id": store, "member_id": f"'m' || {key}"}
    tables: dict[str, past.Columns] = {
        "chain_run": chain_run,
        "run_event": {"run_id": key, "content_hash": f"'h-' || {key}", "event_id": f"'past-' || {key}", "created_at": at},
        "step_run": step_run,
        "attempt": attempt,
        "hold": hold,
        "insight": insight,
        "member_news": {**one_each, "at": at, "reason": "'newer_facts'"},
        "clue": clue,
        "alert": alert,
        "visit": visit,
        "note": note,
        "task": task,
        "member": {**one_each, "name": "'张三'", "name_at": at},
    }  # fmt: skip
    assert tuple(tables) == TABLES
    await past.insert(database, tables, now, count)
    head = "INSERT INTO alert_head (id, seq, purged) VALUES (1, :seq, 0)"
    async with database.write() as conn:
        await conn.execute(text(head), {"seq": count})
        if database.dialect == "postgresql":
            await conn.execute(text(f"ANALYZE {', '.join(TABLES)}"))
