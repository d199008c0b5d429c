"""From matches to the words of a store's template, or of the version that the customer's experiment gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.experiment import assign, label
from services.kf_session.domain.push import Item
from services.kf_session.domain.rendering import Rendered, render
from services.kf_session.domain.templates import DEFAULT, DEFAULT_SPEC, Compiled, TemplateSpec, compile_spec
from services.kf_session.store import experiments, match_facts
from services.kf_session.store import templates as store
from services.kf_session.store.templates import Version
from shared.errors import NotFound

_NEVER = datetime(2026, 1, 1, tzinfo=UTC)

SHIPPED = 0
"""The version number of the words that ship with Reach."""


class Templating:
    """Makes content; `render` is the Renderer of pushes about matches."""

    def __init__(self, key: bytes) -> None:
        """*key*, the same in every replica, decides who gets which version."""
        self._key = key

    async def render(self, conn: AsyncConnection, store_id: str, items: Sequence[Item]) -> Rendered:
        """What a store says of *items*, all of which are matches of one customer."""
        facts = await match_facts.of_items(conn, [one.item_id for one in items])
        known = [_with(one, facts[one.item_id].values) if one.item_id in facts else one for one in items]
        customer = next((facts[one.item_id].customer for one in items if one.item_id in facts), "")
        return await self.say(conn, store_id, customer, known)

    async def words(
        self, conn: AsyncConnection, store_id: str, customer: str, items: Sequence[Item]
    ) -> Rendered:
        """The same, where the customer is known: of the daily summary."""
        facts = await match_facts.of_items(conn, [one.item_id for one in items])
        known = [_with(one, facts[one.item_id].values) if one.item_id in facts else one for one in items]
        return await self.say(conn, store_id, customer, known)

    async def say(
        self,
        conn: AsyncConnection,
        store_id: str,
        customer: str,
        items: Sequence[Item],
        template_id: str = DEFAULT,
    ) -> Rendered:
        """By a template. Raises NotFound for one that the store does not have."""
        found = await acting(conn, store_id, template_id)
        variant: str | None = None
        if customer and found.version != SHIPPED:
            found, variant = await self._tried(conn, found, customer)
        content = render(compiled(found.spec), items)
        return Rendered(content, template_id, found.version, variant)

    async def _tried(
        self, conn: AsyncConnection, found: Version, customer: str
    ) -> tuple[Version, str | None]:
        """The version of the customer's variant, and its mark; that of the control, unmarked, for one that is stopped."""
        trial = await experiments.of_template(conn, found.store_id, found.template_id)
        if trial is None:
            return found, None
        chosen = assign(self._key, trial.id, customer, trial.variants)
        number = trial.variants[0].version if chosen.stopped else chosen.version
        tried = await store.version(conn, found.store_id, found.template_id, number)
        if tried is None:
            return found, None
        return tried, None if chosen.stopped else label(trial.id, chosen.name)


async def acting(conn: AsyncConnection, store_id: str, template_id: str) -> Version:
    """What acts in a store; of ``default`` what ships, where nobody wrote another. Raises NotFound."""
    found = await store.acting(conn, store_id, template_id)
    if found is not None:
        return found
    if template_id != DEFAULT:
        raise NotFound("NOT_FOUND", "there is no such template", resource="template")
    return shipped()


def shipped() -> Version:
    """What ships with Reach."""
    return Version(store.EVERY_STORE, DEFAULT, SHIPPED, DEFAULT_SPEC, "", _NEVER, "reach", acting=True)


@lru_cache(maxsize=512)
def compiled(spec: TemplateSpec) -> Compiled:
    """A version taken apart; it never changes."""
    return compile_spec(spec)


def _with(item: Item, values: dict[str, object]) -> Item:
    return replace(item, facts={**values, **item.facts})
