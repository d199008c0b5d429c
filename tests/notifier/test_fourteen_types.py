"""Every business event reaches exactly the people its rule names, by each door of a process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from reach.events.v1 import event_service_pb2
from reach.notifier.v1 import explain_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb

from services.notifier.assembly import presets
from tests.e2e.harness import EXAMPLES, STORE, TELLS, Reach, Sandbox, codes, struct

SHIPPED = {preset.rule.event_type: preset for preset in presets()}
SAYS = {name: preset.says.strip() for name, preset in SHIPPED.items()}

Bring = Callable[[Reach, str], Awaitable[object]]


async def by_trigger(reach: Reach, event_type: str) -> None:
    await reach.push(event_type, event_id=f"e-{event_type}", wait=0)


async def by_publish(reach: Reach, event_type: str) -> None:
    await reach.events.PublishEvent(
        event_service_pb2.PublishEventRequest(
            type=event_type, id=f"e-{event_type}", store_id=STORE, json=struct(EXAMPLES[event_type])
        )
    )


async def by_http(reach: Reach, event_type: str) -> None:
    body = {"event_type": event_type, "event_data": EXAMPLES[event_type], "store_id": STORE}
    status, answer = await reach.post_event(body, id=f"e-{event_type}")
    assert (status, answer) == (202, {"event_id": f"e-{event_type}", "duplicate": False})


def test_there_are_fourteen_types_and_each_has_a_rule() -> None:
    assert len(TELLS) == 14
    assert set(EXAMPLES) == set(TELLS)


@pytest.mark.parametrize("bring", [by_trigger, by_publish, by_http])
async def test_each_type_reaches_exactly_the_roles_its_rule_names_with_its_words(
    reach: Reach, world: Sandbox, bring: Bring
) -> None:
    for event_type in TELLS:
        await bring(reach, event_type)
    expected = sorted((role, SAYS[event_type]) for event_type, roles in TELLS.items() for role in roles)
    await world.arrived(len(expected))
    got = []
    for message in await world.messages():
        words, _, reference = message["content"]["content"].rpartition("\n")
        assert reference.startswith("#")
        got.append((message["to"], words))
    assert sorted(got) == expected


async def test_each_type_is_planned_for_the_roles_listed_with_its_rule(reach: Reach) -> None:
    rules = (await reach.notifier.ListRules(pb.ListRulesRequest(page_size=200))).rules
    told = {rule.event_type: (*rule.roles, rule.person_field) for rule in rules}
    assert told == {name: (*roles, "") for name, roles in TELLS.items()} | {
        "ai.alert.created": ("tech_support", ""),
        "ai.insight.updated": ("assistant_id",),
        "campaign.submitted": ("manager", ""),
        "campaign.paused": ("manager", ""),
        "campaign.missed": ("manager", ""),
    }
    assert all(rule.enabled and rule.preset and rule.version == 1 for rule in rules)
    assert {rule.event_type: rule.display_name for rule in rules}["order.created"] == "新订单提醒"


async def test_what_ai_chains_say_reaches_tech_support_and_the_assistant_it_is_for(
    reach: Reach, world: Sandbox
) -> None:
    of_chains = {name: preset.example for name, preset in SHIPPED.items() if name.startswith("ai.")}
    for name, example in of_chains.items():
        await reach.push(name, dict(example), event_id=f"e-{name}", wait=0)
    await reach.push(
        "ai.insight.updated", {**of_chains["ai.insight.updated"], "app_type": "app7_customer"}, event_id="e-7"
    )
    await world.arrived(2)
    got = {
        message["to"]: message["content"]["content"].rpartition("\n")[0] for message in await world.messages()
    }
    assert got == {"tech_support": SAYS["ai.alert.created"], "A7": SAYS["ai.insight.updated"]}


async def test_what_becomes_of_campaigns_reaches_the_manager_and_a_pause_by_hand_nobody(
    reach: Reach, world: Sandbox
) -> None:
    of_campaigns = {name: preset.example for name, preset in SHIPPED.items() if name.startswith("campaign.")}
    for name, example in of_campaigns.items():
        await reach.push(name, dict(example), event_id=f"e-{name}", wait=0)
    by_hand = {**of_campaigns["campaign.paused"], "reason": "by_hand"}
    taken = await reach.push("campaign.paused", by_hand, event_id="e-by-hand", wait=0)
    assert not taken.deliveries
    got = [(one["to"], one["content"]["content"].rpartition("\n")[0]) for one in await world.arrived(3)]
    assert sorted(got) == sorted(("manager", SAYS[name]) for name in of_campaigns)


async def test_a_type_without_a_rule_causes_nothing_and_says_so(reach: Reach, world: Sandbox) -> None:
    taken = await reach.push("parking.full", {"lot": "B2"}, event_id="p1")
    assert taken.verdict == explain_pb2.VERDICT_NO_RULE
    assert not taken.deliveries
    told = await reach.explain("p1")
    assert told.verdict == explain_pb2.VERDICT_NO_RULE
    assert codes(told) == ["received", "no_rule"]
    assert await world.sends() == []


async def test_the_example_of_the_specification_reads_to_the_letter(reach: Reach, world: Sandbox) -> None:
    data = {
        "order_number": "ORD20260220001",
        "table_number": "A01",
        "total": 280.00,
        "order_time": "2026-02-20T12:30:00",
    }
    await reach.push("order.created", data)
    (message,) = await world.messages()
    assert message["content"]["content"].startswith(
        "【新订单】\n订单号：ORD20260220001\n桌号：A01\n金额：¥280.00\n时间：2026-02-20 12:30:00\n#"
    )
