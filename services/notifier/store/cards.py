"""Cards as rows: the code that updates each, and the update that becomes due when somebody has answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.escalation import State
from services.notifier.store.escalations import Asked
from services.notifier.store.tables import UPDATING, card, escalation
from shared.db.queue import PENDING, URGENT, DueQueue, Settlement, rank_of
from shared.db.rows import insert_into
from shared.db.types import DialectName
from shared.values import value_class

SETTLED = ("reason", "updated_at")


class CardState(StrEnum):
    """The states of a card that are not the queue's own."""

    SHOWN = "shown"
    """With its buttons; nobody has answered."""
    UPDATED = "updated"
    """Shows who answered."""
    GIVEN_UP = "given_up"
    """Could not be updated; ``reason`` says why. A further press of its buttons brings a new code."""


@value_class
class Sent:
    """A card that the platform took."""

    delivery_id: str
    store_id: str
    event_id: str
    rule_id: str
    channel: str
    code: str | None
    """What updates it; None where the answer named none."""


@value_class
class Due:
    """A card to be updated, claimed."""

    id: str
    epoch: int
    attempt_no: int
    channel: str
    code: str | None
    code_at: datetime | None
    reason: str
    who: str
    via: str
    action: str


class Cards:
    """The cards of one database."""

    def __init__(self, dialect: DialectName) -> None:
        self._dialect = dialect
        self.queue = DueQueue(dialect, card, running=UPDATING, settle_columns=SETTLED)

    async def keep(self, conn: AsyncConnection, sent: Sequence[Sent], now: datetime) -> bool:
        """Remember cards that went out; whether one is due at once, since somebody answered another copy meanwhile."""
        due = False
        for one in sorted(sent, key=lambda one: (one.event_id, one.store_id, one.rule_id, one.delivery_id)):
            # Held, so that an answer either waits and finds this card, or was first and is seen here.
            state = await conn.execute(
                sa.select(escalation.c.state)
                .where(
                    escalation.c.event_id == one.event_id,
                    escalation.c.store_id == one.store_id,
                    escalation.c.rule_id == one.rule_id,
                )
                .with_for_update(read=True)
            )
            answered = state.scalar_one_or_none() == State.ACKNOWLEDGED
            due = due or answered
            insert = insert_into(self._dialect, card).values(self._row(one, now, answered=answered))
            # A press that was faster than the answer to the send has brought a code of its own.
            fresh = {"code": insert.excluded.code, "code_at": insert.excluded.code_at}
            await conn.execute(
                insert.on_conflict_do_update(index_elements=["id"], set_=fresh, where=card.c.code.is_(None))
            )
        return due

    async def press(self, conn: AsyncConnection, asked: Asked, code: str, now: datetime) -> None:
        """Take the code that a press brought, unless the card is being updated or is already."""
        sent = Sent(asked.delivery_id, asked.store_id, asked.event_id, asked.rule_id, asked.channel, code)
        answered = asked.escalated is not None and asked.escalated.state is State.ACKNOWLEDGED
        row = self._row(sent, now, answered=answered)
        insert = insert_into(self._dialect, card).values(row)
        changed = ("code", "code_at", "status", "due_at", "attempt_no", "reason", "updated_at")
        await conn.execute(
            insert.on_conflict_do_update(
                index_elements=["id"],
                set_={name: row.get(name) for name in changed},
                where=card.c.status.in_([CardState.SHOWN.value, CardState.GIVEN_UP.value]),
            )
        )

    async def show(self, conn: AsyncConnection, asked: Asked, now: datetime) -> None:
        """Let all copies show the answer that was just given."""
        await conn.execute(
            sa.update(card)
            .where(
                card.c.event_id == asked.event_id,
                card.c.store_id == asked.store_id,
                card.c.rule_id == asked.rule_id,
                card.c.status == CardState.SHOWN.value,
            )
            .values(status=PENDING, due_at=now, rank=rank_of(URGENT, now), attempt_no=0, updated_at=now)
        )

    async def waiting(self, conn: AsyncConnection, now: datetime) -> bool:
        """Whether there is anything to do: an update that is due, or one that somebody left behind."""
        ready = sa.select(card.c.id).where(card.c.status == sa.literal_column("'pending'")).limit(1)
        later = sa.select(sa.func.min(card.c.due_at)).where(card.c.status == sa.literal_column("'deferred'"))
        held = sa.select(sa.func.min(card.c.lease_until)).where(
            card.c.status == sa.literal_column(f"'{UPDATING}'")
        )
        if (await conn.execute(ready)).first() is not None:
            return True
        instants = [(await conn.execute(query)).scalar() for query in (later, held)]
        return any(at is not None and at <= now for at in instants)

    async def claim(
        self, conn: AsyncConnection, owner: str, now: datetime, lease: timedelta, limit: int
    ) -> list[Due]:
        """Claim updates that are due, with the answer each has to show."""
        await self.queue.promote(conn, now)
        rows = await self.queue.claim(conn, owner, now, lease, limit)
        if not rows:
            return []
        answers = await conn.execute(
            sa.select(card.c.id, escalation.c.answered_by, escalation.c.answered_via, escalation.c.action)
            .join_from(
                card,
                escalation,
                (escalation.c.event_id == card.c.event_id)
                & (escalation.c.store_id == card.c.store_id)
                & (escalation.c.rule_id == card.c.rule_id),
            )
            .where(card.c.id.in_([row["id"] for row in rows]))
        )
        by_id = {row.id: row for row in answers}
        return [
            Due(
                row["id"],
                row["lease_epoch"],
                row["attempt_no"],
                row["channel"],
                row["code"],
                row["code_at"],
                row["reason"] or "",
                by_id[row["id"]].answered_by or "",
                by_id[row["id"]].answered_via or "",
                by_id[row["id"]].action or "",
            )
            for row in rows
            if row["id"] in by_id
        ]

    async def take_back(self, conn: AsyncConnection, owner: str, now: datetime, lease: timedelta) -> int:
        """Let updates whose maker died be made once more; how many there were."""
        rows = await self.queue.expired(conn, owner, now, lease, 100)
        lost = [
            Settlement(
                id=row["id"],
                epoch=row["lease_epoch"],
                status=PENDING,
                attempt_no=row["attempt_no"] + 1,
                due_at=now,
                extra={"reason": "unknown", "updated_at": now},
            )
            for row in rows
        ]
        await self.queue.settle(conn, lost)
        return len(rows)

    def _row(self, sent: Sent, now: datetime, *, answered: bool) -> dict[str, object]:
        due = self.queue.ready(URGENT, now)
        return {
            "id": sent.delivery_id,
            "store_id": sent.store_id,
            "event_id": sent.event_id,
            "rule_id": sent.rule_id,
            "channel": sent.channel,
            "code": sent.code,
            "code_at": now if sent.code else None,
            "reason": None,
            "updated_at": now,
            **due,
            "status": PENDING if answered else CardState.SHOWN.value,
        }
