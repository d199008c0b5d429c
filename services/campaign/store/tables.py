"""campaign's own tables; the inbox, outbox, dead letters and limits beside them are ``shared.db.tables``.

campaign_tables   campaign ── version, move, snapshot, approval, run ── task ── target     what is sent, and what came of it
follow_tables     task_follow, task_reminder, group_receipt                                what happens to tasks that exist
writing_tables    material ── part · tone · candidate_set ── candidate                     what it is written with
playbook_tables   playbook_run, its occurrences, and which group got which step            what drafts them by itself
group_tables      customer_group, group_sync, join_way, …                                  to whom it can be sent
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
