"""What the gates say of a message: urgent ones pass, and whatever holds says what would have let it through."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.content import Format
from services.notifier.domain.gates import Gate, GateNote, Message, Way, among, gathered, judge
from services.notifier.domain.merging import MergeMode, Merging
from services.notifier.domain.policy import Policies, Policy
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import Priority
from shared.quiet import QuietHours, QuietMode, Window

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")
ANN, BOB = (Target.checked(TargetKind.USER, name) for name in ("ann", "bob"))
END = NOON + timedelta(hours=1)

MERGINGS = st.none() | st.builds(Merging, st.sampled_from(MergeMode), st.just(timedelta(minutes=1)))
NOTES = st.builds(
    GateNote,
    st.sampled_from(Gate),
    st.sampled_from(Way),
    st.text(max_size=4),
    st.lists(st.sampled_from(["user:ann", "user:bob"]), min_size=1, unique=True).map(tuple),
    st.text(max_size=4),
    st.text(max_size=4),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.text(max_size=4),
    st.text(max_size=4),
)


@given(
    st.sampled_from(Priority),
    MERGINGS,
    MERGINGS,
    st.none() | st.sampled_from(QuietMode),
    st.booleans(),
    st.booleans(),
)
def test_the_gates_say_what_they_are_told_to(
    priority: Priority,
    own: Merging | None,
    wide: Merging | None,
    mode: QuietMode | None,
    night: bool,
    by_rule: bool,
) -> None:
    window = Window(time(12), time(13)) if night else Window(time(14), time(15))
    quiet = QuietHours((window,), mode) if mode else None
    policies = Policies([Policy("", "", quiet=quiet, merging=wide)], SHANGHAI)
    message = Message("s1", priority, Format.TEXT, "r" if by_rule else "", "name", own if by_rule else None)
    passage, notes = judge(message, ANN, Role.MANAGER, policies, NOON)
    merging = message.merging or wide
    merges = by_rule and merging is not None and merging.mode is not MergeMode.OFF
    if priority is Priority.URGENT:
        expected = (Way.GO, None, None)
    elif mode is not None and night:
        way = Way.HOLD
        if mode is QuietMode.DROP:
            way = Way.DROP
        elif by_rule and (mode is QuietMode.DIGEST or merges):
            way = Way.GATHER
        expected = (way, Gate.QUIET, None if way is Way.DROP else END)
    elif merges:
        expected = (Way.GATHER, Gate.MERGING, None)
    else:
        expected = (Way.GO, None, None)
    assert (passage.way, passage.gate, passage.until) == expected
    assert (passage.gathering is not None) == (passage.way is Way.GATHER)
    stops = [note for note in notes if note.way is not Way.GO]
    assert [(note.way, note.gate, note.until) for note in stops] == (
        [] if passage.way is Way.GO else [expected]
    )
    assert all(note.change_en and note.change_zh for note in stops)
    assert [GateNote.from_json(note.to_json()) for note in notes] == notes


@given(NOTES)
def test_a_note_is_read_as_it_was_written(note: GateNote) -> None:
    assert GateNote.from_json(json.loads(json.dumps(note.to_json()))) == note


@given(st.lists(NOTES, max_size=6))
def test_notes_that_differ_in_their_targets_only_become_one_and_none_is_lost(notes: list[GateNote]) -> None:
    found = gathered(notes)

    def flat(some: object) -> list[tuple[object, ...]]:
        assert isinstance(some, list | tuple)
        return sorted(
            (n.gate, n.way, n.rule_id, n.policy, n.policy_zh, str(n.until), n.change_zh, n.change_en, target)
            for n in some
            for target in n.targets
        )

    assert flat(found) == flat(notes)
    assert len({note.to_json().__repr__() for note in found}) == len(found)


def test_what_differs_in_reader_channel_or_priority_gathers_apart() -> None:
    message = Message("s1", Priority.LOW, Format.TEXT, "r", "n", Merging(MergeMode.WINDOW, timedelta(0, 60)))
    passage, _ = judge(message, ANN, None, Policies([], SHANGHAI), NOON)
    assert passage.gathering is not None
    keys = [
        among(passage.gathering, address, priority, targets).bin.key
        for address in ("app:default", "app:other")
        for priority in (Priority.HIGH, Priority.LOW)
        for targets in ([ANN], [BOB], [ANN, BOB])
    ]
    assert len(set(keys)) == len(keys)
    one, other = (
        among(passage.gathering, "app:default", Priority.LOW, order) for order in ([ANN, BOB], [BOB, ANN])
    )
    assert one == other


def test_a_line_of_what_came_in_quiet_hours_is_one_line_whatever_the_rule_is_called() -> None:
    quiet = QuietHours((Window(time(12), time(13)),), QuietMode.DIGEST)
    message = Message("s1", Priority.LOW, Format.TEXT, "r", "a\nb" * 60, None, (), "x" * 240)
    passage, _ = judge(message, ANN, None, Policies([Policy("", "", quiet=quiet)], SHANGHAI), NOON)
    assert passage.gathering is not None
    assert len(passage.gathering.line.splitlines()) == 1
    assert len(passage.gathering.line.encode()) <= 240
