"""Policies: read them, replace them, and say which of them count for somebody."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.domain.policy import Policy, subject_of
from services.notifier.domain.routing import Role, Target
from services.notifier.pipeline.books import Book, Books
from services.notifier.store.rulebook import EVERY_STORE, PolicyRow, set_policy
from shared.audit import AuditLog, NewEntry
from shared.clock import Clock
from shared.db.engine import Database
from shared.db.once import Once
from shared.rpc.principal import current, visible_stores
from shared.values import value_class


@value_class
class Counting:
    """The policies that count for a subject; None where none says anything."""

    own: PolicyRow | None
    quiet: PolicyRow | None
    budgets: PolicyRow | None
    merging: PolicyRow | None


class Policies:
    """What operators may look at and change."""

    def __init__(self, database: Database, books: Books, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._books = books
        self._audit = audit
        self._clock = clock

    async def set(self, policy: Policy, *, once: Once) -> PolicyRow:
        """Replace a policy; one that says nothing is taken away. Raises Invalid naming the field."""
        policy.check(self._books.zone)
        now = self._clock.now()
        row = PolicyRow(policy, now, current().subject)

        async def write(conn: AsyncConnection) -> None:
            if await once.is_first(conn, now):
                await set_policy(conn, self._database.dialect, row)
                done = NewEntry(once.name, policy.subject or "everybody", policy.store_id, policy.to_json())
                await self._audit.record(conn, done, now)

        await self._database.transact(write)
        stored = _row(await self._books.fresh(), policy.store_id, policy.subject)
        return stored or PolicyRow(Policy(policy.store_id, policy.subject), now, current().subject)

    async def counting(self, store_id: str, who: Role | Target | None, role: Role | None) -> Counting:
        """What counts for *who* in the store; *role* is what an address is told for."""
        book = await self._books.fresh()
        target = who if isinstance(who, Target) else None
        said = book.policies.said(store_id, target, who if isinstance(who, Role) else role)
        return Counting(
            _row(book, store_id, "" if who is None else subject_of(who)),
            *(
                None if one is None else _row(book, one.store_id, one.subject)
                for one in (said.quiet, said.budgets, said.merging)
            ),
        )

    async def list(self, store_id: str) -> Sequence[PolicyRow]:
        """Those of the store and those for all stores; without a store all that the caller may see. By subject."""
        book = await self._books.fresh()
        stores = visible_stores()
        return [
            row
            for row in book.contents.policies
            if row.policy.store_id in (EVERY_STORE, store_id)
            or (not store_id and (stores is None or row.policy.store_id in stores))
        ]


def _row(book: Book, store_id: str, subject: str) -> PolicyRow | None:
    wanted = (store_id, subject)
    found = (row for row in book.contents.policies if (row.policy.store_id, row.policy.subject) == wanted)
    return next(found, None)
