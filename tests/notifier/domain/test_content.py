"""The exact bytes of a message: within the limits, the reference counted, the same on every try."""

from __future__ import annotations

import json
import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.content import (
    LIMITS,
    RESEND_MARK,
    Content,
    Format,
    app_payload,
    fit,
    payload_bytes,
    reference,
    robot_payload,
    room,
)
from services.notifier.domain.routing import Channel, Target, TargetKind
from shared.errors import Invalid
from shared.text.cutting import atoms, clip, head, size
from tests.notifier.domain.builders import user

TEXTS = st.text(alphabet=st.sampled_from("a字👍\u0301\n <@li>[]()`*"), max_size=400).map(lambda t: t * 20)


def test_an_app_message_carries_whom_what_and_the_duplicate_check():
    targets = [
        user("zhang"),
        user("li"),
        Target(TargetKind.PARTY, "2", "default"),
        Target(TargetKind.TAG, "7", "default"),
    ]
    assert app_payload(Content(Format.TEXT, "你好"), targets, agent_id=1000002, delivery_id="d1") == {
        "touser": "li|zhang",
        "toparty": "2",
        "totag": "7",
        "msgtype": "text",
        "agentid": 1000002,
        "text": {"content": f"你好\n{reference('d1')}"},
        "enable_duplicate_check": 1,
        "duplicate_check_interval": 1800,
    }


def test_an_app_message_is_the_same_bytes_in_whatever_order_its_receivers_were_read():
    targets = [user(name) for name in ("zhang", "li", "Wang")]
    made = {
        payload_bytes(app_payload(Content(Format.TEXT, "你好"), order, agent_id=1, delivery_id="d1"))
        for order in permutations(targets)
    }
    assert len(made) == 1


def test_a_resend_of_an_app_message_is_the_same_bytes():
    content, targets = Content(Format.MARKDOWN, "**好**"), [user("li")]
    first = payload_bytes(app_payload(content, targets, agent_id=1, delivery_id="d1"))
    stored = Content.from_json(json.loads(json.dumps(content.to_json())))
    assert payload_bytes(app_payload(stored, targets, agent_id=1, delivery_id="d1")) == first


def test_two_deliveries_with_equal_words_are_different_messages():
    content = Content(Format.TEXT, "你好")
    assert app_payload(content, [user("li")], agent_id=1, delivery_id="d1") != app_payload(
        content, [user("li")], agent_id=1, delivery_id="d2"
    )


def test_a_reference_is_short_and_stable():
    assert reference("d1") == reference("d1")
    assert re.fullmatch("#[0-9a-z]{6}", reference("d1"))
    assert len({reference(str(number)) for number in range(2000)}) == 2000


def test_the_canonical_bytes_do_not_depend_on_the_order_of_building():
    assert (
        payload_bytes({"b": 1, "a": "字"})
        == payload_bytes({"a": "字", "b": 1})
        == '{"a":"字","b":1}'.encode()
    )


def test_a_card_goes_out_with_its_own_limits():
    card = Content.card("题" * 100, "述" * 500, "https://x.example/1", "看")
    body = app_payload(card, [user("li")], agent_id=1, delivery_id="d1")["textcard"]
    assert size(body["title"]) <= 128
    assert size(body["description"]) <= 512
    assert body["description"].endswith(f"…\n{reference('d1')}")
    assert (body["url"], body["btntxt"]) == ("https://x.example/1", "看")


def test_a_description_of_five_hundred_bytes_is_not_cut():
    card = Content.card("题", "x" * 500, "https://x.example/1")
    assert not fit(card, Channel.APP, "d1").cut


@pytest.mark.parametrize(
    "fields",
    [
        ("", "d", "https://x"),
        ("t", " ", "https://x"),
        ("t", "d", "javascript:alert(1)"),
        ("t", "d", "https://" + "x" * 2048),
        ("t", "d", "https://x", "五个字太长"),
    ],
)
def test_a_card_that_cannot_be_sent_as_it_is_is_refused(fields):
    with pytest.raises(Invalid):
        Content.card(*fields)


def test_a_robot_posts_text_with_its_mentions_and_markdown_without():
    content = Content(Format.TEXT, "开会", mentioned=("li", "@all"), mentioned_mobiles=("13800138000",))
    assert robot_payload(content) == {
        "msgtype": "text",
        "text": {
            "content": "开会",
            "mentioned_list": ["li", "@all"],
            "mentioned_mobile_list": ["13800138000"],
        },
    }
    assert robot_payload(Content(Format.MARKDOWN, "# 会")) == {
        "msgtype": "markdown",
        "markdown": {"content": "# 会"},
    }


def test_a_robot_refuses_a_card():
    with pytest.raises(Invalid):
        robot_payload(Content.card("t", "d", "https://x"))


@given(TEXTS)
def test_a_marked_resend_says_what_the_first_one_said(text):
    content = Content(Format.TEXT, text)
    first = robot_payload(content)["text"]["content"]
    assert robot_payload(content, resend=True)["text"]["content"] == f"{RESEND_MARK}\n{first}"


@pytest.mark.parametrize(("channel", "form"), LIMITS)
@given(text=TEXTS)
def test_no_text_exceeds_its_limit_and_a_cut_one_says_so(channel, form, text):
    fitted = fit(Content(form, text), channel, "d1", resend=True)
    assert fitted.byte_count == len(fitted.text.encode()) <= fitted.byte_limit == LIMITS[channel, form]
    assert fitted.cut == (size(text) > room(channel, form))
    assert fitted.cut == ("…" in fitted.text)


@pytest.mark.parametrize(("channel", "form"), LIMITS)
def test_a_text_that_just_fits_is_whole_and_one_byte_more_is_cut(channel, form):
    most = room(channel, form)
    assert not fit(Content(form, "x" * most), channel, "d1").cut
    assert fit(Content(form, "x" * (most + 1)), channel, "d1").cut
    assert fit(Content(form, "x" * most), channel, "d1", resend=True).byte_count == LIMITS[channel, form]


@given(text=TEXTS, limit=st.integers(3, 300))
def test_a_clip_is_a_start_of_the_text_with_an_ellipsis(text, limit):
    clipped = clip(text, limit)
    assert size(clipped) <= limit
    assert clipped == text or text.startswith(clipped.removesuffix("…"))


@given(TEXTS)
def test_atoms_lose_nothing(text):
    assert "".join(atoms(text)) == text


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("看[这里](https://x.example)", 20, "看"),
        ("好<@zhangsan>", 8, "好"),
        ('a<font color="info">绿</font>b', 20, "a"),
        ("e\u0301e\u0301", 4, "e\u0301"),
        ("👨\u200d👩\u200d👧x", 12, "👨\u200d👩"),
        ("**很重要**的", 5, "**很"),
        ("字字", 5, "字"),
    ],
)
def test_a_cut_falls_between_what_belongs_together_where_that_is_possible(text, limit, kept):
    assert head(text, limit) == kept


def test_a_cut_prefers_the_end_of_a_line_that_is_near():
    assert clip("x" * 40 + "\n" + "y" * 40, 50) == "x" * 40 + "…"
    assert clip("x" * 10 + "\n" + "y" * 80, 50) == "x" * 10 + "\n" + "y" * 36 + "…"
