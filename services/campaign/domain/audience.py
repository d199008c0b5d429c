"""Which groups a campaign is for: a typed filter, read from plain JSON and asked of one group after the other.

    {"chat_ids": ["wr1"], "where": {"all_of": [{"label": ["vip"]}, {"none_of": [{"silent_for_days": 30}]}]}}

The keys are those of ``reach.campaign.v1.Audience``. What it cannot read it names by its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from shared.errors import Invalid
from shared.values import value_class

DEEPEST: Final = 6
"""Conditions inside one another."""
MOST_CONDITIONS: Final = 200
"""Conditions in one filter."""
MOST_WORDS: Final = 200
"""Words of one condition."""
MOST_CHATS: Final = 10_000
"""Groups named one by one."""
MOST_DAYS: Final = 3650
WORD_CHARS: Final = 64

GROUPS: Final = ("all_of", "any_of", "none_of")
WORDS: Final = ("label", "owner", "chat_id", "join_state")
DAYS: Final = ("silent_for_days", "joined_within_days", "created_within_days", "not_sent_for_days")


@value_class
class Facts:
    """What is known of a group when it is asked."""

    chat_id: str
    owner: str
    name: str
    members: int
    created_at: datetime | None
    last_joined_at: datetime | None
    """The latest join of a present member, by the platform's clock."""
    last_changed_at: datetime | None
    """When somebody last joined or left, as far as we have seen."""
    labels: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    """Of the join ways that present members came by."""
    last_sent_at: datetime | None = None
    """When a campaign of ours was last sent to it."""

    @property
    def stirred_at(self) -> datetime | None:
        """When somebody last joined or left, or it was created."""
        known = [at for at in (self.created_at, self.last_joined_at, self.last_changed_at) if at is not None]
        return max(known, default=None)

    def silent_days(self, now: datetime) -> int | None:
        """Whole days since then; None where nothing is known."""
        at = self.stirred_at
        return None if at is None else max(0, (now - at).days)


Test = Callable[[Facts, datetime], bool]


@value_class
class Filter:
    """A filter that was read."""

    chat_ids: tuple[str, ...]
    """Only these; empty for no such bound."""
    where: Test | None
    owners: tuple[str, ...]
    """No group of another owner can pass; empty for no such bound."""
    leave_out_silent_days: int
    asks: frozenset[str]
    """Names of the conditions anywhere in it: what need not be looked up is not."""

    def chooses(self, facts: Facts, now: datetime) -> bool:
        """Whether it chooses a group; that one of ``chat_ids`` is meant is seen to before."""
        return self.where is None or self.where(facts, now)


def read(document: Mapping[str, Any], field: str = "audience") -> Filter:
    """The filter that *document* is. Raises Invalid, naming the part of *field* that cannot be read."""
    known = {"chat_ids", "where", "every_group", "leave_out_silent_days"}
    if other := sorted(set(document) - known):
        raise Invalid.field(f"{field}.{other[0]}", "is nothing that a filter knows")
    chats = document.get("chat_ids", [])
    named = tuple(_words(chats, f"{field}.chat_ids", most=MOST_CHATS)) if chats else ()
    every = document.get("every_group", False)
    where = document.get("where")
    if not isinstance(every, bool):
        raise Invalid.field(f"{field}.every_group", "is true or false")
    if every == (bool(named) or where is not None):
        words = "goes without chat_ids and where" if every else "is needed where chat_ids and where are empty"
        raise Invalid.field(f"{field}.every_group", words)
    silent = document.get("leave_out_silent_days", 0)
    if silent:
        _number(silent, f"{field}.leave_out_silent_days", 1, MOST_DAYS)
    reading = _Reading()
    test = None if where is None else reading.condition(where, f"{field}.where", 1)
    owners = () if where is None else tuple(sorted(_owners(where) or ()))
    return Filter(named, test, owners, int(silent), frozenset(reading.asks))


