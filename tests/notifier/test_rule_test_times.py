"""Rule tests on a clock of their own: events at times, policies, and what is to go out when."""

from __future__ import annotations

import pytest

from services.notifier.rule_files import parse_rules
from services.notifier.rule_tests import Outcome, parse_suite, run_suite, together
from shared.errors import Invalid
from shared.events.catalogue import EVENT_TYPES
from tests.notifier.test_rule_tests import SHIPPED, failed

HEAD = '[holders]\nmember_manager = ["user:lili"]\n'
RULE = """
["member.points_changed"]
name = "积分"
priority = "{priority}"
roles = ["member_manager"]
template = "{{member_name}}"
merging = {{ mode = "{mode}", length = "60s" }}
"""


def points(*times: str, wishes: str = "", more: str = "") -> str:
    """A case in which points change at *times*, each time those of another member."""
    events = "\n".join(
        f'  {{ at = "{at}", data = {{ member_name = "会员{n}" }} }},' for n, at in enumerate(times)
    )
    return (
        f'[[case]]\nname = "c"\nevent = "member.points_changed"\nat = "2026-02-20T12:00:00+08:00"\n{more}\n'
        f'data = {{ member_id = "M", member_name = "x", change = 1, balance = 9 }}\nevents = [\n{events}\n]\n{wishes}\n'
    )


def sends(*wishes: tuple[str, str]) -> str:
    """Calls to lili at times, with a piece of their words."""
    found = ", ".join(
        f'{{ at = "{at}", to = ["user:lili"], contains = ["{piece}"] }}' for at, piece in wishes
    )
    return f"sends = [{found}]"


def run(document: str, mode: str = "window", priority: str = "normal") -> Outcome:
    rules = parse_rules(RULE.format(mode=mode, priority=priority), EVENT_TYPES) if mode else ()
    suite = parse_suite(document)
    (outcome,) = run_suite(suite, together(suite, SHIPPED, {"r.toml": rules}), EVENT_TYPES)
    return outcome


def met(document: str, mode: str = "window") -> bool:
    outcome = run(HEAD + document, mode)
    assert set(failed(outcome)) <= {"sends"}
    return not outcome.differences


TWO = ("+0s", "+30s", "+61s")


@pytest.mark.parametrize(
    ("wishes", "holds"),
    [
        ([("+60s", "共 2 条"), ("+121s", "会员2")], True),
        ([("+121s", "会员2"), ("+60s", "共 2 条")], True),
        ([("+60s", "共 2 条")], False),
        ([("+60s", "共 2 条"), ("+121s", "会员2"), ("+121s", "会员2")], False),
        ([("+59s", "共 2 条"), ("+121s", "会员2")], False),
        ([("+60s", "共 3 条"), ("+121s", "会员2")], False),
        ([("+60s", "共 2 条"), ("+121s", "会员1")], False),
    ],
)
def test_the_sends_are_those_that_are_named_and_no_other(wishes: list[tuple[str, str]], holds: bool) -> None:
    assert met(points(*TWO, wishes=sends(*wishes))) is holds


def test_a_wish_that_fits_two_sends_leaves_the_other_to_the_wish_that_fits_it_alone() -> None:
    assert met(points("+0s", "+61s", wishes=sends(("+60s", "会员"), ("+121s", "会员"))))
    at_once = points("+0s", "+0s", wishes=sends(("+0s", "会员"), ("+0s", "会员0")))
    assert not run(HEAD + at_once, mode="").differences


def test_a_cool_down_sends_the_first_and_then_what_came_meanwhile() -> None:
    wishes = sends(("+0s", "会员0"), ("+60s", "共 2 条"), ("+120s", "会员3"), ("+200s", "会员4"))
    assert met(points("+0s", "+10s", "+20s", "+70s", "+200s", wishes=wishes), "cooldown")


