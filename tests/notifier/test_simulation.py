"""What a rule test says goes out when is what the service sends: one course of events, played in both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import policy_pb2, rule_pb2

from cli.rule_changes import _spec
from services.notifier.domain.gates import Way
from services.notifier.domain.policy import EVERYBODY, Budget, Excess, Policies, Policy
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import RuleBook, parse_presets
from services.notifier.domain.simulation import Course, simulate
from services.notifier.policy_wire import to_policy
from services.notifier.rule_files import parse_rules
from services.notifier.rule_test_times import words_of
from shared.events.catalogue import EVENT_TYPES
from shared.events.envelope import make_event
from shared.quiet import QuietHours, QuietMode, Window
from tests.e2e.harness import EXAMPLES, STORE, Reach, Sandbox, embedded, heard, user

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
POINTS, DONE, ORDER = "member.points_changed", "order.completed", "order.created"
MERGED = """
["member.points_changed"]
name = "积分"
roles = ["member_manager"]
template = "{member_name}"
merging = { mode = "MODE", length = "10m", key = ["member_id"], line = "{member_name}" }
"""
QUIET = (Window.read("12:30", "14:00", field="x"),)
STAFF = {Role.MEMBER_MANAGER: ["lili"], Role.MANAGER: ["anna", "bob"], Role.KITCHEN_STAFF: ["wang", "bob"]}


def course_of(
    *happens: tuple[float, str, dict[str, object]],
) -> list[tuple[datetime, str, dict[str, object]]]:
    """Events so many minutes after noon, with what differs from their example."""
    return [(NOON + timedelta(minutes=at), kind, {**EXAMPLES[kind], **data}) for at, kind, data in happens]


EVENTS = course_of(
    (0, POINTS, {"member_name": "甲"}),
    (1, POINTS, {"member_name": "乙"}),
    (2, POINTS, {"member_name": "丙", "member_id": "M2"}),
    (3, DONE, {"order_number": "D1"}),
    (9, POINTS, {"member_name": "丁"}),
    (12, DONE, {"order_number": "D2"}),
    (13, DONE, {"order_number": "D3"}),
    (25, POINTS, {"member_name": "戊"}),
    (29, ORDER, {"order_number": "O1"}),
    (31, ORDER, {"order_number": "O2"}),
    (40, ORDER, {"order_number": "O3"}),
    (45, DONE, {"order_number": "D4"}),
    (50, POINTS, {"member_name": "己"}),
    (55, POINTS, {"member_name": "庚"}),
    (121, POINTS, {"member_name": "辛"}),
    (200, DONE, {"order_number": "D5"}),
)


def policies(mode: QuietMode, excess: Excess) -> list[Policy]:
    """Quiet for everybody at lunch, and few messages for one of two managers."""
    anna = Target.checked(TargetKind.USER, "anna")
    return [
        Policy(STORE, EVERYBODY, None, QuietHours(QUIET, mode)),
        Policy("", f"user:{anna.id}@default", None, None, (Budget(2, timedelta(hours=1), excess),)),
    ]


def played(rules: str, said: list[Policy]) -> Course:
    """The course of EVENTS in memory."""
    shipped = Path(__file__).parents[2] / "services/notifier/presets.toml"
    book = {one.rule.id: one.rule for one in parse_presets(shipped.read_text("utf-8"), EVENT_TYPES)}
    book |= {one.id: one for one in parse_rules(rules, EVENT_TYPES)}
    bindings = {
        ("", role): tuple(Target.checked(TargetKind.USER, one) for one in names)
        for role, names in STAFF.items()
    }
    events = [
        make_event(kind, data, id=f"event-{n}", store_id=STORE, now=at)
        for n, (at, kind, data) in enumerate(EVENTS)
    ]
    book_of = RuleBook(book.values(), EVENT_TYPES)
    return simulate(events, book_of, bindings, Policies(said, ZONE), zone=ZONE)


async def prepared(reach: Reach, rules: str, said: list[Policy]) -> None:
    """The same people, rule and policies in the service."""
    for role, names in STAFF.items():
        request = pb.SetRoleTargetsRequest(role=role.value, targets=[user(one) for one in names])
        await reach.notifier.SetRoleTargets(request)
    (rule,) = parse_rules(rules, EVENT_TYPES)
    spec: rule_pb2.RuleSpec = _spec(rule)
    await reach.notifier.UpdateRule(pb.UpdateRuleRequest(rule_id=rule.id, spec=spec))
    for one in said:
        subject = policy_pb2.PolicySubject(target=user("anna")) if one.subject else None
        await reach.notifier.SetPolicy(
            pb.SetPolicyRequest(store_id=one.store_id, subject=subject, policy=to_policy(one))
        )


@pytest.mark.parametrize(
    ("mode", "excess", "merging"),
    [
        (QuietMode.HOLD, Excess.HOLD, "window"),
        (QuietMode.DIGEST, Excess.DROP, "window"),
        (QuietMode.DROP, Excess.HOLD, "cooldown"),
        (QuietMode.HOLD, Excess.DROP, "cooldown"),
    ],
)
async def test_the_service_sends_what_the_simulation_says_when_it_says_so(
    world: Sandbox, tmp_path: Path, mode: QuietMode, excess: Excess, merging: str
) -> None:
    rules, said = MERGED.replace("MODE", merging), policies(mode, excess)
    course = played(rules, said)
    assert len(course.sent) > 8
    moments = sorted({at for at, *_ in EVENTS} | {one.at for one in course.sent})
    await world.post("/sandbox/clock", set=NOON.isoformat(), freeze=True)
    async with embedded(world.url, tmp_path / "home", default_store=STORE, clock="sandbox") as reach:
        await prepared(reach, rules, said)
        for moment in moments:
            await world.post("/sandbox/clock", set=moment.isoformat(), freeze=True)
            await heard(reach, world)
            for number, (at, kind, data) in enumerate(EVENTS):
                if at == moment:
                    await reach.push(kind, data, event_id=f"event-{number}", wait=0)
            expected = sorted(
                (target.id, words_of(one))
                for one in course.sent
                if one.at <= moment
                for target in one.call.targets
            )
            found = await world.arrived(len(expected)) if expected else await world.messages()
            assert sorted(map(_arrived, found)) == expected, moment


def _arrived(message: dict[str, Any]) -> tuple[str, str]:
    """To whom, and what it says without the line that the channel adds."""
    return message["to"], message["content"]["content"].rpartition("\n")[0]


@pytest.mark.parametrize(
    ("budgets", "ways", "until"),
    [
        ((Budget(1, timedelta(minutes=1)), Budget(1, None, Excess.DROP)), [Way.DROP], None),
        ((Budget(1, timedelta(minutes=1)), Budget(1, None)), [Way.HOLD], NOON + timedelta(hours=12)),
        ((Budget(1, None), Budget(1, timedelta(minutes=1))), [Way.HOLD], NOON + timedelta(hours=12)),
    ],
)
def test_of_two_full_budgets_the_simulation_asks_the_one_that_the_service_asks(
    budgets: tuple[Budget, ...], ways: list[Way], until: datetime | None
) -> None:
    said = Policies([Policy("", EVERYBODY, None, None, budgets)], ZONE)
    shipped = Path(__file__).parents[2] / "services/notifier/presets.toml"
    book = [one.rule for one in parse_presets(shipped.read_text("utf-8"), EVENT_TYPES)]
    bindings = {("", Role.MANAGER): (Target.checked(TargetKind.USER, "anna"),)}
    events = [
        make_event(DONE, EXAMPLES[DONE], id=one, store_id=STORE, now=NOON) for one in ("first", "second")
    ]
    course = simulate(events, RuleBook(book, EVENT_TYPES), bindings, said, zone=ZONE)
    assert [one.way for one in course.kept] == ways
    assert [one.until for one in course.kept] == [until]
