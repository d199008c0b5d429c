"""Which policy counts, and that what was written is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.merging import MergeMode, Merging
from services.notifier.domain.policy import (
    EVERYBODY,
    Budget,
    Excess,
    Policies,
    Policy,
    limit_behind,
    subject_of,
)
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import Priority
from shared.errors import Invalid
from shared.quiet import QuietHours, QuietMode, Window

SHANGHAI = ZoneInfo("Asia/Shanghai")
ANN = Target.checked(TargetKind.USER, "Ann")
CLOCK = st.builds(time, st.integers(0, 23), st.integers(0, 59))
WINDOWS = st.builds(Window, CLOCK, CLOCK, st.frozensets(st.integers(0, 6))).filter(
    lambda one: one.start != one.end
)
QUIET = st.builds(
    QuietHours, st.lists(WINDOWS, min_size=1, max_size=3).map(tuple), st.sampled_from(QuietMode)
)
BUDGETS = st.builds(
    Budget,
    st.integers(1, 100_000),
    st.none() | st.timedeltas(timedelta(minutes=1), timedelta(days=1)),
    st.sampled_from(Excess),
)
MERGINGS = st.builds(
    Merging,
    st.sampled_from(MergeMode),
    st.timedeltas(timedelta(0), timedelta(days=1)),
    st.lists(st.text(max_size=5), max_size=3).map(tuple),
    st.text(max_size=10),
    st.integers(0, 100),
)
POLICIES = st.builds(
    Policy,
    st.sampled_from(["", "s1", "s2"]),
    st.sampled_from([EVERYBODY, "role:manager", "role:cashier", subject_of(ANN), "user:bob@default"]),
    st.none() | st.sampled_from(["Europe/Berlin", "UTC"]),
    st.none() | QUIET,
    st.none() | st.lists(BUDGETS, max_size=3).map(tuple),
    st.none() | MERGINGS,
)


@given(POLICIES)
def test_a_policy_is_read_as_it_was_written(policy: Policy) -> None:
    plain = json.loads(json.dumps(policy.to_json()))
    assert Policy.from_json(policy.store_id, policy.subject, plain) == policy


@given(MERGINGS)
def test_a_merging_is_read_as_it_was_written(merging: Merging) -> None:
    assert Merging.from_json(json.loads(json.dumps(merging.to_json()))) == merging


@given(
    st.lists(POLICIES, max_size=12, unique_by=lambda one: (one.store_id, one.subject)),
    st.sampled_from(["s1", "s2", "s3"]),
    st.sampled_from([None, Role.MANAGER, Role.CASHIER]),
)
def test_the_closest_policy_that_says_something_counts_for_each_part(
    policies: list[Policy], store: str, role: Role | None
) -> None:
    subjects = [subject_of(ANN), *([f"role:{role.value}"] if role else []), EVERYBODY]

    def distance(one: Policy) -> tuple[int, bool]:
        return subjects.index(one.subject), not one.store_id

    meant = [one for one in policies if one.subject in subjects and one.store_id in ("", store)]
    meant.sort(key=distance)
    said = Policies(policies, SHANGHAI).said(store, ANN, role)
    for part in ("quiet", "budgets", "merging"):
        assert getattr(said, part) == next((one for one in meant if getattr(one, part) is not None), None)


def test_an_empty_list_of_budgets_takes_away_what_a_wider_policy_says() -> None:
    wide = Policy("", EVERYBODY, budgets=(Budget(1, None),))
    policies = Policies([wide, Policy("", subject_of(ANN), budgets=())], SHANGHAI)
    now = datetime(2026, 3, 2, tzinfo=UTC)
    assert policies.counted("s1", ANN, None, Priority.NORMAL, now) == []
    bob = Target.checked(TargetKind.USER, "bob")
    assert len(policies.counted("s1", bob, None, Priority.NORMAL, now)) == 1
    assert policies.counted("s1", bob, None, Priority.URGENT, now) == []


def test_one_person_is_one_subject_however_the_id_is_written() -> None:
    assert subject_of(ANN) == subject_of(Target.checked(TargetKind.USER, "aNN"))


@given(st.integers(1, 100_000), st.none() | st.integers(60, 86_400), st.text(max_size=20))
def test_the_limit_of_a_budget_is_read_from_its_key(most: int, seconds: int | None, subject: str) -> None:
    per = None if seconds is None else timedelta(seconds=seconds)
    key, _ = Budget(most, per).window(subject, datetime(2026, 3, 2, tzinfo=UTC), SHANGHAI)
    limit = limit_behind(key)
    assert (limit.max, limit.per) == (most, timedelta(days=1) if per is None else per)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (Policy("", "", zone="Mars/Base"), "policy.time_zone"),
        (Policy("", "", budgets=(Budget(0, None),)), "policy.budgets.budgets[0].max_messages"),
        (Policy("", "", budgets=(Budget(1, timedelta(days=2)),)), "policy.budgets.budgets[0].period"),
        (Policy("", "", budgets=(Budget(1, None), Budget(1, None, Excess.DROP))), "policy.budgets"),
        (Policy("", "", merging=Merging(MergeMode.WINDOW)), "policy.merging.length"),
        (Policy("", "", merging=Merging(MergeMode.WINDOW, timedelta(1), ("a",))), "policy.merging"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_with_its_field(policy: Policy, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        policy.check(SHANGHAI)
    assert [one.field for one in refusal.value.violations] == [field]
