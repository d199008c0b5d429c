"""Nothing secret gets through, nothing harmless is eaten."""

from __future__ import annotations

import json
import string
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.redaction import Redactor, mask_phone, redact

SECRETS = st.text(string.ascii_letters + string.digits + "_-", min_size=8, max_size=60).map("Zq7".__add__)
# Letters only around it, so that the text's own masks cannot hold the secret by chance.
AROUND = st.text(alphabet=" .,;/|\n你好", max_size=10)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ("https://qyapi.weixin.qq.com/cgi-bin/gettoken?corpid=ww1&corpsecret={}&debug=1", "corpid=ww1"),
        ("https://qyapi.weixin.qq.com/cgi-bin/message/send?access_token={}", "/message/send"),
        ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={}", "/webhook/send"),
        ("next=%2Fcgi-bin%2Fx%3Fa%3D1%26access_token%3D{}%26b", "next="),
        ("next=%2Fwebhook%2Fsend%3Fkey%3D{}", "webhook"),
        ("error: access_token={}", "error"),
        ("Authorization: Bearer {}", "Authorization"),
        ("(b'authorization', b'Bearer {}')", "authorization"),
        ("{{'Authorization': 'Basic {}'}}", "Authorization"),
        ("reach_0123456789ab_{}", "reach_0123456789ab_"),
        ("invalid key sk-{} given", "invalid key"),
        ("amqp://guest:{}@host:5672/vhost", "@host:5672/vhost"),
        ("postgresql+psycopg://reach:{}@db.internal/reach", "db.internal/reach"),
        ("postgresql://reach:p@{}@db/reach", "@db/reach"),
        ('{{"access_token": "{}", "expires_in": 7200}}', '"expires_in": 7200'),
        (r"{{\"corpsecret\": \"{}\"}}", "corpsecret"),
        ("Callback(token='{}', agent_id=7)", "agent_id=7"),
        ("DASHSCOPE_API_KEY={}", "DASHSCOPE_API_KEY"),
        ("WECOM_KF_SECRET={}", "WECOM_KF_SECRET"),
        ("password: {}", "password"),
        ("a" + "=a" * 3000 + "&access_token={}", "access_token"),
    ],
)
@given(secret=SECRETS, before=AROUND, after=st.sampled_from(["", " ", "\n", " and more"]))
def test_a_secret_does_not_survive_in_any_of_its_shapes(
    shape: str, kept: str, secret: str, before: str, after: str
) -> None:
    masked = redact(before + shape.format(secret) + after)
    assert secret not in masked
    assert kept in masked


@pytest.mark.parametrize(
    "text",
    [
        "routing_key=order.created",
        "idempotency_key=a1b2c3",
        "sort key: created",
        "the token expired; fetch a new one",
        "reach_notifier_deliveries_total",
        "disk-usage-is-high task-queue-length",
        "amqp://rabbit:5672/vhost",
        "12:30:00 at 1700000000000 and 17000000000123",
        "errcode=40014 errmsg=invalid access_token",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "订单 13 号桌 180 元",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("written", "masked"),
    [
        ("13800138000", "138****8000"),
        ("手机13912345678号", "手机139****5678号"),
        ("+86 138-0013-8000", "+86 138****8000"),
        ("8613800138000", "86138****8000"),
        ("tel:13800138000,13900139000", "tel:138****8000,139****9000"),
        ("https://h/members/13800138000", "https://h/members/138****8000"),
    ],
)
def test_mobile_numbers_keep_their_ends(written: str, masked: str) -> None:
    assert redact(written) == masked


@given(
    st.lists(
        st.sampled_from(
            (
                *(
                    "access_token",
                    "key",
                    "=",
                    ": ",
                    '"',
                    "'",
                    "Bearer ",
                    "sk-",
                    "://",
                    "u:p@h",
                    "\\",
                    "%3D",
                    "&",
                    " ",
                ),
                *(
                    "13800138000",
                    "abcdef123456",
                    "reach_0123456789ab_",
                    "eyJhbGciOi.eyJzdWIi.x",
                    "***",
                    "1",
                    "你",
                ),
            )
        ),
        max_size=12,
    ).map("".join)
)
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(
    st.text(string.printable + "访客’", min_size=8, max_size=40).filter(lambda s: "*" not in s and s.strip())
)
def test_a_registered_secret_is_masked_wherever_and_however_it_stands(secret: str) -> None:
    redactor = Redactor([secret])
    for text in (f"see {secret}!", f"https://h/?x={quote(secret, safe='')}", json.dumps({"note": secret})):
        assert secret not in redactor(text)
    assert quote(secret, safe="") not in redactor(f"x/{quote(secret, safe='')}/y")
    assert json.dumps(secret)[1:-1] not in redactor(json.dumps({"note": secret}))


def test_a_longer_secret_that_begins_with_a_shorter_one_is_masked_whole() -> None:
    assert Redactor(["abcdef", "abcdefghij"])("abcdefghij") == "***"


def test_a_registered_word_too_short_to_be_a_secret_does_not_eat_text() -> None:
    assert Redactor(["app"])("an application") == "an application"


def test_a_phone_column_never_shows_its_middle() -> None:
    assert mask_phone("13800138000") == "138****8000"
    assert mask_phone("02112345678") == "*********78"
    assert mask_phone("") == ""


@pytest.mark.parametrize(
    "piece", ["a=", "a:", "'", '\\"', "1", "13800138", "://a:", "access_token", "%3D", "bearer "]
)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    started = time.perf_counter()
    redact(text)
    assert time.perf_counter() - started < 2.0
