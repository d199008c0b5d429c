"""The filters a placeholder may ask for: ``{total|money}``, ``{note|truncate:20}``.

A fixed list, each with the kinds of field it fits. No filter can show more of a phone than its masked form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.events.kinds import FieldKind
from shared.text import present
from shared.text.present import Presenter
from shared.values import value_class

TRUNCATE_MOST = 1000
"""The longest text ``truncate`` may be asked for, in characters."""

DEFAULT_MOST = 100
"""The longest text ``default`` may be given, in characters."""

Reshape = Callable[[str], str]

_TIMES = frozenset({FieldKind.INSTANT, FieldKind.DATE, FieldKind.TEXT})
_AMOUNTS = frozenset({FieldKind.MONEY, FieldKind.QUANTITY, FieldKind.SCORE, FieldKind.TEXT})


@value_class
class Filter:
    """What one filter does; the fields it does not touch are None."""

    presenter: Presenter | None = None
    """Presents the value instead of the field's own kind."""

    reshape: Callable[[str], Reshape] | None = None
    """From the filter's argument, what is done to the presented text."""

    fits: frozenset[FieldKind] | None = None
    """Kinds of field it may be asked for; None is all."""

    argument: str = ""
    """How its argument is written, for the message that asks for it; empty when it takes none."""


def _truncate(argument: str) -> Reshape:
    most = int(argument)
    return lambda text: text if len(text) <= most else text[: most - 1].rstrip() + "…"


FILTERS: Mapping[str, Filter] = {
    "money": Filter(presenter=present.money, fits=_AMOUNTS),
    "datetime": Filter(presenter=present.instant, fits=_TIMES),
    "date": Filter(presenter=present.date, fits=_TIMES),
    "time": Filter(presenter=present.time, fits=_TIMES),
    "mask_phone": Filter(presenter=present.phone),
    "truncate": Filter(reshape=_truncate, argument="truncate:20"),
    "default": Filter(argument="default:无"),
    "upper": Filter(reshape=lambda _: str.upper),
}


def problem(name: str, argument: str | None, kind: FieldKind) -> str | None:
    """What is wrong with asking for filter *name* with *argument* on a field of *kind*; None when nothing is."""
    chosen = FILTERS.get(name)
    if chosen is None:
        return f"there is no filter {name!r}; use one of {', '.join(FILTERS)}"
    if chosen.fits is not None and kind not in chosen.fits:
        return f"the filter {name!r} does not fit a field of kind {kind.name}; leave it out"
    if chosen.argument and argument is None:
        return f"the filter {name!r} needs an argument; write it like {chosen.argument}"
    if not chosen.argument and argument is not None:
        return f"the filter {name!r} takes no argument; leave out ':{argument}'"
    if name == "truncate" and not _is_length(argument or ""):
        return f"truncate takes a number of characters from 1 to {TRUNCATE_MOST}, like truncate:20"
    if name == "default" and len(argument or "") > DEFAULT_MOST:
        return f"the text after default: may have {DEFAULT_MOST} characters; shorten it"
    return None


def _is_length(argument: str) -> bool:
    # isdecimal alone would take the digits of any script, int() even underscores.
    return (
        argument.isascii()
        and argument.isdecimal()
        and len(argument) <= 4
        and 1 <= int(argument) <= TRUNCATE_MOST
    )
