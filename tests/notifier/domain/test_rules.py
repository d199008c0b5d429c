"""Rules and presets: the users' words, the fourteen events, muting, and a store's own setting."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.notifier.domain.routing import ROLE_NAMES, Role
from services.notifier.domain.rules import Priority, RuleBook, parse_presets
from shared.errors import Invalid
from shared.events.canonical import normalise
from shared.events.catalogue import EVENT_TYPES
from shared.text.neutral import Dialect
from shared.text.template import Template
from tests.notifier.domain.builders import NOW, PRESETS, SECOND, SHANGHAI, SHOP, TYPES, rule

ALL = parse_presets(PRESETS.read_text("utf-8"), EVENT_TYPES)
BY_ID = {preset.rule.id: preset for preset in ALL}

# design: who hears, how urgent.
TABLE = {
    "order.created": ("kitchen_staff", "high"),
    "order.completed": ("manager", "normal"),
    "order.cancelled": ("manager", "high"),
    "reservation.confirmed": ("front_desk", "normal"),
    "reservation.cancelled": ("front_desk", "high"),
    "guest.arrived": ("front_desk service_staff", "high"),
    "member.points_changed": ("member_manager", "low"),
    "member.upgraded": ("member_manager", "normal"),
    "payment.completed": ("cashier", "normal"),
    "payment.failed": ("cashier", "high"),
    "inventory.low_stock": ("inventory_manager", "high"),
    "inventory.out_of_stock": ("inventory_manager", "urgent"),
    "system.error": ("tech_support manager", "urgent"),
    "service.quality_issue": ("manager", "high"),
    "ai.alert.created": ("tech_support", "high"),
    "ai.insight.updated": ("", "low"),
    "campaign.submitted": ("manager", "normal"),
    "campaign.paused": ("manager", "high"),
    "campaign.missed": ("manager", "high"),
}

THE_USERS_WORDS = {
    "order.created": "【新订单】\n订单号：{order_number}\n桌号：{table_number}\n金额：¥{total}\n时间：{order_time}",
    "reservation.confirmed": "【预订确认】\n客户：{customer_name}\n电话：{customer_phone}\n人数：{party_size}人\n时间：{reservation_date}",
    "inventory.low_stock": "【库存预警】\n商品：{item_name}\n当前库存：{current_stock}\n预警阈值：{threshold}\n请及时补货！",
}


def test_there_is_a_preset_for_each_of_the_fourteen_events_and_for_what_other_services_say():
    assert {
        preset.rule.event_type: (" ".join(preset.rule.roles), preset.rule.priority.word) for preset in ALL
    } == TABLE


@pytest.mark.parametrize("event_type", THE_USERS_WORDS)
def test_the_users_words_stay_as_they_are(event_type):
    assert BY_ID[event_type].rule.template == THE_USERS_WORDS[event_type]


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.rule.id)
@pytest.mark.parametrize("form", ["as published", "as recorded"])
def test_a_preset_says_of_its_example_what_it_promises(preset, form):
    known = EVENT_TYPES[preset.rule.event_type]
    data = preset.example if form == "as published" else normalise(known, preset.example)
    rendered = Template.compile(preset.rule.template, known.by_name).render(
        data, SHANGHAI, Dialect.PLAIN, preset.rule.missing
    )
    assert rendered.text == preset.says


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.rule.id)
def test_a_preset_speaks_for_an_event_with_required_fields_only(preset):
    known = EVENT_TYPES[preset.rule.event_type]
    least = {field.name: preset.example[field.name] for field in known.fields if field.required}
    rendered = Template.compile(preset.rule.template, known.by_name).render(
        least, SHANGHAI, Dialect.PLAIN, preset.rule.missing
    )
    assert not rendered.missing or preset.rule.missing != "fail"
    assert "—" not in rendered.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (('priority = "high"', 'priority = "soon"'), "FIELD_INVALID"),
        (('roles = ["kitchen_staff"]', 'roles = ["chef"]'), "FIELD_INVALID"),
        (('roles = ["kitchen_staff"]', "roles = []"), "FIELD_INVALID"),
        (("{total}", "{total.real}"), "TEMPLATE_UNSAFE"),
        (('name = "新订单提醒"', ""), "FIELD_INVALID"),
    ],
)
def test_a_broken_preset_is_named(change, reason):
    with pytest.raises(Invalid) as refusal:
        parse_presets(PRESETS.read_text("utf-8").replace(*change, 1), EVENT_TYPES)
    assert refusal.value.reason == reason
    assert refusal.value.violations[0].field == "order.created"


def test_a_muted_rule_wakes_exactly_at_the_end_of_its_mute():
    muted = rule(enabled=False, disabled_until=NOW)
    assert not muted.acts(NOW - SECOND)
    assert muted.acts(NOW)


def test_a_disabled_rule_does_not_wake_by_itself():
    assert not rule(enabled=False).acts(NOW + timedelta(days=9999))


def test_a_stores_own_setting_takes_the_place_of_the_one_for_all():
    book = RuleBook([rule("a"), rule("b"), rule("a", enabled=False, store_id="s1")], TYPES)
    assert [(e.rule.id, e.rule.enabled) for e in book.entries(SHOP.name, "s1")] == [("a", False), ("b", True)]
    assert [(e.rule.id, e.rule.enabled) for e in book.entries(SHOP.name, "s2")] == [("a", True), ("b", True)]
    assert book.entries("other.thing", "s1") == []


def test_rules_come_by_urgency_then_id():
    book = RuleBook([rule("c"), rule("b", priority=Priority.URGENT), rule("a")], TYPES)
    assert [entry.rule.id for entry in book.entries(SHOP.name, "s1")] == ["b", "a", "c"]


def test_a_rule_whose_words_no_longer_fit_the_contract_stays_with_its_problem():
    book = RuleBook([rule("bad", template="{gone}"), rule("good"), rule("odd", event_type="no.such")], TYPES)
    found = {entry.rule.id: entry for entry in book.entries(SHOP.name, "s1")}
    assert found["good"].template is not None
    assert found["bad"].template is None
    assert "gone" in found["bad"].problem
    assert "order_number" in book.entries("no.such", "")[0].problem


def test_every_role_has_a_name():
    assert set(ROLE_NAMES) == set(Role)
