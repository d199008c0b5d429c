"""The commands that ask a running suite: roles, rules, send, explain, doctor, dead, credentials."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.common import SERVICES
from tests.cli.conftest import STORE
from tests.cli.support import Reach
from tests.support.process import until

AWAY = {"REACH_NOTIFIER_TARGET": "127.0.0.1:1"}
ORDER = json.dumps(
    {
        "order_number": "B-1",
        "table_number": "B02",
        "total": "58.00",
        "order_time": "2026-02-20T12:30:00+08:00",
    }
)


def arrived(up: Reach, who: str) -> list[Any]:
    with urllib.request.urlopen(f"{up.variables['SANDBOX']}/sandbox/messages?to={who}", timeout=5) as answer:
        messages: list[Any] = json.load(answer)["messages"]
    return messages


def story(up: Reach, event_id: str, *, deliveries: int = 0) -> dict[str, Any]:
    """What Explain says as JSON, once the event is decided and its deliveries are over."""

    def told() -> dict[str, Any] | None:
        (one,) = json.loads(up("explain", event_id, "--json").out)["explanations"]
        found = one.get("deliveries", [])
        over = all(each["status"] == "DELIVERY_STATUS_ACCEPTED" for each in found)
        return one if one["verdict"] != "VERDICT_NOT_FOUND" and len(found) >= deliveries and over else None

    explanation: dict[str, Any] = until(told)
    return explanation


def test_a_role_is_set_listed_and_emptied(up: Reach) -> None:
    done = up("roles", "set", "cashier", "--store", "r1", "--user", "lili", "--robot", "default")
    assert done.code == 0, done.err
    assert "lili、robot:default" in done.out
    (line,) = [one for one in up("roles", "list", "--store", "r1").out.splitlines() if "cashier" in one]
    assert "lili" in line
    assert "nobody" in up("roles", "set", "cashier", "--store", "r1", "--nobody").out


def test_a_role_needs_holders_or_the_word_nobody(up: Reach) -> None:
    assert up("roles", "set", "cashier", "--store", "r1").code == 2
    assert up("roles", "set", "cashier", "--store", "r1", "--user", "lili", "--nobody").code == 2


def test_an_unknown_role_is_refused_with_those_there_are(up: Reach) -> None:
    done = up("roles", "set", "pirate", "--store", "r1", "--user", "lili")
    assert done.code == 2
    assert "kitchen_staff" in done.err


def test_an_event_is_explained_with_rule_people_words_and_attempts(up: Reach) -> None:
    assert up("roles", "set", "kitchen_staff", "--store", STORE, "--user", "wangdachu").code == 0
    published = ("publish", "order.created", "--data", ORDER, "--store", STORE, "--id", "told")
    assert up(*published).code == 0
    told = story(up, "told", deliveries=1)
    assert told["verdict"] == "VERDICT_PLANNED"
    done = up.process("explain", "told", "--lang", "zh")
    assert done.code == 0, done.err
    for word in ("order.created", "planned", "wangdachu", "kitchen_staff", "accepted", "【新订单】", "B-1"):
        assert word in done.out
    assert "\x1b" not in done.out
    assert told["steps"][0]["text_zh"] in done.out
    assert told["steps"][0]["text_en"] in up("explain", "told", "--lang", "en").out


def test_a_person_is_told_what_they_were_sent_in_a_period(up: Reach) -> None:
    assert up("send", "给你的", "--user", "periodperson").code == 0
    shown = up("explain", "--user", "periodperson")
    assert shown.code == 0
    assert "给你的" in shown.out
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    assert "给你的" not in up("explain", "--user", "periodperson", "--from", tomorrow, "--to", later).out


MATCHED = json.dumps(
    {
        "user_id": "wm-explained",
        "profile_id": "p1",
        "profile_name": "周岚",
        "intent_id": "i1",
        "intent_name": "合伙人",
        "score": 0.9,
        "explanation": "做餐饮",
        "match_id": "m1",
    }
)


def test_what_kf_session_knows_of_an_event_is_told_too_and_a_customer_may_be_asked_about(up: Reach) -> None:
    published = ("publish", "intent.matched", "--data", MATCHED, "--store", STORE, "--id", "matched-1")
    assert up(*published).code == 0

    def told() -> list[Any] | None:
        done = up("explain", "matched-1", "--json")
        steps = json.loads(done.out).get("steps", []) if done.code == 0 else []
        return [one["code"] for one in steps] or None

    assert until(told) == ["received", "no_session", "matched", "no_session"]
    shown = up("explain", "matched-1", "--lang", "zh")
    assert shown.code == 0
    assert "客户从未在该客服账号发过消息" in shown.out
    assert "not_found" not in shown.out  # the notifier knows nothing of it, and need not
    nothing = up("explain", "--customer", "wm-explained", "--store", STORE)
    assert nothing.code == 1
    assert nothing.out.strip() == "nothing was to be sent in that period"


VISIT = json.dumps(
    {
        "member_id": "m1",
        "has_assistant": False,
        "amount": "280.00",
        "settled_time": "2026-03-02T12:00:00+08:00",
    }
)


def test_the_run_that_an_event_started_is_told_by_the_events_id_and_by_its_own(up: Reach) -> None:
    published = ("publish", "consumption.settled", "--data", VISIT, "--store", STORE, "--id", "visit-1")
    assert up(*published).code == 0

    def told() -> list[Any] | None:
        done = up("explain", "visit-1", "--json")
        steps: list[Any] = json.loads(done.out).get("ai_steps", []) if done.code == 0 else []
        return steps if any(one["what"] == "end" for one in steps) else None

    steps = until(told)
    assert [steps[0]["what"], steps[0]["reason"], steps[-1]["text_en"]] == ["event", "started", "completed"]
    shown = up("explain", steps[0]["run_id"])
    assert shown.code == 0
    for word in ("app3_clue: completed", "app8_consolidation: completed", "app7_customer: completed"):
        assert word in shown.out
    assert "not_found" not in shown.out  # of the others, who know nothing of it


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("x", "--customer", "y"),
        ("x", "--user", "y"),
        ("x", "--from", "18:00"),
        ("--user", "y", "--from", "yesterday"),
    ],
)
def test_explain_wants_one_thing(reach: Reach, arguments: tuple[str, ...]) -> None:
    done = reach("explain", *arguments)
    assert done.code == 2
    assert len(done.lines) == 1


def test_an_id_that_nobody_knows_is_1(up: Reach) -> None:
    done = up("explain", "never-heard-of")
    assert done.code == 1
    assert "not_found" in done.out


def test_what_was_sent_is_counted_by_the_hour_and_apart(up: Reach) -> None:
    for text in ("一", "二"):
        assert up("send", text, "--user", "countedperson", "--store", "counted").code == 0
    shown = up("stats", "--store", "counted", "--every", "day", "--by", "type,priority")
    assert shown.code == 0, shown.err
    period, heads, row = shown.out.splitlines()
    assert "Asia/Shanghai" in period
    assert heads.split()[:5] == ["day", "type", "priority", "planned", "accepted"]
    assert row.split()[1:5] == ["message", "normal", "2", "2"]
    assert "100.0%" in row
    (whole,) = json.loads(up("stats", "--store", "counted", "--json").out)["rows"]
    assert (whole["delivery_count"], whole["accepted_count"], whole["success_ratio"]) == (2, 2, 1.0)
    assert whole["latency"]["count"] == 2
    assert "nothing was planned" in up("stats", "--store", "never", "--by", "role").out


@pytest.mark.parametrize(
    "arguments",
    [("--by", "colour"), ("--from", "yesterday"), ("--zone", "Mars/Olympus"), ("--every", "year")],
)
def test_figures_that_cannot_be_had_are_refused(up: Reach, arguments: tuple[str, ...]) -> None:
    assert up("stats", *arguments).code == 2


def test_a_rule_switched_off_sends_nothing_and_says_who_did_it(up: Reach) -> None:
    off = ("rules", "toggle", "order.created", "off", "--store", "quiet", "--for", "2h", "--comment", "盘点")
    done = up(*off)
    assert (done.code, "is off" in done.out) == (0, True), done.err
    (line,) = [
        one for one in up("rules", "list", "--store", "quiet").out.splitlines() if "order.created" in one
    ]
    assert "off by local until" in line
    up("publish", "order.created", "--data", ORDER, "--store", "quiet", "--id", "hushed")
    assert story(up, "hushed")["verdict"] == "VERDICT_RULE_DISABLED"
    assert "is on" in up("rules", "toggle", "order.created", "on", "--store", "quiet").out


def test_a_message_says_what_became_of_it(up: Reach) -> None:
    done = up("send", "**注意**", "--markdown", "--user", "sendperson", "--priority", "urgent")
    assert done.code == 0, done.err
    assert "accepted app:default sendperson" in done.err
    (message,) = arrived(up, "sendperson")
    assert message["msgtype"] == "markdown"


def test_a_message_to_somebody_who_does_not_exist_is_1(up: Reach) -> None:
    done = up("send", "喂", "--user", "nobody7")
    assert done.code == 1
    assert "failed" in done.err


def test_a_message_needs_somebody_to_go_to(up: Reach) -> None:
    assert up("send", "喂").code == 2


def test_the_doctor_finds_a_running_suite(up: Reach) -> None:
    done = up.process("doctor")
    assert all(service in done.out for service in SERVICES)
    assert "database" in done.out
    assert done.code == (1 if "✗" in done.out else 0)


def test_the_doctor_says_when_a_service_cannot_be_reached(reach: Reach) -> None:
    done = reach("doctor", **AWAY)
    assert done.code == 1
    assert "cannot be reached" in done.out
    assert "→ start it" in done.out
    assert "REACH_NOTIFIER_TARGET" in done.out


def test_a_dead_letter_is_listed_shown_and_replayed(up: Reach) -> None:
    up("publish", "weather.changed", "--data", '{"phone": "13800138000"}', "--store", STORE, "--id", "lost")
    found = until(lambda: [one for one in up("dead", "list").out.splitlines() if "weather.changed" in one])
    letter = found[0].split()[0]
    shown = up("dead", "show", letter)
    assert shown.code == 0, shown.err
    assert "reason: unknown_type" in shown.out
    assert "13800138000" not in shown.out
    replayed = up("dead", "replay", letter)
    assert replayed.code == 0, replayed.out + replayed.err
    assert letter in up("dead", "list", "--state", "replayed").out


def test_a_dead_letter_that_is_not_there_is_one_line(up: Reach) -> None:
    done = up("dead", "show", "nothing")
    assert done.code == 1
    assert len(done.lines) == 1


def test_credentials_are_added_listed_without_their_secrets_and_removed(up: Reach, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("very-secret-words\n", encoding="utf-8")
    app = ("credentials", "add", "app", "second", "--corp-id", "ww1", "--agent-id", "1000009")
    assert up(*app, "--secret-file", str(file)).code == 0
    url = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=11111111-2222-3333-4444-555555555555"
    assert up("credentials", "add", "robot", "bar", "--key", "-", stdin=url).code == 0
    hook = up("credentials", "add", "robot", "baz", "--key", "env:HOOK", HOOK=url)
    assert hook.code == 0, hook.err
    listed = up("credentials", "list").out
    assert "second" in listed
    assert "bar" in listed
    assert "very-secret-words" not in listed
    assert "11111111" not in listed
    assert up("send", "进群", "--robot", "bar").code == 0
    assert arrived(up, "11111111-2222-3333-4444-555555555555")
    assert up("credentials", "remove", "app", "second").code == 0
    assert up("credentials", "remove", "app", "second").code == 1


def test_a_secret_on_the_command_line_is_refused_and_not_repeated(reach: Reach) -> None:
    app = ("credentials", "add", "app", "x", "--corp-id", "ww1", "--agent-id", "1", "--secret", "hush-hush")
    done = reach(*app)
    assert done.code == 2
    assert "process list" in done.err
    assert "hush-hush" not in done.err


def test_a_robot_key_that_is_none_is_refused_and_not_repeated(reach: Reach) -> None:
    done = reach("credentials", "add", "robot", "x", "--key", "-", stdin="hush hush")
    assert done.code == 2
    assert "hush hush" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("roles", "list"),
        ("rules", "list"),
        ("dead", "list"),
        ("credentials", "list"),
        ("explain", "x"),
        ("stats",),
    ],
)
def test_a_service_that_is_away_is_one_line_with_the_fix(reach: Reach, arguments: tuple[str, ...]) -> None:
    done = reach(*arguments, **AWAY)
    assert (done.code, done.out) == (1, "")
    assert len(done.lines) == 1
    assert "start it (reach up" in done.err


def test_a_message_is_previewed_sent_and_found_in_the_audit_log(up: Reach) -> None:
    shown = up("send", "只看看", "--store", "r1", "--user", "lili", "--preview")
    assert shown.code == 0, shown.err
    assert "app:default lili: " in shown.out
    assert "只看看\n#" in shown.out
    sent = up("send", "真的发", "--store", "r1", "--user", "lili", "--key", "audit-1")
    assert sent.code == 0, sent.err
    listed = up("audit", "list", "--method", "SendMessage", "--about", sent.out.strip())
    (line,) = [one for one in listed.out.splitlines() if "local (local)" in one]
    assert "SendMessage" in line
    assert "真的发" not in listed.out
    assert up("audit", "list", "--subject", "nobody").out.strip() == "nothing was done by hand"
    verified = up("audit", "verify")
    assert verified.code == 0, verified.err
    (kept,) = [line for line in verified.out.splitlines() if line.startswith("notifier: ")]
    head = kept.rpartition("head ")[2]
    assert up("audit", "verify", "--noted", head).code == 0
    wrong = up("audit", "verify", "--noted", f"{head.partition(':')[0]}:{'0' * 64}")
    assert (wrong.code, "noted_differs" in wrong.out) == (1, True)
    assert up("audit", "verify", "--noted", "last week").code == 2


def test_a_role_is_set_with_what_is_known_of_its_holders(up: Reach) -> None:
    done = up(
        "roles", "set", "cashier", "--store", "r2", "--user", r"lili[name=李丽,title=a\, b]", "--user", "bo"
    )
    assert done.code == 0, done.err
    assert r"lili[name=李丽,title=a\, b]、bo" in done.out
    (line,) = [one for one in up("roles", "list", "--store", "r2").out.splitlines() if "cashier" in one]
    assert "name=李丽" in line
    wrong = up("roles", "set", "cashier", "--store", "r2", "--user", "lili[name]")
    assert (wrong.code, "zhangsan[name=张三,title=主管]" in wrong.err) == (2, True)


def test_a_robot_joins_a_group_and_breakers_are_listed_and_reset(up: Reach) -> None:
    hook = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=pool-0123456789abcdef"
    assert up("credentials", "add", "robot", "hall-2", "--pool", "hall", "--key", "-", stdin=hook).code == 0
    assert "hall " in up("credentials", "list").out
    assert "no breaker is open" in up("breakers", "list").out
    never = up("breakers", "reset", "robot:never")
    assert (never.code, "never failed" in never.err) == (1, True)
