"""Several matches in one message, when there are fewer credits than matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kf_session.domain.content import Content, numbered
from services.kf_session.domain.push import Item
from services.kf_session.domain.rendering import Rendered, Renderer
from services.kf_session.store import outgoing
from services.kf_session.store.outgoing import Claimed
from services.kf_session.store.tables import push
from shared.errors import Invalid

BEST: Final = 3
"""How many matches one list holds; what is not among the best waits for the next credit."""


_HEAD: Final = "为您找到{count}位匹配的联系人"
_TAIL: Final = "回复“查看1”了解详情"


async def plain_list(conn: AsyncConnection, store_id: str, listed: Sequence[Item]) -> Rendered:
    """The list that says no more than it must; it is of no template."""
    head = _HEAD.format(count=len(listed))
    return Rendered(numbered([item.line for item in listed], head=head, tail=_TAIL).to_json())


async def merge(conn: AsyncConnection, pushes: Sequence[Claimed], render: Renderer) -> Mapping[str, object]:
    """Have the first of *pushes*, best first, carry what all of them list; its content from now on.

    A text that the renderer made too long gives way to the plain list.
    """
    carrier = pushes[0]
    listed: list[Item] = []
    for one in pushes:
        listed += await outgoing.items(conn, one.id) or [_as_item(one)]
    try:
        said = await render(conn, carrier.store_id, listed)
        content = Content.from_json(said.content).to_json()
    except Invalid:
        said = await plain_list(conn, carrier.store_id, listed)
        content = dict(said.content)
    await outgoing.replace_items(conn, carrier.id, [one.id for one in pushes], listed)
    # What came of it is credited to the words that were sent, not to those of the match alone.
    made_by = {
        "template_id": said.template_id,
        "template_version": said.template_version,
        "variant": said.variant,
    }
    await conn.execute(sa.update(push).where(push.c.id == carrier.id).values(content=content, **made_by))
    return content


def _as_item(one: Claimed) -> Item:
    words = Content.from_json(one.content).words or one.id
    return Item(one.id, words.splitlines()[0], words, one.score)
