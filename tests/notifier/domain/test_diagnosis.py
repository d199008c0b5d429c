"""What the doctor makes of what it saw, where no sandbox can show it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from services.notifier.domain.diagnosis.platform import (
    AppFacts,
    app_findings,
)
from services.notifier.domain.diagnosis.process import broker_finding, callback_finding, is_aes_key
from services.notifier.domain.diagnosis.visibility import Range, Sight, holders, sight
from services.notifier.domain.routing import Role, Target, TargetKind
from shared.bus import BusStatus
from shared.ops.finding import CheckStatus
from shared.wecom.diagnosis import caller_address, platform_clock_finding
from shared.wecom.errcodes import ENTRIES, classify
from shared.wecom.outcome import Outcome, State

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
APP = AppFacts("default", "ww1", 1000002)
AES_KEY = base64.b64encode(bytes(32)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("status", "embedded", "outcome", "fix"),
    [
        (BusStatus(False, False), True, CheckStatus.OK, ""),
        (BusStatus(True, True), False, CheckStatus.OK, ""),
        (BusStatus(False, False, last_error="refused"), False, CheckStatus.FAILED, "REACH_AMQP_URL"),
        (BusStatus(True, False), False, CheckStatus.FAILED, "start RabbitMQ"),
        (BusStatus(True, True, blocked=True), False, CheckStatus.WARNING, "rabbitmqctl status"),
    ],
)
def test_a_broker_that_is_away_or_blocked_is_named(
    status: BusStatus, embedded: bool, outcome: CheckStatus, fix: str
) -> None:
    finding = broker_finding(status, embedded=embedded)
    assert finding.status == outcome
    assert fix in finding.fix
    assert bool(finding.fix) == (outcome is not CheckStatus.OK)


@pytest.mark.parametrize(
    ("token", "aes_key", "outcome", "found"),
    [
        (None, None, CheckStatus.SKIPPED, "not configured"),
        ("t", None, CheckStatus.FAILED, "WECOM_APP_CALLBACK_AES_KEY is not set"),
        (None, AES_KEY, CheckStatus.FAILED, "WECOM_APP_CALLBACK_TOKEN is not set"),
        ("t", AES_KEY[:-1], CheckStatus.FAILED, "no EncodingAESKey"),
        ("t", AES_KEY, CheckStatus.OK, "set"),
    ],
)
def test_half_a_callback_is_named(
    token: str | None, aes_key: str | None, outcome: CheckStatus, found: str
) -> None:
    finding = callback_finding(token, aes_key)
    assert finding.status == outcome
    assert found in finding.found
    assert ("接收消息" in finding.fix) == (outcome is CheckStatus.FAILED)
    assert AES_KEY not in str(finding)


def test_an_encoding_aes_key_has_43_characters_that_are_32_bytes() -> None:
    assert is_aes_key(AES_KEY)
    for wrong in ("", AES_KEY + "A", "!" * 43, AES_KEY[:-1]):
        assert not is_aes_key(wrong)


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (None, CheckStatus.SKIPPED),
        (NOON, CheckStatus.OK),
        (NOON - timedelta(seconds=5), CheckStatus.OK),
        (NOON + timedelta(seconds=7), CheckStatus.OK),
        (NOON - timedelta(seconds=7), CheckStatus.WARNING),
        (NOON + timedelta(seconds=9), CheckStatus.WARNING),
    ],
)
def test_a_slow_answer_is_not_taken_for_a_wrong_clock(told: datetime | None, outcome: CheckStatus) -> None:
    finding = platform_clock_finding(NOON, NOON + timedelta(seconds=3), told)
    assert finding.status == outcome


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (
            "not allow to access from your ip, hint: [1], from ip: 203.0.113.7, more info at https://x",
            "203.0.113.7",
        ),
        ("from ip: 2001:db8::7, more", "2001:db8::7"),
        ("from ip: 1.2.3.4.5, more", ""),
        ("not allow", ""),
    ],
)
def test_the_address_to_trust_is_the_one_the_platform_saw(text: str, address: str) -> None:
    assert caller_address(Outcome(State.REJECTED_PERMANENT, errcode=60020, errmsg=text)) == address


@pytest.mark.parametrize("code", sorted(set(ENTRIES) - {0}))
def test_every_errcode_has_a_fix_and_hides_what_comes_after_it(code: int) -> None:
    entry = classify(code)
    state = State.REJECTED_RETRYABLE if entry.retryable else State.REJECTED_PERMANENT
    outcome = Outcome(state, errcode=code, errmsg="no", retry_class=entry.retry_class)
    findings = app_findings(APP, outcome)
    assert [one.name for one in findings] == ["wecom_token:default", "wecom_ip:default", "wecom_app:default"]
    told = [one.status for one in findings]
    (at,) = [i for i, status in enumerate(told) if status in (CheckStatus.FAILED, CheckStatus.WARNING)]
    assert findings[at].fix
    assert set(told[at + 1 :]) <= {CheckStatus.SKIPPED}
    assert set(told[:at]) <= {CheckStatus.OK}


def test_what_the_range_does_not_say_is_asked_about() -> None:
    member = Target.checked(TargetKind.USER, "ZhangSan")
    odd: list[dict[str, object]] = [
        {},
        {"allow_userinfos": []},
        {"allow_userinfos": {"user": {}}},
        {"allow_userinfos": {"user": ["zhangsan", {"id": "zhangsan"}]}},
    ]
    assert not any(Range.of(answer).lists(member) for answer in odd)
    assert Range.of({"allow_userinfos": {"user": [{"userid": "zhangsan"}]}}).lists(member)
    assert Range.of({"allow_partys": {"partyid": [2]}}).lists(Target.checked(TargetKind.PARTY, "2"))
    assert Range.of({"allow_tags": {"tagid": [3]}}).lists(Target.checked(TargetKind.TAG, "3"))
    assert Range().lists(Target.checked(TargetKind.USER, "@all"))


def test_an_answer_that_says_nothing_of_the_person_is_no_verdict() -> None:
    for errcode in (None, -1, 45009, 48002, 60020):
        assert sight(errcode) is Sight.UNTRIED


def test_a_holder_of_many_roles_is_asked_about_once() -> None:
    lower, upper = (Target.checked(TargetKind.USER, name) for name in ("lili", "LiLi"))
    robot = Target.checked(TargetKind.ROBOT, "front")
    bindings = {("", Role.MANAGER): (lower, robot), ("s1", Role.CASHIER): (upper,)}
    (holder,) = holders(bindings, "app:default")
    assert holder.posts == (("", Role.MANAGER), ("s1", Role.CASHIER))
    assert holder.spelled == "user:lili (manager and 1 more)"
