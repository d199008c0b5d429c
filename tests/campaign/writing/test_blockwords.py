"""Words that may not be said are found however they are written, and where they are not they are not found."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain.blockwords import MOST, BlockWords, visible
from services.campaign.domain.folding import fold
from services.campaign.domain.lookalikes import LOOKALIKES

WORDS = ("返现", "保本", "医疗治愈", "coupon", "100%", "VX", "cat", "100")
LIST = BlockWords(WORDS)
NOISE = st.text(
    st.one_of(
        st.characters(categories=("Zs", "Zl", "Zp", "Cf", "Mn", "Po", "Ps", "Pe", "Sm", "So", "Sc")),
        st.sampled_from(
            [" ", "\u3000", "\u200b", "\ufeff", "\ufe0f", "\n", "。", "*", "丶", "丨", "灬", "💰", "|"]
        ),
    ).filter(lambda char: not fold(char).text),
    max_size=3,
)


def found(text: str, words: BlockWords = LIST) -> list[tuple[str, str]]:
    """The words and what stands for them."""
    return [(one.word, one.found) for one in words.find(text)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("限时返 现活动", "返现"),
        ("限时返\u3000现活动", "返现"),  # a blank of full width
        ("限時返現活動", "返现"),  # traditional
        ("返\u200b现", "返现"),
        ("返️现", "返现"),
        ("返丶现、返。", "返现"),
        ("返\n现", "返现"),
        ("返-*-现", "返现"),
        ("返🔥现", "返现"),
        ("返\u20dd现", "返现"),  # inside of a circle
        ("㊩疗治愈", "医疗治愈"),
        ("醫療治癒", "医疗治愈"),
        ("医療治愈", "医疗治愈"),  # Japanese
        ("ＣＯＵＰＯＮ", "coupon"),
        ("с0uр0n", "coupon"),  # Cyrillic and digits
        ("ϲοupοn", "coupon"),  # Greek
        ("𝓬𝓸𝓾𝓹𝓸𝓷", "coupon"),
        ("🅲🅾🆄🅿🅾🅽", "coupon"),
        ("🇨🇴🇺🇵🇴🇳", "coupon"),
        ("ⓒⓞⓤⓟⓞⓝ", "coupon"),
        ("cóũpön", "coupon"),
        ("c.o.u.p.o.n", "coupon"),
        ("加vx123", "VX"),
        ("赚１００％", "100%"),
        ("a c-a-t b", "cat"),
    ],
)
def test_a_word_is_found_however_it_is_written(text: str, word: str) -> None:
    assert word in [one for one, _ in found(text)]


@pytest.mark.parametrize(
    "text",
    [
        "返回现场",
        "category",
        "magicat",
        "topi\u200bcat",  # a word for those who read it
        "1000元",
        "1,000元",
        "vxworks",
        "满100减10",  # 100 is a word of the list, see below
        "",
        "💰",
    ],
)
def test_what_is_another_word_is_not_found(text: str) -> None:
    assert found(text, BlockWords(w for w in WORDS if w != "100" or "满" not in text)) == []


def test_the_place_is_that_of_the_text_as_it_was_written() -> None:
    (one,) = LIST.find("🔥全场返 \u200b現！")
    assert (one.start, one.end, one.found) == (3, 7, "返 \u200b現")


def test_a_sign_of_a_word_has_to_be_there() -> None:
    assert found("100 元", BlockWords(["100%"])) == []
    assert found("100\u200b ％", BlockWords(["100%"])) == [("100%", "100\u200b ％")]
    assert found("给你💰️", BlockWords(["💰"])) == [("💰", "💰")]


def test_overlapping_words_are_all_told_and_no_more_than_a_bound() -> None:
    assert found("最低价", BlockWords(["最低", "低价", "最低价"])) == [
        ("最低", "最低"),
        ("最低价", "最低价"),
        ("低价", "低价"),
    ]
    assert len(LIST.find("返现" * 500)) == MOST


@given(
    st.sampled_from([w for w in WORDS if w != "100%"]), st.text(max_size=20), st.text(max_size=20), st.data()
)
def test_nothing_that_may_stand_between_characters_hides_a_word(
    word: str, before: str, after: str, data: st.DataObject
) -> None:
    hidden = "".join(char + data.draw(NOISE) for char in word[:-1]) + word[-1]
    text = f"{before}。{hidden}。{after}"
    hits = [(one.start, one.found) for one in BlockWords([word]).find(text)]
    # Twins of the word in what was drawn are found as well.
    assert any(start <= len(before) + 1 and hidden.endswith(what[-1]) for start, what in hits)


@given(st.text(), st.lists(st.text(min_size=1, max_size=4), max_size=6))
def test_what_stands_at_a_place_reads_as_the_word(text: str, words: list[str]) -> None:
    for one in BlockWords(words).find(text):
        assert text[one.start : one.end] == one.found
        assert any(
            fold(one.word, signs=signs).text in fold(one.found, signs=signs).text for signs in (False, True)
        )


@given(st.text(), st.text())
def test_a_text_folded_in_parts_is_the_folded_text(one: str, other: str) -> None:
    assert fold(one).text + fold(other).text == fold(one + other).text


def test_folding_what_is_folded_changes_nothing() -> None:
    # Everything but syllables, rare ideographs and private characters, which are many and all alike.
    planes = [*range(0x9FFF), *range(0xD7A4, 0xE000), *range(0xF900, 0x20000), *range(0x2F800, 0x2FA20)]
    for char in map(chr, planes):
        core = fold(char).text
        again = fold(core).text
        assert again == core, (char, core, again)


def test_look_alikes_are_letters_and_lead_to_what_they_look_like() -> None:
    for like, chars in LOOKALIKES.items():
        for char in chars:
            assert fold(char).text == fold(like).text, (char, like)


def test_a_word_of_which_nothing_can_be_seen_is_known() -> None:
    assert not visible(" \u200b\ufe0f")
    assert visible("💰")
    assert BlockWords([" \u200b"]).find("a \u200b b") == []


def test_a_long_list_over_a_long_text_takes_milliseconds() -> None:
    many = BlockWords([f"词{number}" for number in range(2000)] + ["返" * 30])
    text = "返" * 29 + "现" + "词" * 3900
    many.find(text)
    began = time.perf_counter()
    many.find(text)
    assert time.perf_counter() - began < 0.5
