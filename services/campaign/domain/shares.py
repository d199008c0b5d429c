"""Which groups go into which task: one owner's in each, and only so many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Generic, Protocol, TypeVar

from services.campaign.domain.campaign import GROUPS_A_TASK
from shared.values import value_class


class Owned(Protocol):
    """A group with an owner."""

    @property
    def chat_id(self) -> str:
        """The platform's name of it."""
        ...

    @property
    def owner(self) -> str:
        """Who is asked to send."""
        ...


G = TypeVar("G", bound=Owned)


@value_class
class Share(Generic[G]):
    """The groups of one task."""

    owner: str
    chunk: int
    """0 is the owner's first."""
    groups: tuple[G, ...]
    """By chat id."""
    canary: bool
    """Whether its owner is one of the first, on whom the others wait."""


def shared_out(groups: Iterable[G], *, first: int = 0, most: int = GROUPS_A_TASK) -> Iterator[Share[G]]:
    """Every group in one share, of *most* groups at most; by owner.

    *first* owners are the canary; where that would be all of them, nobody is.
    """
    ordered = sorted(groups, key=lambda one: (one.owner, one.chat_id))
    owned = [(owner, tuple(theirs)) for owner, theirs in groupby(ordered, key=lambda one: one.owner)]
    for place, (owner, theirs) in enumerate(owned):
        for chunk, begin in enumerate(range(0, len(theirs), most)):
            yield Share(owner, chunk, theirs[begin : begin + most], place < first < len(owned))
