"""Templates: what they may ask for, what they show, and what a value cannot make them say."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.text.neutral import Dialect
from shared.text.template import MissingPolicy, Template
from tests.notifier.domain.builders import FIELDS, SHANGHAI


def say(text, missing=MissingPolicy.FAIL, dialect=Dialect.PLAIN, /, **data):
    return Template.compile(text, FIELDS).render(data, SHANGHAI, dialect, missing).text


@pytest.mark.parametrize(
    ("text", "data", "said"),
    [
        ("{total}", {"total": 280}, "280.00"),
        ("{total}", {"total": 280.0}, "280.00"),
        ("{total}", {"total": "280.5"}, "280.50"),
        ("{total}", {"total": "0.005"}, "0.01"),
        ("{total}", {"total": 1.005}, "1.01"),
        ("{total}", {"total": "-3"}, "-3.00"),
        ("{total}", {"total": "免费"}, "免费"),
        ("{total}", {"total": "1e999999"}, "1e999999"),
        ("{total}", {"total": float("nan")}, "nan"),
        ("{at}", {"at": "2026-02-20T12:30:00"}, "2026-02-20 12:30:00"),
        ("{at}", {"at": "2026-02-20T04:30:00Z"}, "2026-02-20 12:30:00"),
        ("{at}", {"at": "2026-02-20T12:30:00.999+08:00"}, "2026-02-20 12:30:00"),
        ("{at}", {"at": "2026-02-20"}, "2026-02-20"),
        ("{at}", {"at": "tomorrow"}, "tomorrow"),
        ("{at}", {"at": "9999-12-31T23:59:59-10:00"}, "9999-12-31T23:59:59-10:00"),
        ("{at|date}", {"at": "2026-02-20T23:30:00Z"}, "2026-02-21"),
        ("{at|time}", {"at": "2026-02-20T04:30:59Z"}, "12:30"),
        ("{day}", {"day": "2026-02-20"}, "2026-02-20"),
        ("{phone}", {"phone": "13800138000"}, "138****8000"),
        ("{phone}", {"phone": "+86 138-0013-8000"}, "138****8000"),
        ("{phone}", {"phone": "１３８００１３８０００"}, "138****8000"),
        ("{phone}", {"phone": "8812345"}, "****45"),
        ("{phone}", {"phone": "110"}, "****"),
        ("{phone}", {"phone": "张三"}, "****"),
        ("{phone}", {"phone": 13800138000}, "138****8000"),
        ("{stock}", {"stock": 5}, "5"),
        ("{stock}", {"stock": 5.0}, "5"),
        ("{stock}", {"stock": 2.5}, "2.5"),
        ("{stock}", {"stock": 5, "unit": "份"}, "5份"),
        ("{stock}{unit}", {"stock": 5, "unit": "份"}, "5份"),
        ("{stock|money}", {"stock": 5, "unit": "份"}, "5.00"),
        ("{people}人", {"people": 4, "unit": "份"}, "4人"),
        ("{happy}", {"happy": False}, "否"),
        ("{tags}", {"tags": ["辣", "微辣"]}, "辣、微辣"),
        ("{note|truncate:3}", {"note": "一二三四"}, "一二…"),
        ("{note|truncate:4}", {"note": "一二三四"}, "一二三四"),
        ("{note|default:无}", {}, "无"),
        ("{note|default:}!", {"note": "  "}, "!"),
        ("{note|default:{{}}", {"note": "x"}, None),
        ("{note|upper}", {"note": "abc"}, "ABC"),
        ("{note|mask_phone}", {"note": "13800138000"}, "138****8000"),
        ("{{{note}}}", {"note": "x"}, "{x}"),
        ("{note}", {"note": "{total} {{ %s"}, "{total} {{ %s"),
        ("{note}", {"note": {"a": 1}}, "—"),
        ("{note}", {"note": "\u200b"}, "—"),
        ("{note}\n{other}", {"note": "a\r\nb", "other": "c"}, "a b\nc"),
    ],
)
def test_shows_a_value_as_its_field_declares(text, data, said):
    if said is None:
        with pytest.raises(Invalid):
            say(text, **data)
    else:
        assert say(text, **data) == said


@pytest.mark.parametrize("shape", ["{phone}", "{phone|upper}", "{phone|truncate:20}", "{phone|mask_phone}"])
@given(number=st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_never_shows_a_whole_phone(shape, number):
    assert say(shape, phone=number) == f"{number[:3]}****{number[-4:]}"


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("{total.x}", "TEMPLATE_UNSAFE", "attributes"),
        ("{total.__class__}", "TEMPLATE_UNSAFE", "attributes"),
        ("{total[0]}", "TEMPLATE_UNSAFE", "index"),
        ("{total!r}", "TEMPLATE_UNSAFE", "conversions"),
        ("{total:>9999}", "TEMPLATE_UNSAFE", "formats"),
        ("{0}", "TEMPLATE_UNSAFE", "not a placeholder"),
        ("{}", "TEMPLATE_UNSAFE", "empty"),
        ("{ total }", "TEMPLATE_UNSAFE", "without blanks"),
        ("{note|upper|truncate:3}", "TEMPLATE_UNSAFE", "one filter"),
        ("{a{b}}", "TEMPLATE_UNSAFE", "inside a placeholder"),
        ("{totl}", "TEMPLATE_UNSAFE", "did you mean 'total'"),
        ("{items}", "TEMPLATE_UNSAFE", "parts of its own"),
        ("{total|nope}", "TEMPLATE_UNSAFE", "no filter 'nope'"),
        ("{total|upper:1}", "TEMPLATE_UNSAFE", "takes no argument"),
        ("{note|truncate}", "TEMPLATE_UNSAFE", "needs an argument"),
        ("{note|truncate:0}", "TEMPLATE_UNSAFE", "from 1 to 1000"),
        ("{note|truncate:٣}", "TEMPLATE_UNSAFE", "from 1 to 1000"),
        ("{phone|date}", "TEMPLATE_UNSAFE", "does not fit"),
        ("<@{note}>", "TEMPLATE_UNSAFE", "inside <…>"),
        ("<{note}", "TEMPLATE_UNSAFE", "inside <…>"),
        ('<a href="https://x/{note}">y</a>', "TEMPLATE_UNSAFE", "inside <…>"),
        ("@{note}", "TEMPLATE_UNSAFE", "after @"),
        ("@a{note}", "TEMPLATE_UNSAFE", "after @"),
        ("[x](https://x/{note})", "TEMPLATE_UNSAFE", "address"),
        ("https://{note}/", "TEMPLATE_UNSAFE", "host"),
        ("{note", "FIELD_INVALID", "never closed"),
        ("note}", "FIELD_INVALID", "closes nothing"),
        ("", "FIELD_INVALID", "empty"),
        ("a\x00b", "FIELD_INVALID", "U+0000"),
        ("\ud800", "FIELD_INVALID", "U+D800"),
        ("字" * 2731, "FIELD_INVALID", "8193 bytes"),
        ("{note}" * 65, "FIELD_INVALID", "65 placeholders"),
    ],
)
def test_refuses_what_it_may_not_do_and_says_where_and_what_instead(text, reason, words):
    with pytest.raises(Invalid) as refusal:
        Template.compile(text, FIELDS)
    assert refusal.value.reason == reason
    assert any(words in violation.description for violation in refusal.value.violations)
    assert all(re.match(r"line \d+, column \d+: ", v.description) for v in refusal.value.violations)


def test_names_the_line_and_column_of_every_objection():
    with pytest.raises(Invalid) as refusal:
        Template.compile("a\nb{nope}\n{total.x}", FIELDS)
    assert [v.description.partition(":")[0] for v in refusal.value.violations] == [
        "line 2, column 2",
        "line 3, column 1",
    ]


def test_a_template_of_exactly_eight_kibibytes_is_accepted():
    assert Template.compile("x" * 8192, FIELDS)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (MissingPolicy.PLACEHOLDER, "头\n备注：—\n尾"),
        (MissingPolicy.OMIT_LINE, "头\n尾"),
    ],
)
def test_follows_its_policy_for_a_missing_value(policy, said):
    rendered = Template.compile("头\n备注：{note}\n尾", FIELDS).render({}, SHANGHAI, Dialect.PLAIN, policy)
    assert rendered.text == said
    assert rendered.missing == ("note",)


def test_a_default_is_not_missing():
    template = Template.compile("{note|default:无}", FIELDS)
    assert template.render({}, SHANGHAI, Dialect.PLAIN, MissingPolicy.FAIL).missing == ()


def test_knows_whom_its_own_words_mention():
    assert Template.compile("<@li> {note} <@li> <@all>", FIELDS).mentions == ("li", "all")


# What a client could take for a mention, a link or markup; the template below has none of its own.
_ACTIVE = re.compile(
    r"<[@/a-zA-Z]|@\s*all|\]\s*\(|\[|`|\*|~~|__|://"
    r"|[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
    re.IGNORECASE,
)
_ACTIVE_PLAIN = re.compile(
    r"<[@/a-zA-Z]|@\s*all|://|[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
    re.IGNORECASE,
)
_BLOCK = re.compile(r"^\s*(?:>|#{1,6}(?:\s|$)|[-+](?:\s|$)|-{3}|={3}|[0-9]+[.)](?:\s|$)|\|)", re.MULTILINE)

_PIECES = (
    [
        "<@all>",
        "<@li>",
        "@all",
        "@",
        "all",
        "[x]",
        "(http://e.vil)",
        "http",
        ":",
        "/",
        "//",
        "://",
        "<font",
        "<",
    ],
    [">", "a href=", "#", " ", "\n", "\r\n", "\u2028", "\u200b", "\u202e", "`", "```", "**", "_", "~~", "-"],
    ["1.", "1)", "+ ", "=", "&lt;", "&#60;", "\\", "|", "\t", "{note}", "{{", "\ud800", "\U000e0041"],
)
_EVIL = st.lists(
    st.one_of(
        st.sampled_from([piece for row in _PIECES for piece in row]),
        st.text(max_size=5),
    ),
    max_size=8,
).map("".join)


@given(note=_EVIL, other=_EVIL)
@example("http:", "//e.vil")
@example("http:/", "/e.vil")
@example("<", "@all>")
@example("1", ". x")
@example("@\u200ball", "")
def test_no_value_mentions_links_or_formats_in_markdown(note, other):
    said = say(
        "{note}{other}\n客户 {note} {other}",
        MissingPolicy.PLACEHOLDER,
        Dialect.MARKDOWN,
        note=note,
        other=other,
    )
    assert _ACTIVE.search(said) is None, said
    assert _BLOCK.search(said) is None, said
    assert said.count("\n") == 1
    said.encode()


@given(note=_EVIL, other=_EVIL)
@example("http:", "//e.vil")
@example("@al", "l")
def test_no_value_mentions_or_links_in_plain_text(note, other):
    said = say(
        "{note}{other}\n客户 {note} {other}", MissingPolicy.PLACEHOLDER, Dialect.PLAIN, note=note, other=other
    )
    assert _ACTIVE_PLAIN.search(said) is None, said
    assert said.count("\n") == 1
    said.encode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    data=st.dictionaries(st.sampled_from(sorted(FIELDS)), _JSON),
    policy=st.sampled_from(MissingPolicy),
    dialect=st.sampled_from(Dialect),
)
def test_rendering_never_raises_whatever_the_event_holds(data, policy, dialect):
    text = "".join(f"{{{name}}}\n" for name in FIELDS if name != "items")
    say(text, policy, dialect, **data)


@pytest.mark.parametrize(
    "value",
    ["x" * 1_000_000, 10**5000, ["y" * 9000] * 9000, "字\u0300" * 99999],
    ids=["text", "number", "list", "marks"],
)
def test_the_size_of_what_it_says_is_bounded(value):
    assert len(say("{note}{note}", note=value)) <= 2 * 1024


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_any_text_is_either_refused_or_compiled(text):
    with contextlib.suppress(Invalid):
        Template.compile(text, FIELDS)
