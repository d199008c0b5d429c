"""Words that differ from one recipient to the next: ``{to.name}，您有新订单``.

Only templates that name somebody's attributes come here. Whose values are the same get the same content, so that the
plan gives them one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from services.notifier.domain.content import Content
from services.notifier.domain.planning import Recipient
from services.notifier.domain.routing import ROLE_NAMES, Role
from shared.text.parsing import RECIPIENT
from shared.text.template import Template
from shared.values import value_class

NAMED_MOST = 10
"""Recipients without words that an outcome names; the others are counted."""

Said = Content | tuple[str, str]
"""What a rule says, or the reason and detail of why it cannot."""


@value_class
class Addressed:
    """What a rule says to each of its recipients."""

    told: tuple[tuple[Recipient, Content], ...]
    reason: str = ""
    """Why some, or all, are told nothing; empty when each is told something."""
    detail: str = ""
    """Who they are."""


def address(
    template: Template,
    data: Mapping[str, object],
    recipients: Iterable[Recipient],
    words: Callable[[Mapping[str, object]], Said],
) -> Addressed:
    """What each of *recipients* is told; *words* fills the template with an event's data and a recipient's values."""
    names = sorted(template.personal)
    made: dict[tuple[str | None, ...], Said] = {}
    told: list[tuple[Recipient, Content]] = []
    reasons: dict[str, None] = {}
    left: dict[str, None] = {}
    for one in recipients:
        own = _values(one)
        values = tuple(own.get(name) for name in names)
        if (said := made.get(values)) is None:
            # Every name is set, also to nothing: what a publisher sends under it must not take its place.
            said = made[values] = words({**data, **dict(zip(names, values, strict=True))})
        if isinstance(said, Content):
            told.append((one, said))
        else:
            reasons[said[0]] = left[str(one.target)] = None
    for one, _ in told:  # who holds two roles may be told by the second
        left.pop(str(one.target), None)
    return Addressed(tuple(told), ",".join(reasons) if left else "", _listed(list(left)))


def sample(template: Template, roles: Sequence[Role]) -> dict[str, object]:
    """Values for showing how the words come out for somebody, before there is anybody."""
    known = {f"{RECIPIENT}id": "zhangsan", f"{RECIPIENT}role": ROLE_NAMES[roles[0]] if roles else ""}
    return {name: known.get(name, f"〔{name}〕") for name in template.personal}


def _values(one: Recipient) -> dict[str, str]:
    values = {f"{RECIPIENT}{name}": value for name, value in one.target.attributes}
    values[f"{RECIPIENT}id"] = one.target.id
    if one.role is not None:
        values[f"{RECIPIENT}role"] = ROLE_NAMES[one.role]
    return values


def _listed(targets: Sequence[str]) -> str:
    more = len(targets) - NAMED_MOST
    return ", ".join(targets[:NAMED_MOST]) + (f" and {more} more" if more > 0 else "")
