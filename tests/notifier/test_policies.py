"""Policies by RPC: which one counts, what cannot be meant, what is taken away, and who set it."""

from __future__ import annotations

from typing import Any

import pytest
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import policy_pb2 as pl
from reach.notifier.v1 import target_pb2

from tests.e2e.harness import STORE, Reach, refused, robot, seconds, user

EVERYBODY = pl.PolicySubject()
MANAGERS = pl.PolicySubject(role="manager")
ANNA = pl.PolicySubject(target=user("anna"))
DROP, HOLD = pl.EXCESS_DROP, pl.EXCESS_HOLD


def night(*windows: tuple[str, str], **more: Any) -> pl.Policy:
    """Quiet from the first to the second time of each."""
    found = [pl.QuietWindow(start=start, end=end) for start, end in windows or (("22:00", "08:00"),)]
    return pl.Policy(quiet_hours=pl.QuietHours(windows=found), **more)


def budgets(*wanted: tuple[int, float | None]) -> pl.Policy:
    """So many in so many seconds; None is the calendar day."""
    found = [
        pl.Budget(max_messages=most, period=None if per is None else seconds(per)) for most, per in wanted
    ]
    return pl.Policy(budgets=pl.Budgets(budgets=found))


def merging(**wanted: Any) -> pl.Policy:
    """A window of a minute, or otherwise."""
    said = {"mode": pl.MERGE_MODE_WINDOW, "length": seconds(60), **wanted}
    return pl.Policy(merging=pl.Merging(**said))


async def put(
    reach: Reach, subject: pl.PolicySubject, policy: pl.Policy | None, store: str = STORE
) -> pl.StoredPolicy:
    """SetPolicy."""
    answer = await reach.notifier.SetPolicy(
        pb.SetPolicyRequest(store_id=store, subject=subject, policy=policy)
    )
    stored: pl.StoredPolicy = answer.stored
    return stored


async def get(
    reach: Reach, subject: pl.PolicySubject, store: str = STORE, role: str = ""
) -> pb.GetPolicyResponse:
    """GetPolicy."""
    request = pb.GetPolicyRequest(store_id=store, subject=subject, role=role)
    answer: pb.GetPolicyResponse = await reach.notifier.GetPolicy(request)
    return answer


def whose(stored: pl.StoredPolicy) -> tuple[str, str]:
    """Store and subject of a policy, in short."""
    subject = stored.subject
    return stored.store_id, subject.role or subject.target.id


async def test_the_address_counts_before_the_role_before_everybody_each_part_by_itself(reach: Reach) -> None:
    await put(reach, EVERYBODY, night(("01:00", "02:00"), merging=merging().merging))
    await put(reach, MANAGERS, night(("03:00", "04:00"), budgets=budgets((9, 3600)).budgets))
    await put(reach, ANNA, budgets((5, 3600)))
    found = await get(reach, ANNA, role="manager")
    assert whose(found.stored) == (STORE, "anna")
    assert whose(found.quiet_hours_from) == (STORE, "manager")
    assert whose(found.budgets_from) == (STORE, "anna")
    assert whose(found.merging_from) == (STORE, "")
    alone = await get(reach, ANNA)
    assert whose(alone.quiet_hours_from) == (STORE, "")
    other = await get(reach, pl.PolicySubject(target=user("bob")), role="manager")
    assert not other.HasField("stored")
    assert whose(other.budgets_from) == (STORE, "manager")
    assert whose((await get(reach, EVERYBODY)).quiet_hours_from) == (STORE, "")


async def test_a_stores_word_counts_before_that_of_all_stores_but_not_before_a_closer_subject(
    reach: Reach,
) -> None:
    await put(reach, MANAGERS, night(), store="")
    await put(reach, EVERYBODY, night(("01:00", "02:00")))
    assert whose((await get(reach, MANAGERS)).quiet_hours_from) == ("", "manager")
    await put(reach, MANAGERS, night(("05:00", "06:00")))
    assert whose((await get(reach, MANAGERS)).quiet_hours_from) == (STORE, "manager")
    assert whose((await get(reach, MANAGERS, store="other")).quiet_hours_from) == ("", "manager")
    assert whose((await get(reach, MANAGERS, store="")).stored) == ("", "manager")


async def test_no_budget_at_all_takes_away_what_a_wider_policy_says(reach: Reach) -> None:
    await put(reach, EVERYBODY, budgets((5, 3600)))
    stored = await put(reach, ANNA, pl.Policy(budgets=pl.Budgets()))
    assert stored.policy.HasField("budgets")
    found = (await get(reach, ANNA)).budgets_from
    assert (whose(found), len(found.policy.budgets.budgets)) == ((STORE, "anna"), 0)


async def test_userids_are_not_told_apart_by_case_and_credentials_are(reach: Reach) -> None:
    await put(reach, pl.PolicySubject(target=user("Anna")), night())
    assert (await get(reach, ANNA)).HasField("stored")
    other = target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id="anna", account="second")
    assert not (await get(reach, pl.PolicySubject(target=other))).HasField("stored")
    await put(reach, pl.PolicySubject(target=other), budgets((1, None)))
    stored = (await get(reach, pl.PolicySubject(target=other))).stored
    assert stored.subject.target.account == "second"


