"""Looks at rules and roles as they are stored, and at what became of the last messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.notifier.domain.diagnosis.book import (
    role_credentials_finding,
    roles_finding,
    silent_rules_finding,
    unheard_rules_finding,
)
from services.notifier.domain.diagnosis.visibility import Word, last_words_finding
from services.notifier.domain.routing import TargetKind
from services.notifier.pipeline.books import Books
from services.notifier.store.health import last_reason
from shared.clock import Clock
from shared.credentials import Credentials, Kind
from shared.db.engine import Database
from shared.ops.finding import Finding

_MOST: Final = 200
"""Members whose last message is looked up."""


class BookChecks:
    """What operators decided: who is told, by whom, in what words."""

    def __init__(self, books: Books, credentials: Credentials, database: Database, clock: Clock) -> None:
        self._books = books
        self._credentials = credentials
        self._database = database
        self._clock = clock

    async def roles(self) -> Sequence[Finding]:
        """Is every role held, and through something that is registered?"""
        book, cards = await self._books.fresh(), await self._credentials.cards()
        apps = {card.name for card in cards if card.kind is Kind.APP}
        robots = {card.name for card in cards if card.kind is Kind.ROBOT}
        return [roles_finding(book.bindings), role_credentials_finding(book.bindings, apps, robots)]

    async def rules(self) -> Sequence[Finding]:
        """Can every rule speak, and does anybody hear it?"""
        book = await self._books.fresh()
        entries = book.rules.everything()
        heard = unheard_rules_finding(entries, book.bindings, self._clock.now())
        return [silent_rules_finding(entries), heard]

    async def recipients(self) -> Sequence[Finding]:
        """Was the last message to each member who holds a role delivered, as far as WeCom's answer told?

        Who has no licence cannot be asked beforehand: only the answer to a send names them.
        """
        book = await self._books.fresh()
        members = {
            target.key: target
            for targets in book.bindings.values()
            for target in targets
            if target.kind is TargetKind.USER
        }
        async with self._database.read() as conn:
            said = [Word(one, await last_reason(conn, one)) for one in list(members.values())[:_MOST]]
        return [last_words_finding(said)]