def test_an_urgent_rule_is_not_kept_from_anybody_by_a_policy() -> None:
    night = (
        HEAD
        + '[[policies]]\nquiet = ["11:00-13:00"]\nbudgets = ["1/1h/drop"]\nmerging = { mode = "window", length = "60s" }\n'
    )
    off = RULE.format(mode="off", priority="urgent").replace(', length = "60s"', "")
    urgent = parse_rules(off, EVENT_TYPES)
    suite = parse_suite(night + points("+0s", "+1s", wishes=sends(("+0s", "会员0"), ("+1s", "会员1"))))
    (outcome,) = run_suite(suite, together(suite, SHIPPED, {"r.toml": urgent}), EVENT_TYPES)
    assert not outcome.differences
    assert not any("held" in line or "dropped" in line for line in outcome.course)


NOON = HEAD + '[[policies]]\nrole = "member_manager"\nquiet = ["11:00-13:00"]\nmode = "{mode}"\n'


@pytest.mark.parametrize(
    ("mode", "wishes", "kept"),
    [
        ("hold", [("+60m", "会员0"), ("+60m", "会员1")], "held by quiet_hours until 2026-02-20 13:00:00"),
        ("digest", [("+60m", "共 2 条")], "gathered by quiet_hours until 2026-02-20 13:00:00"),
        ("drop", [], "dropped by quiet_hours, for user:lili"),
    ],
)
def test_quiet_hours_hold_gather_or_drop_and_a_failure_would_say_so(
    mode: str, wishes: list[tuple[str, str]], kept: str
) -> None:
    outcome = run(NOON.format(mode=mode) + points("+0s", "+1m", wishes=sends(*wishes)), mode="")
    assert not outcome.differences
    assert sum(kept in line for line in outcome.course) == 2


def test_what_a_person_missed_is_one_message_however_urgent_each_was() -> None:
    """Of two rules with priorities of their own."""
    quiet = '[holders]\nkitchen_staff = ["user:lili"]\nmanager = ["user:lili"]\n[[policies]]\nquiet = ["11:00-13:00"]\nmode = "digest"\n'
    events = (
        '[[case]]\nname = "c"\nat = "2026-02-20T12:00:00+08:00"\nevents = [\n'
        '{ event = "order.created", data = { order_number = "O1", table_number = "A", total = 1, order_time = "2026-02-20T12:00:00" } },\n'
        '{ event = "order.completed", at = "+1m", data = { order_number = "O2", table_number = "A", total = 1, completed_time = "2026-02-20T12:00:00" } },\n'
        "]\n"
    )
    outcome = run(quiet + events + sends(("+60m", "共 2 条")), mode="")
    assert not outcome.differences


def test_what_was_to_be_merged_goes_merged_when_the_quiet_ends() -> None:
    document = NOON.format(mode="hold") + points("+0s", "+10m", wishes=sends(("+60m", "共 2 条")))
    assert not run(document).differences


def test_a_digest_that_is_due_in_quiet_hours_waits_for_their_end() -> None:
    quiet = HEAD + '[[policies]]\nquiet = ["12:00-13:00"]\n'
    early = points("-", wishes=sends(("+61m", "会员0"))).replace('"-"', '"2026-02-20T11:59:30+08:00"')
    assert not run(quiet + early.replace("+61m", "+60m")).differences


def test_a_budget_that_holds_sends_as_soon_as_there_is_room() -> None:
    one = HEAD + '[[policies]]\nbudgets = ["1/1h"]\n'
    outcome = run(one + points("+0s", "+1m", wishes='to = ["user:lili"]'), mode="")
    assert not outcome.differences
    assert [line for line in outcome.course if "held by budget:1/1h:everybody until 2026-02-20 13:0" in line]
    assert sum(" to user:lili: " in line for line in outcome.course) == 2
    day = HEAD + '[[policies]]\nbudgets = ["1/day"]\n'
    wishes = sends(("+0s", "会员0"), ("2026-02-21T00:00:00+08:00", "会员1"))
    assert not run(day + points("+0s", "+1m", wishes=wishes), mode="").differences


