"""Sessions, the messages in them and the one-shot codes, as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.message import Inbound
from services.kf_session.domain.reading import Code
from services.kf_session.domain.sessions import Hands
from services.kf_session.domain.window import CLOSING, WINDOW, SessionState
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.tables import credit, event_code, message, session
from shared.db.rows import dialect_of, insert_into, insert_rows, pack
from shared.values import value_class

_COLUMNS: Final = (
    "open_kfid",
    "msgid",
    "external_userid",
    "store_id",
    "origin",
    "msgtype",
    "content",
    "servicer_userid",
    "sent_at",
    "received_at",
)


@value_class
class SessionView:
    """A session as it stands."""

    key: SessionKey
    store_id: str
    hands: Hands
    state_at: datetime
    checked_at: datetime | None
    customer_at: datetime | None
    blocked_at: datetime | None
    scene: str
    used: int
    """Credits of the present window that are reserved or spent."""
    code_ends_at: datetime | None
    """When the first of the codes that are still good runs out."""
    updated_at: datetime


@value_class
class SessionFilter:
    """Which sessions a list shows; what is empty or None does not narrow it."""

    stores: Collection[str] | None = None
    open_kfid: str = ""
    external_userid: str = ""
    states: tuple[SessionState, ...] = ()
    open_only: bool = False


async def keep(conn: AsyncConnection, items: Sequence[Inbound], now: datetime) -> set[str]:
    """Keep what was not known before; the msgids of those."""
    if not items:
        return set()
    insert = insert_rows(dialect_of(conn), message, "items", _COLUMNS).on_conflict_do_nothing()
    rows = [
        {
            "open_kfid": one.open_kfid,
            "msgid": one.msgid,
            "external_userid": one.external_userid,
            "store_id": one.store_id,
            "origin": int(one.origin),
            "msgtype": one.msgtype,
            "content": dict(one.content),
            "servicer_userid": one.servicer_userid,
            "sent_at": one.sent_at,
            "received_at": now,
        }
        for one in sorted(items, key=lambda one: one.msgid)
    ]
    return set((await conn.execute(insert.returning(message.c.msgid), {"items": pack(rows)})).scalars())


async def ensure(
    conn: AsyncConnection, first: Mapping[SessionKey, datetime], store_id: str, now: datetime
) -> None:
    """Have a row for each session, over so far; *first* is since when something is known of it.

    The rows are the caller's until the transaction ends, so that none is purged meanwhile.
    """
    for key in sorted(first, key=lambda key: (key.open_kfid, key.external_userid)):
        insert = insert_into(dialect_of(conn), session).values(
            open_kfid=key.open_kfid,
            external_userid=key.external_userid,
            store_id=store_id,
            state=int(SessionState.ENDED),
            servicer_userid="",
            state_at=first[key],
            window_no=0,
            scene="",
            scene_param="",
            created_at=now,
            updated_at=now,
        )
        # The conflict's update takes the lock on the row that is there.
        mine = insert.on_conflict_do_update(
            index_elements=["open_kfid", "external_userid"], set_={"updated_at": session.c.updated_at}
        )
        await conn.execute(mine)


async def touch(conn: AsyncConnection, keys: Iterable[SessionKey], now: datetime) -> None:
    """Something came in: they are the ones that changed last."""
    for key in keys:
        await conn.execute(sa.update(session).where(*_is(key)).values(updated_at=now))


async def move(conn: AsyncConnection, key: SessionKey, hands: Hands, at: datetime, now: datetime) -> bool:
    """The platform had the session in other hands at *at*; False where something later is known."""
    moved = await conn.execute(
        sa.update(session)
        .where(*_is(key), session.c.state_at <= at)
        .values(state=int(hands.state), servicer_userid=hands.servicer_userid, state_at=at, updated_at=now)
    )
    return bool(moved.rowcount)


async def answered(conn: AsyncConnection, key: SessionKey, now: datetime) -> None:
    """The API wrote to a customer nobody had answered: the platform has the session at the assistant from then on."""
    await conn.execute(
        sa.update(session)
        .where(*_is(key), session.c.state == int(SessionState.UNTREATED))
        .values(state=int(SessionState.ASSISTANT), state_at=whole(now), updated_at=now)
    )


async def checked(
    conn: AsyncConnection, key: SessionKey, hands: Hands, asked_at: datetime, now: datetime
) -> None:
    """The platform, asked at *asked_at*, said in whose hands the session is; what is newer than that stands."""
    same = sa.and_(session.c.state == int(hands.state), session.c.servicer_userid == hands.servicer_userid)
    await conn.execute(
        sa.update(session)
        .where(*_is(key), session.c.state_at <= asked_at)
        .values(
            state=int(hands.state),
            servicer_userid=hands.servicer_userid,
            state_at=sa.case((same, session.c.state_at), else_=whole(asked_at)),
            checked_at=now,
        )
    )


async def entered(conn: AsyncConnection, key: SessionKey, scene: str, param: str, now: datetime) -> None:
    """The customer came by *scene*."""
    await conn.execute(
        sa.update(session).where(*_is(key)).values(scene=scene, scene_param=param, updated_at=now)
    )


async def block(conn: AsyncConnection, key: SessionKey, at: datetime, now: datetime) -> None:
    """The customer refused us, unless they have written since."""
    fresh = sa.or_(session.c.customer_at.is_(None), session.c.customer_at <= at)
    await conn.execute(sa.update(session).where(*_is(key), fresh).values(blocked_at=at, updated_at=now))


async def recall(conn: AsyncConnection, key: SessionKey, msgid: str, at: datetime) -> None:
    """A message of this customer's session was taken back."""
    await conn.execute(
        sa.update(message)
        .where(
            message.c.open_kfid == key.open_kfid,
            message.c.msgid == msgid,
            message.c.external_userid == key.external_userid,
            message.c.recalled_at.is_(None),
        )
        .values(recalled_at=at)
    )


