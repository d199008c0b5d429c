"""Who matches whom: words, scores and the index, against examples and against brute force."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kf_session.domain.matching.conditions import (
    Among,
    Between,
    Comparison,
    Condition,
    FieldIs,
    Keywords,
    from_json,
    to_json,
)
from services.kf_session.domain.matching.lines import clipped, listing
from services.kf_session.domain.matching.profile import Profile, Value
from services.kf_session.domain.matching.scoring import Intent, check, compare, percent
from services.kf_session.domain.matching.text import anchor, fold, mentions, terms
from services.kf_session.domain.push import Item
from shared.errors import Invalid


@pytest.mark.parametrize(
    ("text", "word", "there"),
    [
        ("I SAID so", "AI", False),
        ("懂AI的人", "ai", True),
        ("懂ＡＩ，做产品", "AI", True),
        ("AI2 实验室", "AI", False),
        ("在北京工作", "北京", True),
        ("軟體開發", "开发", True),
        ("做开发", "開發", True),
        ("会 C++ 和 Go", "c++", True),
        ("machine  learning", "Machine Learning", True),
        ("Nestlé", "Nestle", False),
        ("Cafe\u0301", "café", True),
    ],
)
def test_words_are_found_whole_where_a_script_has_borders(text: str, word: str, there: bool) -> None:
    assert mentions(fold(text), fold(word)) is there


def test_what_has_no_borders_is_found_inside_other_words_too() -> None:
    """The price of needing no dictionary, see docs/adr/0022; an intent can exclude what it does not mean."""
    assert mentions(fold("东北京剧团"), fold("北京"))
    intent = Intent("i", "i", (Keywords(("北京",), Among.ALL), Keywords(("京剧",), Among.NONE, 1, True)))
    assert not compare(intent, Profile("p", "p", "东北京剧团")).matched
    assert compare(intent, Profile("p", "p", "在北京工作")).matched


_ALPHABET = "北京上海開开發发人AI a1C+,。 ＡéЯ"
_texts = st.text(_ALPHABET, max_size=12)


@given(_texts, _texts, _texts)
def test_folding_a_part_is_the_part_of_the_folded(left: str, word: str, right: str) -> None:
    if fold(word):
        assert fold(word) in fold(left + word + right)


@given(_texts, _texts)
def test_a_text_that_mentions_a_word_has_its_anchor(text: str, word: str) -> None:
    folded, wanted = fold(text), fold(word)
    if wanted and mentions(folded, wanted) and (term := anchor(wanted)) is not None:
        assert term in terms(folded)


@given(_texts)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


_words = st.sampled_from(["AI", "北京", "开发", "人", "C", "上海", "開發"])
_names = st.sampled_from(["城市", "年龄", "入职", "标签"])
_days = st.dates(date(2020, 1, 1), date(2020, 1, 9))
_numbers = st.integers(0, 9).map(float)
_values: st.SearchStrategy[Value] = st.one_of(
    _words, _numbers, _days, st.lists(_words, min_size=1, max_size=2).map(tuple)
)
_profiles = st.builds(
    Profile,
    st.just("p"),
    st.just("名"),
    st.lists(st.one_of(_words, st.just(" 在")), max_size=4).map("".join),
    st.dictionaries(_names, _values, max_size=3),
)
_weights = st.integers(1, 5)
_listed = st.lists(_words, min_size=1, max_size=3, unique=True).map(tuple)


def _between(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[Between]:
    return st.builds(
        lambda name, ends, weight, needed: Between(name, min(ends), max(ends), weight, needed),
        _names,
        st.tuples(kind, kind),
        _weights,
        st.booleans(),
    )


_conditions: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Keywords, _listed, st.sampled_from(Among), _weights, st.booleans()),
    st.builds(FieldIs, _names, st.sampled_from(Comparison), _listed, _weights, st.booleans()),
    st.builds(FieldIs, _names, st.just(Comparison.EQUALS), st.just(("5", "５.0")), _weights, st.booleans()),
    _between(_numbers),
    _between(_days),
)


def _valid(intent: Intent) -> bool:
    try:
        check(intent, "spec")
    except Invalid:
        return False
    return True


_intents = st.builds(
    Intent,
    st.just("i"),
    st.just("意图"),
    st.lists(_conditions, min_size=1, max_size=4).map(tuple),
    st.sampled_from([0.2, 0.5, 0.7, 1.0]),
).filter(_valid)


@given(_intents, _profiles)
def test_the_index_finds_every_profile_that_matches(intent: Intent, profile: Profile) -> None:
    if compare(intent, profile).matched:
        assert intent.anchors() & profile.terms()


@given(_intents, _profiles, _conditions)
def test_a_condition_that_is_met_never_lowers_the_score(
    intent: Intent, profile: Profile, more: Condition
) -> None:
    before = compare(intent, profile).score
    after = compare(Intent("i", "i", (*intent.conditions, more), intent.min_score), profile).score
    assert (after >= before) if more.met(profile) else (after <= before)
    assert 0 <= after <= 1


@given(_intents, _profiles)
def test_the_score_is_the_share_of_the_weights_and_says_its_reasons(intent: Intent, profile: Profile) -> None:
    verdict = compare(intent, profile)
    met = [one for one in intent.conditions if one.met(profile)]
    assert verdict.score == sum(o.weight for o in met) / sum(o.weight for o in intent.conditions)
    assert verdict.met == tuple(one.say() for one in met)
    assert bool(verdict.explanation) is verdict.matched
    assert compare(intent, profile) == verdict


@given(_profiles)
def test_a_profile_comes_back_from_its_row(profile: Profile) -> None:
    again = Profile.from_json(profile.id, profile.name, profile.text, profile.to_json())  # type: ignore[arg-type]
    assert (again, again.fingerprint()) == (profile, profile.fingerprint())


@given(_conditions)
def test_a_condition_comes_back_from_its_row(condition: Condition) -> None:
    assert from_json(to_json(condition)) == condition


def test_a_new_name_or_width_is_no_change_and_a_new_value_is() -> None:
    one = Profile("p", "张三", "懂AI", {"城市": "北京", "年龄": 35.0})
    assert Profile("p", "李四", "懂ＡＩ ", {"城市": "北京", "年龄": 35.0}).fingerprint() == one.fingerprint()
    assert Profile("p", "张三", "懂AI", {"城市": "北京", "年龄": 36.0}).fingerprint() != one.fingerprint()
    assert Profile("p", "张三", "懂AI", {"城市": "北京", "年龄": "35"}).fingerprint() != one.fingerprint()


def test_the_explanation_is_made_of_the_facts() -> None:
    intent = Intent(
        "i",
        "寻找AI合作伙伴",
        (
            Keywords(("AI", "人工智能"), Among.ANY, 3, True),
            FieldIs("城市", Comparison.EQUALS, ("北京", "上海"), 2),
            Between("经验", 5.0, None, 1),
        ),
    )
    verdict = compare(intent, Profile("p", "张三", "做人工智能", {"城市": "上海", "经验": 3.0}))
    assert verdict.matched
    assert verdict.explanation == "3项条件中满足2项（匹配度83%）：提到“人工智能”；城市是“上海”。"


def test_what_is_required_cannot_be_outweighed() -> None:
    wanted = (Keywords(("AI",), Among.ANY, 1, True), Keywords(("北京",), Among.ANY, 100))
    assert not compare(Intent("i", "i", wanted), Profile("p", "p", "在北京")).matched


@pytest.mark.parametrize(
    "conditions",
    [
        (),
        (Keywords(("AI",), Among.NONE),),
        (Keywords(("AI",), Among.NONE, 9, True), Keywords(("北京",), Among.ANY, 1)),
        (Keywords(("。。",), Among.ANY),),
        (Between("年龄", 5.0, 1.0),),
        (Between("年龄", None, None),),
        (Keywords(("AI",), Among.ANY, 101),),
    ],
)
def test_an_intent_that_cannot_be_found_or_met_is_refused(conditions: tuple[Condition, ...]) -> None:
    with pytest.raises(Invalid):
        check(Intent("i", "i", conditions), "spec")


def test_a_list_is_numbered_and_fits_the_platform() -> None:
    items = [Item(f"m{at}", "【" + "名" * 300 + f"】{at}", "", 0.8) for at in range(1, 4)]
    text = listing(items)
    assert len(text.encode()) <= 2048
    assert "\n1. 【" in text
    assert text.endswith("不再接收")
    assert len(clipped("名" * 1000).encode()) <= 2048
    assert percent(0.999) == "99%"
