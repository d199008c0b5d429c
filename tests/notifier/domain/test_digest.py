"""A digest within its limit, whatever came together: what it shows, and what it says it does not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.content import Format, room
from services.notifier.domain.digest import LINE_BYTES, LINES_KEPT, Gathered, Heading, digest, line_of
from services.notifier.domain.routing import Channel
from shared.text.cutting import size

START = datetime(2026, 3, 2, 4, tzinfo=UTC)
ZONES = ("Asia/Shanghai", "Europe/Berlin", "Pacific/Apia", "UTC")
REST = re.compile(r"…另有 (\d+) 条")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=90) | st.sampled_from(
    ["会员甲 积分 +10", "a" * 400, "👩‍👩‍👧‍👦" * 30, '<font color="info">好</font>' * 20, "", "x"]
)
TITLES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=33)


@st.composite
def gathered(draw: st.DrawFn) -> Gathered:
    """Many, of which the first are read."""
    kinds = draw(st.lists(WORDS, min_size=1, max_size=4))
    count = draw(st.integers(1, 12) | st.integers(1, 1500))
    lines = tuple(line_of(kinds[at % len(kinds)]) for at in range(min(count, LINES_KEPT)))
    return Gathered(count, START, START + timedelta(seconds=draw(st.integers(0, 200_000))), lines)


HEADINGS = st.builds(
    Heading,
    TITLES,
    st.sampled_from([Format.TEXT, Format.MARKDOWN]),
    st.sampled_from(ZONES),
    st.integers(0, 100),
    st.booleans(),
)


@given(HEADINGS, gathered(), st.sampled_from(Channel))
def test_a_digest_fits_and_accounts_for_everything_that_came_together(
    heading: Heading, found: Gathered, channel: Channel
) -> None:
    made = digest(heading, found, channel)
    assert size(made.text) <= room(channel, heading.format)
    head, *rest = made.text.split("\n")
    assert f"：共 {found.count} 条（" in head
    left = REST.fullmatch(rest[-1]) if rest else None
    shown = rest[:-1] if left else rest
    assert shown == [f"{number}. {line}" for number, line in enumerate(found.lines[: len(shown)], start=1)]
    assert len(shown) + (int(left[1]) if left else 0) == found.count
    assert len(shown) <= (heading.top or found.count)
    assert left is None or int(left[1]) > 0


@given(HEADINGS, gathered(), st.sampled_from(Channel))
def test_a_digest_shows_as_many_lines_as_there_is_room_for(
    heading: Heading, found: Gathered, channel: Channel
) -> None:
    text = digest(heading, found, channel).text
    match = REST.fullmatch(text.split("\n")[-1])
    if match is None:
        return
    shown = found.count - int(match[1])
    if shown == len(found.lines[: heading.top or None]):
        return
    further = f"{shown + 1}. {found.lines[shown]}"
    after = found.count - shown - 1
    needed = size(further) + 1 + (size(f"…另有 {after} 条") + 1 if after else 0)
    without = size(text) - size(match[0]) - 1
    assert without + needed > room(channel, heading.format)


@given(WORDS)
def test_a_line_is_one_line_within_its_limit_and_cuts_through_no_character(text: str) -> None:
    line = line_of(text)
    assert len(line.splitlines()) <= 1
    assert size(line) <= LINE_BYTES
    whole = " ".join(text.split())
    assert line == whole or (line.endswith("…") and whole.startswith(line[:-1]))


def test_what_came_on_two_days_is_told_with_its_dates() -> None:
    heading = Heading("迟到", Format.TEXT, "Asia/Shanghai")
    one = Gathered(2, START, START + timedelta(hours=20), ("a", "b"))
    assert digest(heading, one, Channel.APP).text.startswith("迟到：共 2 条（03-02 12:00–03-03 08:00）\n1. a")


@given(HEADINGS)
def test_a_heading_is_read_as_it_was_written(heading: Heading) -> None:
    assert Heading.from_json(heading.to_json()) == heading
