"""ai_orchestrator's own tables; the inbox, outbox, dead letters and limits beside them are ``shared.db.tables``.

run_tables      chain_run ── step_run ── attempt        which chain ran, step by step, and every request it cost
gate_tables     budget ── hold                          what may be spent, and what is spoken for
fact_tables     member, assistant, visit, note, task    what is known, from events and loads
result_tables   insight, clue, alert, conversation      what came of it
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