async def test_everything_a_policy_can_say_comes_back_as_it_was_set_and_who_set_it(reach: Reach) -> None:
    policy = pl.Policy(
        time_zone="Europe/Berlin",
        quiet_hours=pl.QuietHours(
            windows=[
                pl.QuietWindow(start="22:00", end="08:00", weekdays=[1, 5]),
                pl.QuietWindow(start="12:30", end="14:00"),
            ],
            mode=pl.QUIET_MODE_DIGEST,
        ),
        budgets=pl.Budgets(
            budgets=[
                pl.Budget(max_messages=30, period=seconds(3600), excess=DROP),
                pl.Budget(max_messages=100, excess=HOLD),
            ]
        ),
        merging=pl.Merging(mode=pl.MERGE_MODE_COOLDOWN, length=seconds(300), top_lines=10),
    )
    for subject in (EVERYBODY, MANAGERS, ANNA, pl.PolicySubject(target=robot("front"))):
        stored = await put(reach, subject, policy)
        assert stored.policy == policy
        assert (await get(reach, subject)).stored == stored
        assert stored.updated_by == "local"
        assert stored.update_time.seconds > 0


@pytest.mark.parametrize("nothing", [None, pl.Policy(), pl.Policy(time_zone="Asia/Shanghai")])
async def test_an_empty_policy_takes_it_away(reach: Reach, nothing: pl.Policy | None) -> None:
    await put(reach, ANNA, night())
    stored = await put(reach, ANNA, nothing)
    assert (whose(stored), stored.HasField("policy")) == ((STORE, "anna"), False)
    assert not (await get(reach, ANNA)).HasField("stored")
    assert not (await get(reach, ANNA)).HasField("quiet_hours_from")
    listed = await reach.notifier.ListPolicies(pb.ListPoliciesRequest(store_id=STORE))
    assert not listed.policies


async def test_a_policy_replaces_all_that_it_said_before(reach: Reach) -> None:
    await put(reach, ANNA, night(budgets=budgets((5, 3600)).budgets))
    stored = await put(reach, ANNA, merging())
    assert not stored.policy.HasField("quiet_hours")
    assert not stored.policy.HasField("budgets")


async def test_pages_hold_every_policy_once_by_subject_and_store(reach: Reach) -> None:
    for store in ("", STORE):
        for subject in (EVERYBODY, MANAGERS, ANNA):
            await put(reach, subject, night(), store=store)
    await put(reach, MANAGERS, night(), store="other")
    seen, token = [], ""
    while True:
        page = await reach.notifier.ListPolicies(
            pb.ListPoliciesRequest(store_id=STORE, page_size=2, page_token=token)
        )
        assert len(page.policies) <= 2
        seen += [whose(one) for one in page.policies]
        token = page.next_page_token
        if not token:
            break
    assert seen == [(store, who) for who in ("", "manager", "anna") for store in ("", STORE)]
    everywhere = await reach.notifier.ListPolicies(pb.ListPoliciesRequest())
    assert len(everywhere.policies) == 7


WRONG: dict[str, tuple[pl.Policy, str, str]] = {
    "never-ending quiet": (
        night(("00:00", "12:00"), ("12:00", "00:00")),
        "policy.quiet_hours.windows",
        "never end",
    ),
    "a window without length": (
        night(("08:00", "08:00")),
        "policy.quiet_hours.windows[0]",
        "two different times",
    ),
    "a time that no clock shows": (night(("24:00", "08:00")), "policy.quiet_hours.windows[0].start", ""),
    "a zone that nobody knows": (night(time_zone="Shanghai"), "policy.time_zone", "Asia/Shanghai"),
    "the same budget twice": (budgets((5, 3600), (5, 3600)), "policy.budgets", "leave one out"),
    "a budget of nothing": (budgets((0, 3600)), "policy.budgets.budgets[0].max_messages", ""),
    "a short period": (budgets((9, None), (5, 59)), "policy.budgets.budgets[1].period", "1 minute"),
    "a long period": (budgets((5, 86401)), "policy.budgets.budgets[0].period", "calendar day"),
    "a key": (merging(key=["total"]), "policy.merging", "rule's own"),
    "a line": (merging(line="{total}"), "policy.merging", "rule's own"),
    "merging without a length": (
        pl.Policy(merging=pl.Merging(mode=pl.MERGE_MODE_WINDOW)),
        "policy.merging.length",
        "1 second",
    ),
    "merging that is off for a while": (merging(mode=pl.MERGE_MODE_OFF), "policy.merging.mode", "off"),
}


@pytest.mark.parametrize("what", sorted(WRONG))
async def test_what_cannot_be_meant_is_refused_with_its_field(reach: Reach, what: str) -> None:
    policy, field, fix = WRONG[what]
    _, refusal = await refused(put(reach, ANNA, policy))
    assert refusal.reason == "FIELD_INVALID"
    assert [one.field for one in refusal.violations] == [field]
    assert fix in refusal.violations[0].description
    assert not (await get(reach, ANNA)).HasField("stored")


async def test_a_subject_that_cannot_be_is_refused_with_its_field(reach: Reach) -> None:
    party = target_pb2.Target(kind=target_pb2.TARGET_KIND_PARTY, id="two")
    for subject, field in (
        (pl.PolicySubject(role="pirate"), "subject.role"),
        (pl.PolicySubject(target=party), "subject.target.id"),
    ):
        for call in (put(reach, subject, night()), get(reach, subject)):
            _, refusal = await refused(call)
            assert [one.field for one in refusal.violations] == [field]


async def test_a_role_is_asked_about_beside_an_address_only(reach: Reach) -> None:
    for subject in (EVERYBODY, MANAGERS):
        _, refusal = await refused(get(reach, subject, role="manager"))
        assert [one.field for one in refusal.violations] == ["role"]
        assert "leave it out" in refusal.violations[0].description
    _, refusal = await refused(get(reach, ANNA, role="pirate"))
    assert [one.field for one in refusal.violations] == ["role"]
