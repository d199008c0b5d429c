"""The list of characters nobody can see, held against the interpreter's own database."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from shared.text.neutral import LINE_BREAKS, Dialect, neutralise


@pytest.mark.parametrize("dialect", Dialect)
def test_every_control_and_format_character_is_removed_or_becomes_a_blank(dialect):
    invisible = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp")
    ]
    left = {c for c in invisible if neutralise(f"a{c}b", dialect) != ("a b" if c in LINE_BREAKS else "ab")}
    assert left == set()


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "value", ["A01", "宫保鸡丁", "-5", "280.00", "2026-02-20 12:30:00", "O'Brien & 张", "👍🏽", "12:30"]
)
def test_leaves_ordinary_values_alone(value, dialect):
    assert neutralise(value, dialect) == value


@pytest.mark.parametrize(
    ("value", "plain", "markdown"),
    [
        ("<@all>", "＜＠all＞", "＜＠all＞"),
        ("a@b.com", "a＠b.com", "a＠b.com"),
        ("[x](http://y)", "[x](http：//y)", "［x］（http：//y）"),
        ("# 标题", "# 标题", "＃ 标题"),
        ("**粗**", "**粗**", "＊＊粗＊＊"),
        ("&lt;a", "＆lt;a", "＆lt;a"),
        ("//e.vil", "／／e.vil", "／／e.vil"),
        ("- 项", "- 项", "－ 项"),
        ("1. 项", "1. 项", "1． 项"),
        ("  a\n b ", "a  b", "a  b"),
        ("\ud800", "\ufffd", "\ufffd"),
    ],
)
def test_replaces_by_what_reads_the_same(value, plain, markdown):
    assert neutralise(value, Dialect.PLAIN) == plain
    assert neutralise(value, Dialect.MARKDOWN) == markdown
