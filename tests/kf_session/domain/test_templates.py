"""Templates of pushes: what they say of one match and of several, and that no limit is passed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kf_session.domain.fitting import fit, fit_between
from services.kf_session.domain.push import Item
from services.kf_session.domain.rendering import checked, lint, render
from services.kf_session.domain.templates import DEFAULT_SPEC, Msgtype, TemplateSpec, compile_spec
from shared.errors import Invalid

FACTS = {
    "profile_name": "张三",
    "intent_name": "寻找AI合作伙伴",
    "explanation": "具有AI背景，在北京，有创业经验",
    "matched_conditions": ["AI", "北京"],
}
LINK = TemplateSpec(
    Msgtype.LINK,
    single="{explanation}",
    line="{profile_name}",
    title="{intent_name}",
    url="https://example.com/m",
    thumb_media_id="M1",
)
MINIPROGRAM = TemplateSpec(
    Msgtype.MINIPROGRAM,
    single="{profile_name}",
    heading="{count}位新匹配",
    appid="wx1",
    pagepath="pages/m.html",
    thumb_media_id="M1",
)
MENU = TemplateSpec(
    Msgtype.MSGMENU,
    single="【{profile_name}】",
    line="{position} {profile_name}",
    heading="{count}位",
    ending="回复退订不再接收",
)
SPECS = [DEFAULT_SPEC, LINK, MINIPROGRAM, MENU]


def match(ident="m1", score=0.85, **facts):
    return Item(ident, "【张三】寻找AI合作伙伴 85%", "details", score=score, facts={**FACTS, **facts})


def test_the_default_says_of_one_match_what_it_always_said():
    content = render(compile_spec(DEFAULT_SPEC), [match()])
    assert content == {
        "msgtype": "text",
        "text": {
            "content": "🎯 找到匹配的联系人\n\n【张三】符合您的意图【寻找AI合作伙伴】\n匹配度：85%\n"
            "具有AI背景，在北京，有创业经验\n\n回复“查看1”了解详情"
        },
    }


def test_the_default_numbers_several_matches():
    content = render(compile_spec(DEFAULT_SPEC), [match(), match("m2", 0.9, profile_name="李四")])
    assert content["text"]["content"].split("\n") == [
        "🎯 找到2位匹配的联系人",
        "",
        "1. 【张三】符合【寻找AI合作伙伴】 匹配度：85%",
        "2. 【李四】符合【寻找AI合作伙伴】 匹配度：90%",
        "",
        "回复“查看1”了解详情",
    ]


def test_a_match_that_was_read_back_shows_the_line_it_has():
    content = render(compile_spec(DEFAULT_SPEC), [Item("m1", "【王五】寻找投资人", "")])
    assert "\n1. 【王五】寻找投资人\n" in content["text"]["content"]


def test_a_missing_explanation_leaves_its_line_out():
    content = render(compile_spec(DEFAULT_SPEC), [match(explanation="")])
    assert "匹配度：85%\n\n回复" in content["text"]["content"]


def test_a_name_cannot_mention_or_link():
    content = render(compile_spec(DEFAULT_SPEC), [match(profile_name="<a href='http://x'>中奖</a>")])
    assert "<a" not in content["text"]["content"]


def test_a_menu_has_an_item_for_each_match_that_names_it():
    body = render(compile_spec(MENU), [match("m1"), match("m2", profile_name="李四")])["msgmenu"]
    assert body["head_content"] == "2位"
    assert [one["click"] for one in body["list"]] == [
        {"id": "details:m1", "content": "1 张三"},
        {"id": "details:m2", "content": "2 李四"},
    ]


def test_a_card_can_lead_to_the_match_it_is_about():
    spec = replace(LINK, url="https://example.com/m?scene=item:{item}")
    body = render(compile_spec(spec), [match("m/1")])["link"]
    assert body["url"] == "https://example.com/m?scene=item:m%2F1"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (replace(DEFAULT_SPEC, single="{profile_nam}"), "spec.single"),
        (replace(DEFAULT_SPEC, heading="{profile_name}"), "spec.heading"),
        (replace(DEFAULT_SPEC, line=""), "spec.line"),
        (replace(DEFAULT_SPEC, url="https://example.com"), "spec.url"),
        (replace(LINK, url="http://example.com"), "spec.url"),
        (replace(MINIPROGRAM, pagepath="pages/m"), "spec.pagepath"),
        (replace(DEFAULT_SPEC, single="长" * 700), "spec.single"),
        (replace(DEFAULT_SPEC, line="{profile_name}" + "长" * 150), "spec.line"),
        (replace(LINK, line="{profile_name}" + "长" * 40), "spec.line"),
        (replace(MINIPROGRAM, heading="长" * 22), "spec.heading"),
        (replace(MENU, line="{profile_name}" + "长" * 40), "spec.line"),
    ],
)
def test_refuses_what_would_not_come_out_as_written(spec, field):
    with pytest.raises(Invalid) as refused:
        checked(spec)
    assert field in [one.field for one in refused.value.violations]


def test_says_what_would_be_cut_without_refusing():
    _, found = lint(replace(DEFAULT_SPEC, single="长" * 700))
    assert [one.field for one in found] == ["spec.single"]


def test_every_template_survives_being_stored():
    assert [TemplateSpec.from_json(one.to_json()) for one in SPECS] == SPECS


words = st.text(st.characters(codec="utf-8"), max_size=900)
matches = st.lists(
    st.builds(
        lambda line, name, why, score: Item(
            "m", line, "", score, {"profile_name": name, "explanation": why, "intent_name": name}
        ),
        words,
        words,
        words,
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=14,
)
LIMITS = {"content": 2048, "title": 128, "desc": 512, "head_content": 1024, "tail_content": 1024}


@pytest.mark.parametrize("spec", SPECS, ids=lambda one: one.msgtype)
@given(matches)
def test_no_value_takes_a_message_over_a_limit(spec, items):
    body = render(compile_spec(spec), items)[spec.msgtype]
    for name, limit in LIMITS.items():
        limit = 64 if spec.msgtype == "miniprogram" and name == "title" else limit
        assert len(str(body.get(name, "")).encode()) <= limit
    for one in body.get("list", []):
        assert len(one["click"]["content"].encode()) <= 128
    assert len(body.get("list", [])) <= 10


@given(st.lists(words, max_size=20), words, words, st.integers(3, 3000))
def test_a_list_never_passes_its_limit(lines, heading, ending, limit):
    assert len("\n".join(fit(lines, limit)).encode()) <= limit
    assert len(fit_between(heading, lines, ending, limit).encode()) <= limit


def test_the_longest_line_is_cut_and_short_ones_are_left_alone():
    assert fit(["短", "长" * 100, "也短"], 100) == ["短", "长" * 28 + "…", "也短"]
