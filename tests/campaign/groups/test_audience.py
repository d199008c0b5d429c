"""A filter of groups: what it chooses, what it refuses and where, and that the wire loses nothing of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.audience_wire import from_document, to_document
from services.campaign.domain.audience import DAYS, DEEPEST, MOST_CONDITIONS, WORDS, Facts, read
from shared.errors import Invalid
from shared.rpc import validation

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
DAY = timedelta(days=1)
GROUP = Facts(
    chat_id="wr1",
    owner="ann",
    name="VIP 老客群",
    members=87,
    created_at=NOW - 100 * DAY,
    last_joined_at=NOW - 12 * DAY,
    last_changed_at=NOW - 10 * DAY,
    labels=frozenset({"vip", "lunch"}),
    states=frozenset({"poster"}),
    last_sent_at=NOW - 5 * DAY,
)
UNREAD = Facts("wr2", "", "", 0, None, None, None)

words = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8), min_size=1, max_size=3
)
leaves = st.one_of(
    st.sampled_from(WORDS).flatmap(lambda name: words.map(lambda found: {name: found})),
    st.sampled_from(DAYS).flatmap(lambda name: st.integers(1, 3650).map(lambda days: {name: days})),
    st.just({"name_contains": "vip"}),
    st.integers(0, 50).map(lambda least: {"members": {"min": least, "max": least + 5}}),
    st.just({"created": {"start": "2026-01-01T00:00:00.000000Z"}}),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.tuples(
        st.sampled_from(["all_of", "any_of", "none_of"]), st.lists(inner, min_size=1, max_size=3)
    ).map(lambda pair: {pair[0]: pair[1]}),
    max_leaves=6,
)


def chooses(where, group=GROUP):
    return read({"where": where}).chooses(group, NOW)


def place(document):
    with pytest.raises(Invalid) as refused:
        read(document)
    return refused.value.violations[0].field


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ({"label": ["vip", "other"]}, True),
        ({"label": ["VIP"]}, False),
        ({"owner": ["ann"]}, True),
        ({"owner": ["ben"]}, False),
        ({"chat_id": ["wr1"]}, True),
        ({"name_contains": "vip"}, True),
        ({"name_contains": "新客"}, False),
        ({"members": {"min": 87, "max": 87}}, True),
        ({"members": {"min": 88}}, False),
        ({"members": {"max": 86}}, False),
        ({"join_state": ["poster"]}, True),
        ({"join_state": ["flyer"]}, False),
        ({"silent_for_days": 10}, True),
        ({"silent_for_days": 11}, False),
        ({"joined_within_days": 12}, False),
        ({"joined_within_days": 13}, True),
        ({"created_within_days": 101}, True),
        ({"created_within_days": 100}, False),
        ({"not_sent_for_days": 5}, True),
        ({"not_sent_for_days": 6}, False),
        ({"created": {"end": "2026-01-01T00:00:00Z"}}, True),
        ({"created": {"start": "2026-01-01T00:00:00+08:00"}}, False),
        ({"all_of": [{"label": ["vip"]}, {"owner": ["ben"]}]}, False),
        ({"any_of": [{"label": ["vip"]}, {"owner": ["ben"]}]}, True),
        ({"none_of": [{"label": ["opted_out"]}, {"owner": ["ben"]}]}, True),
        ({"none_of": [{"label": ["vip"]}]}, False),
    ],
)
def test_each_condition_says_what_its_name_says(where, chosen):
    assert chooses(where) is chosen


@pytest.mark.parametrize(
    "where", [{"silent_for_days": 1}, {"joined_within_days": 3650}, {"created_within_days": 3650}]
)
def test_a_group_of_which_nothing_is_known_is_neither_silent_nor_lively(where):
    assert chooses(where, UNREAD) is False


def test_a_group_that_nothing_was_sent_to_was_not_sent_to_for_any_time():
    assert chooses({"not_sent_for_days": 3650}, replace(GROUP, last_sent_at=None)) is True


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "audience.every_group"),
        ({"every_group": True, "chat_ids": ["wr1"]}, "audience.every_group"),
        ({"every_group": 1}, "audience.every_group"),
        ({"whom": []}, "audience.whom"),
        ({"chat_ids": ["wr1", ""]}, "audience.chat_ids[1]"),
        ({"chat_ids": ["wr1"], "leave_out_silent_days": -1}, "audience.leave_out_silent_days"),
        ({"where": {}}, "audience.where"),
        ({"where": {"label": ["a"], "owner": ["b"]}}, "audience.where"),
        ({"where": {"colour": "red"}}, "audience.where.colour"),
        ({"where": {"label": []}}, "audience.where.label"),
        ({"where": {"label": "vip"}}, "audience.where.label"),
        ({"where": {"silent_for_days": True}}, "audience.where.silent_for_days"),
        ({"where": {"members": {"min": 5, "max": 4}}}, "audience.where.members.max"),
        ({"where": {"created": {}}}, "audience.where.created"),
        ({"where": {"created": {"start": "2026-01-01"}}}, "audience.where.created.start"),
        (
            {"where": {"created": {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}}},
            "audience.where.created.end",
        ),
        (
            {"where": {"all_of": [{"label": ["a"]}, {"any_of": [{"owner": [""]}]}]}},
            "audience.where.all_of[1].any_of[0].owner[0]",
        ),
    ],
)
def test_what_cannot_be_read_is_named_by_its_place(document, field):
    assert place(document) == field


def test_a_filter_is_bounded_in_depth_and_size():
    deep = {"label": ["a"]}
    for _ in range(DEEPEST):
        deep = {"all_of": [deep]}
    assert place({"where": deep}).count("all_of") == DEEPEST
    wide = {"any_of": [{"label": ["a"]}] * MOST_CONDITIONS}
    assert place({"where": wide}) == f"audience.where.any_of[{MOST_CONDITIONS - 1}]"


def test_the_owners_that_all_must_have_are_known_before():
    assert read({"where": {"all_of": [{"owner": ["b", "a"]}, {"label": ["x"]}]}}).owners == ("a", "b")
    assert read({"where": {"any_of": [{"owner": ["a"]}, {"label": ["x"]}]}}).owners == ()
    assert read({"every_group": True}).owners == ()


@given(conditions)
def test_the_wire_loses_nothing_of_a_filter(where):
    document = {"where": where, "leave_out_silent_days": 30}
    wire = from_document(document)
    validation.check(wire)
    assert to_document(wire) == document


@given(conditions)
def test_what_none_of_refuses_is_what_all_of_takes(where):
    taken = chooses({"all_of": [where]})
    assert chooses({"none_of": [where]}) is not taken


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["where", "all_of", "label", "members", "created", "min"]), x)
        ),
    )
)
def test_whatever_it_is_given_is_read_or_refused_by_name(found):
    try:
        read({"where": found})
    except Invalid as refused:
        named = [one.field for one in refused.violations]
    else:
        named = ["audience"]
    assert all(one.startswith("audience") for one in named)