async def keep_code(conn: AsyncConnection, key: SessionKey, code: Code) -> None:
    """Remember a one-shot code; once."""
    insert = insert_into(dialect_of(conn), event_code).values(
        id=code.id,
        open_kfid=key.open_kfid,
        external_userid=key.external_userid,
        occasion=code.occasion,
        code=code.code,
        issued_at=code.issued_at,
        expires_at=code.expires_at,
    )
    await conn.execute(insert.on_conflict_do_nothing())


async def get(
    conn: AsyncConnection, key: SessionKey, stores: Collection[str] | None, now: datetime
) -> SessionView | None:
    """One session, if it is in one of *stores* (None: every store)."""
    query = _query(now).where(*_is(key))
    if stores is not None:
        query = query.where(session.c.store_id.in_(stores))
    row = (await conn.execute(query)).first()
    return None if row is None else _view(row)


async def list_sessions(
    conn: AsyncConnection,
    wanted: SessionFilter,
    now: datetime,
    *,
    before: tuple[datetime, str, str] | None,
    limit: int,
) -> list[SessionView]:
    """Sessions, those that changed last first; *before* is where the page before ended."""
    query = _query(now)
    if wanted.stores is not None:
        query = query.where(session.c.store_id.in_(wanted.stores))
    if wanted.open_kfid:
        query = query.where(session.c.open_kfid == wanted.open_kfid)
    if wanted.external_userid:
        query = query.where(session.c.external_userid == wanted.external_userid)
    if wanted.states:
        query = query.where(session.c.state.in_([int(one) for one in wanted.states]))
    if wanted.open_only:
        query = query.where(session.c.customer_at > now - WINDOW + CLOSING)
    place = (session.c.updated_at, session.c.open_kfid, session.c.external_userid)
    if before is not None:
        last = [sa.literal(value, column.type) for value, column in zip(before, place, strict=True)]
        query = query.where(sa.tuple_(*place) < sa.tuple_(*last))
    rows = await conn.execute(query.order_by(*(column.desc() for column in place)).limit(limit))
    return [_view(row) for row in rows]


async def open_windows(
    conn: AsyncConnection, prefix: str, after: tuple[str, str], *, now: datetime, limit: int
) -> list[SessionView]:
    """Sessions whose window is open, by account and customer, those behind *after*; *prefix* begins the account, or
    names it and, after a space, begins the customer."""
    account, named, customer = prefix.partition(" ")
    place = (session.c.open_kfid, session.c.external_userid)
    behind = [sa.literal(value, column.type) for value, column in zip(after, place, strict=True)]
    query = _query(now).where(session.c.customer_at > now - WINDOW, sa.tuple_(*place) > sa.tuple_(*behind))
    if named:
        query = query.where(
            session.c.open_kfid == account, session.c.external_userid.startswith(customer, autoescape=True)
        )
    elif account:
        query = query.where(session.c.open_kfid.startswith(account, autoescape=True))
    return [_view(row) for row in await conn.execute(query.order_by(*place).limit(limit))]


async def last_message(conn: AsyncConnection, since: datetime) -> datetime | None:
    """When something last came in, since *since*; None where nothing did."""
    query = sa.select(sa.func.max(message.c.received_at)).where(message.c.received_at >= since)
    found: datetime | None = await conn.scalar(query)
    return found


async def purge_messages(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* messages received before *before*; how many there were."""
    old = (
        sa.select(message.c.open_kfid, message.c.msgid)
        .where(message.c.received_at < before)
        .order_by(message.c.received_at)
        .limit(limit)
    )
    named = sa.tuple_(message.c.open_kfid, message.c.msgid)
    return (await conn.execute(sa.delete(message).where(named.in_(old)))).rowcount


async def purge_codes(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Forget up to *limit* codes that ran out before *before*; how many there were."""
    old = sa.select(event_code.c.id).where(event_code.c.expires_at < before).limit(limit)
    return (await conn.execute(sa.delete(event_code).where(event_code.c.id.in_(old)))).rowcount


def whole(at: datetime) -> datetime:
    """*at* as the platform tells time, in whole seconds: what it reports of the same second is no older."""
    return at.replace(microsecond=0)


def _query(now: datetime) -> sa.Select[Any]:
    used = (
        sa.select(sa.func.count())
        .select_from(credit)
        .where(
            credit.c.open_kfid == session.c.open_kfid,
            credit.c.external_userid == session.c.external_userid,
            credit.c.window_no == session.c.window_no,
        )
        .scalar_subquery()
    )
    code_ends = (
        sa.select(sa.func.min(event_code.c.expires_at))
        .where(
            event_code.c.open_kfid == session.c.open_kfid,
            event_code.c.external_userid == session.c.external_userid,
            event_code.c.expires_at > sa.literal(now, event_code.c.expires_at.type),
        )
        .scalar_subquery()
    )
    return sa.select(session, used.label("used"), code_ends.label("code_ends_at"))


def _view(row: Any) -> SessionView:
    return SessionView(
        SessionKey(row.open_kfid, row.external_userid),
        row.store_id,
        Hands(SessionState(row.state), row.servicer_userid),
        row.state_at,
        row.checked_at,
        row.customer_at,
        row.blocked_at,
        row.scene,
        row.used,
        row.code_ends_at,
        row.updated_at,
    )


def _is(key: SessionKey) -> tuple[sa.ColumnElement[bool], ...]:
    return session.c.open_kfid == key.open_kfid, session.c.external_userid == key.external_userid
