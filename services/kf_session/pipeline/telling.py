"""From a match to a push: who is told, of what, once for each state of the profile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.asking import Kind
from services.kf_session.domain.matching import lines
from services.kf_session.domain.push import Item, NewPush, Purpose
from services.kf_session.domain.rendering import Rendered, Renderer
from services.kf_session.pipeline.admitting import Admit
from services.kf_session.store import intents, matches, questions
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.matches import OWN, Match
from shared.values import value_class

KEPT: Final = timedelta(hours=48)
"""How long a push of a match makes sense where its intent does not say."""

NO_SESSION: Final = "no_session"
"""The customer has never written to an account of this store."""


async def plain(conn: AsyncConnection, store_id: str, items: Sequence[Item]) -> Rendered:
    """The renderer of a store without templates."""
    return Rendered(lines.text_message(lines.listing(items)))


@value_class
class Told:
    """What became of one match."""

    match: Match
    push_id: str | None
    """None: nobody was told."""
    reason: str = ""
    """Why not."""


class Telling:
    """Admits pushes of matches."""

    def __init__(self, admit: Admit, render: Renderer = plain) -> None:
        self._admit = admit
        self._render = render

    async def tell(self, conn: AsyncConnection, given: Sequence[Match], now: datetime) -> list[Told]:
        """Push each match whose customer was not told of the profile as it is; in the order given.

        Sessions are taken up in the order of their keys, as by all.
        """
        places = {one.id: await self._place(conn, one) for one in given}

        def by_session(one: Match) -> tuple[str, str, str]:
            place = places[one.id]
            return (place.open_kfid, place.external_userid, one.id) if place else ("", "", one.id)

        done = {
            one.id: await self._tell(conn, one, places[one.id], now) for one in sorted(given, key=by_session)
        }
        return [done[one.id] for one in given]

    async def _place(self, conn: AsyncConnection, one: Match) -> SessionKey | None:
        return await matches.session_of(conn, one.store_id, one.open_kfid, one.external_userid)

    async def _tell(self, conn: AsyncConnection, one: Match, place: SessionKey | None, now: datetime) -> Told:
        if one.told:
            return Told(one, one.push_id)
        if place is None:
            await matches.not_pushed(conn, one, NO_SESSION, now)
            return Told(one, None, NO_SESSION)
        item = item_of(one)
        rendered = await self._render(conn, one.store_id, [item])
        new = NewPush(
            store_id=one.store_id,
            open_kfid=place.open_kfid,
            external_userid=place.external_userid,
            purpose=Purpose.MATCH,
            # Of a customer, too: an intent that passes to another one is news to them.
            dedupe_key=f"match:{one.intent_id}:{one.profile_id}:{one.external_userid}:{one.profile_fingerprint}",
            content=rendered.content,
            expires_at=one.expires_at or now + KEPT,
            items=(item,),
            score=one.score,
            template_id=rendered.template_id,
            template_version=rendered.template_version,
            variant=rendered.variant,
        )
        push_id = await self._admit(conn, new, now)
        await matches.pushed(conn, one, push_id, now)
        if rendered.content.get("msgtype") == "text" and await self._wants_words(conn, one):
            await questions.ask(conn, one.id, Kind.TEXT, push_id, now, push_id=push_id)
        return Told(one, push_id)

    async def _wants_words(self, conn: AsyncConnection, one: Match) -> bool:
        if one.source != OWN:
            return False
        found = (await intents.get(conn, one.store_id, [one.intent_id])).get(one.intent_id)
        return found is not None and found.ai_text


def item_of(one: Match) -> Item:
    """A match as a line of a list, with what 查看 answers."""
    told = lines.details(one.profile_name, one.intent_name, one.score, one.explanation)
    facts = {
        "profile_name": one.profile_name,
        "intent_name": one.intent_name,
        "explanation": one.explanation,
        "matched_conditions": list(one.conditions),
    }
    return Item(one.id, lines.line(one.profile_name, one.intent_name, one.score), told, one.score, facts)