def test_a_copy_of_an_event_causes_nothing() -> None:
    copies = points("+0s", "+1s", wishes=sends(("+60s", "会员0"))).replace("{ at =", '{ id = "same", at =', 2)
    assert met(copies)


@pytest.mark.parametrize(
    ("document", "place", "fix"),
    [
        (points("soon", wishes="sends = []"), "case 1 (c) events 1 at", "or +90s"),
        (points("+5", wishes="sends = []"), "case 1 (c) events 1 at", "90s, 5m, 1h"),
        (points("+0s", wishes='sends = [{ to = ["user:x"] }]'), "case 1 (c) sends 1 at", "is missing"),
        (points("+0s", wishes='sends = [{ at = "+0s", too = [] }]'), "case 1 (c) sends 1 too", "write to"),
        (points("+0s", wishes='sends = [{ at = "+0s", to = ["x"] }]'), "case 1 (c) sends 1 to", "user:…"),
        (points(wishes="sends = []"), "case 1 (c) events", "is empty"),
        (points("+0s", "+1s", wishes='verdict = "planned"'), "case 1 (c) verdict", "say sends"),
        (points("+0s", wishes="sends = []").replace("{ at", "{ att"), "case 1 (c) events 1 att", "write at"),
        (points("+0s"), "case 1 (c)", "expects nothing"),
        ("[[policies]]\n" + points("+0s", wishes="to = []"), "policies 1", "says nothing"),
        ('[[policies]]\nquiet = ["22-8"]\n' + points("+0s", wishes="to = []"), "policies 1 quiet", "22:00-08:00"),
        ('[[policies]]\nquiet = ["22:00-08:00/8"]\n' + points("+0s", wishes="to = []"), "policies 1 quiet", "1 (Monday)"),
        ("[[policies]]\nquiet = []\n" + points("+0s", wishes="to = []"), "policies 1 quiet", "is empty"),
        ('[[policies]]\nquiet = ["00:00-12:00", "12:00-00:00"]\n' + points("+0s", wishes="to = []"), "policies 1 quiet", "never end"),
        ('[[policies]]\nmode = "drop"\n' + points("+0s", wishes="to = []"), "policies 1 mode", "about quiet hours"),
        ('[[policies]]\nbudgets = ["30"]\n' + points("+0s", wishes="to = []"), "policies 1 budgets", "30/1h"),
        ('[[policies]]\nbudgets = ["3/1h", "3/1h"]\n' + points("+0s", wishes="to = []"), "policies 1 budgets", "leave one out"),
        ('[[policies]]\nbudgets = ["3/1s"]\n' + points("+0s", wishes="to = []"), "policies 1 budgets", "1 minute"),
        ('[[policies]]\nzone = "Mars"\nbudgets = ["3/1h"]\n' + points("+0s", wishes="to = []"), "policies 1 zone", "IANA"),
        ('[[policies]]\nmerging = { mode = "window", length = "25h" }\n' + points("+0s", wishes="to = []"), "policies 1 merging", "24 hours"),
        ('[[policies]]\nrole = "boss"\nbudgets = ["3/1h"]\n' + points("+0s", wishes="to = []"), "policies 1 role", "kitchen_staff"),
        ('[[policies]]\nrole = "manager"\nfor = "user:x"\nbudgets = []\n' + points("+0s", wishes="to = []"), "policies 1 for", "for one"),
        ('[[policies]]\nfor = "x"\nbudgets = []\n' + points("+0s", wishes="to = []"), "policies 1 for", "user:…"),
        ('[[policies]]\nstore = "a b"\nbudgets = []\n' + points("+0s", wishes="to = []"), "policies 1 store", "letters"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_place_and_its_fix(document: str, place: str, fix: str) -> None:
    with pytest.raises(Invalid) as caught:
        run(document)
    (one,) = caught.value.violations
    assert one.field == place
    assert fix in one.description
