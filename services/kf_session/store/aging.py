"""What nothing needs any more of intents, matches, sessions and experiments.

What a later decision asks for stays: the id of a deleted intent, which is not given again; the match of a pair whose
intent and profile are there, which says that its customer was told; every preference, and with it every 退订.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.lifecycle import PushStatus
from services.kf_session.store.learning_tables import (
    RUNNING,
    experiment,
    experiment_variant,
    reply_hour,
    summary_schedule,
)
from services.kf_session.store.matches import OWN
from services.kf_session.store.matching_tables import intent, match, profile, question
from services.kf_session.store.tables import credit, push, session

_OPEN = [one.value for one in PushStatus if one.open or one is PushStatus.UNKNOWN]
_NOTHING = {"conditions": [], "min_score": 1.0}


async def empty_intents(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Take their words and their customer from up to *limit* intents deleted before *before*; how many there were.

    The row stays, with its id: another intent must not have that.
    """
    t = intent.c
    old = (
        sa.select(t.store_id, t.intent_id)
        .where(t.deleted_at < before, t.external_userid != "")
        .order_by(t.deleted_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    keys = [tuple(row) for row in await conn.execute(old)]
    empty = {"name": "", "description": "", "spec": _NOTHING, "open_kfid": "", "external_userid": ""}
    await conn.execute(sa.update(intent).where(sa.tuple_(t.store_id, t.intent_id).in_(keys)).values(empty))
    return len(keys)


async def purge_matches(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* matches of ours withdrawn before *before* that can be none again; how many there were.

    Of a pair whose intent was deleted, or whose profile is gone. Any other may match again, and must be known then.
    """
    m = match.c
    intent_there = sa.exists().where(
        intent.c.store_id == m.store_id, intent.c.intent_id == m.intent_id, intent.c.deleted_at.is_(None)
    )
    profile_there = sa.exists().where(profile.c.store_id == m.store_id, profile.c.profile_id == m.profile_id)
    old = (
        sa.select(m.id)
        .where(m.source == OWN, m.withdrawn_at < before, sa.not_(intent_there & profile_there))
        .order_by(m.withdrawn_at)
        .limit(limit)
    )
    ids = list(await conn.scalars(old))
    await conn.execute(sa.delete(question).where(question.c.match_id.in_(ids)))
    await conn.execute(sa.delete(match).where(m.id.in_(ids)))
    return len(ids)


async def purge_sessions(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* sessions in which nothing happened since *before* and for which nothing waits; how many.

    With each its credits, since a new session counts its windows anew, its place among the summaries, and the hours of a
    customer who has no other session in the store.
    """
    s = session.c
    waits = sa.exists().where(
        push.c.open_kfid == s.open_kfid, push.c.external_userid == s.external_userid, push.c.status.in_(_OPEN)
    )
    old = (
        sa.select(s.open_kfid, s.external_userid, s.store_id)
        .where(s.updated_at < before, ~waits)
        .order_by(s.open_kfid, s.external_userid)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = (await conn.execute(old)).all()
    keys = [(row.open_kfid, row.external_userid) for row in found]
    for table in (credit, summary_schedule, session):
        of = sa.tuple_(table.c.open_kfid, table.c.external_userid)
        await conn.execute(sa.delete(table).where(of.in_(keys)))
    there = sa.exists().where(
        s.store_id == reply_hour.c.store_id, s.external_userid == reply_hour.c.external_userid
    )
    people = [(row.store_id, row.external_userid) for row in found]
    who = sa.tuple_(reply_hour.c.store_id, reply_hour.c.external_userid)
    await conn.execute(sa.delete(reply_hour).where(who.in_(people), ~there))
    return len(found)


async def purge_experiments(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* experiments that were stopped before *before*, but for the last of each template; how many."""
    e, later = experiment.c, experiment.alias("later")
    another = sa.exists().where(
        later.c.store_id == e.store_id,
        later.c.template_id == e.template_id,
        later.c.started_at > e.started_at,
    )
    old = (
        sa.select(e.id).where(e.status != RUNNING, e.stopped_at < before, another).order_by(e.id).limit(limit)
    )
    ids = list(await conn.scalars(old))
    await conn.execute(sa.delete(experiment_variant).where(experiment_variant.c.experiment_id.in_(ids)))
    await conn.execute(sa.delete(experiment).where(e.id.in_(ids)))
    return len(ids)