class _Reading:
    """One reading: counts what it has read."""

    def __init__(self) -> None:
        self.asks: set[str] = set()
        self._count = 0

    def condition(self, found: object, field: str, depth: int) -> Test:
        if depth > DEEPEST:
            raise Invalid.field(field, f"lies deeper than {DEEPEST} conditions")
        self._count += 1
        if self._count > MOST_CONDITIONS:
            raise Invalid.field(
                field, f"is more than the {MOST_CONDITIONS} conditions that a filter may have"
            )
        if not isinstance(found, Mapping) or len(found) != 1:
            raise Invalid.field(field, "asks exactly one thing")
        name, value = next(iter(found.items()))
        field = f"{field}.{name}"
        self.asks.add(str(name))
        if name in GROUPS:
            return self._group(str(name), value, field, depth)
        if name in WORDS:
            return _of_words(str(name), frozenset(_words(value, field)))
        if name in DAYS:
            return _of_days(str(name), timedelta(days=_number(value, field, 1, MOST_DAYS)))
        if name == "name_contains":
            part = _word(value, field).casefold()
            return lambda facts, now: part in facts.name.casefold()
        if name == "members":
            return _of_members(value, field)
        if name == "created":
            return _of_created(value, field)
        raise Invalid.field(field, "is nothing that a filter can ask")

    def _group(self, name: str, found: object, field: str, depth: int) -> Test:
        if not isinstance(found, list | tuple) or not found:
            raise Invalid.field(field, "holds at least one condition")
        tests = [self.condition(one, f"{field}[{at}]", depth + 1) for at, one in enumerate(found)]
        if name == "all_of":
            return lambda facts, now: all(test(facts, now) for test in tests)
        if name == "any_of":
            return lambda facts, now: any(test(facts, now) for test in tests)
        return lambda facts, now: not any(test(facts, now) for test in tests)


def _of_words(name: str, wanted: frozenset[str]) -> Test:
    if name == "label":
        return lambda facts, now: not wanted.isdisjoint(facts.labels)
    if name == "join_state":
        return lambda facts, now: not wanted.isdisjoint(facts.states)
    if name == "owner":
        return lambda facts, now: facts.owner in wanted
    return lambda facts, now: facts.chat_id in wanted


def _of_days(name: str, span: timedelta) -> Test:
    """What is not known counts neither as silent nor as lively; a group that nothing was sent to counts as such."""
    if name == "silent_for_days":
        return lambda facts, now: facts.stirred_at is not None and now - facts.stirred_at >= span
    if name == "joined_within_days":
        return lambda facts, now: facts.last_joined_at is not None and now - facts.last_joined_at < span
    if name == "created_within_days":
        return lambda facts, now: facts.created_at is not None and now - facts.created_at < span
    return lambda facts, now: facts.last_sent_at is None or now - facts.last_sent_at >= span


def _of_members(found: object, field: str) -> Test:
    if not isinstance(found, Mapping) or set(found) - {"min", "max"}:
        raise Invalid.field(field, "has a min, a max or both")
    least = _number(found.get("min", 0), f"{field}.min", 0, 2**31 - 1)
    most = found.get("max")
    if most is None:
        return lambda facts, now: facts.members >= least
    bound = _number(most, f"{field}.max", 0, 2**31 - 1)
    if bound < least:
        raise Invalid.field(f"{field}.max", "is not less than min")
    return lambda facts, now: least <= facts.members <= bound


def _of_created(found: object, field: str) -> Test:
    if not isinstance(found, Mapping) or not found or set(found) - {"start", "end"}:
        raise Invalid.field(field, "has a start, an end or both")
    start, end = (_instant(found.get(name), f"{field}.{name}") for name in ("start", "end"))
    if start is not None and end is not None and end <= start:
        raise Invalid.field(f"{field}.end", "is later than start")

    def test(facts: Facts, now: datetime) -> bool:
        at = facts.created_at
        return at is not None and (start is None or at >= start) and (end is None or at < end)

    return test


def _owners(found: Mapping[str, Any]) -> frozenset[str] | None:
    """Owners outside whom nothing can pass; None where it does not say."""
    if "owner" in found:
        return frozenset(found["owner"])
    sets = [owners for one in found.get("all_of", ()) if (owners := _owners(one)) is not None]
    return frozenset.intersection(*sets) or None if sets else None


def _words(found: object, field: str, most: int = MOST_WORDS) -> list[str]:
    if not isinstance(found, list | tuple) or not 1 <= len(found) <= most:
        raise Invalid.field(field, f"has 1 to {most:,} words")
    return [_word(one, f"{field}[{at}]") for at, one in enumerate(found)]


def _word(found: object, field: str) -> str:
    if not isinstance(found, str) or not 1 <= len(found) <= WORD_CHARS:
        raise Invalid.field(field, f"has 1 to {WORD_CHARS} characters")
    return found


def _number(found: object, field: str, least: int, most: int) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise Invalid.field(field, f"is a whole number from {least:,} to {most:,}")
    return found


def _instant(found: object, field: str) -> datetime | None:
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(found) if isinstance(found, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Invalid.field(field, "is an instant with its offset, such as 2026-03-01T08:00:00Z")
    return at
