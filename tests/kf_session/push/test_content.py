"""What kf/send_msg takes, within its limits in bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kf_session.domain.content import (
    TEXT_BYTES,
    Content,
    Form,
    numbered,
    payload,
    picture_of,
    size,
    with_picture,
)
from shared.errors import Invalid

MENU = {"head_content": "h", "list": [{"type": "click", "click": {"id": "1", "content": "是"}}]}


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (Form.TEXT, {"content": "你" * 682}),
        (Form.IMAGE, {"media_id": "m"}),
        (Form.LINK, {"title": "t", "url": "https://a.example", "thumb_media_id": "m"}),
        (Form.MINIPROGRAM, {"appid": "wx1", "pagepath": "p/i.html?x=1", "thumb_media_id": "m"}),
        (Form.MENU, MENU),
        (Form.LOCATION, {"latitude": 0.0, "longitude": 180}),
        (Form.CA_LINK, {"link_url": "https://work.example/ca/1"}),
    ],
)
def test_what_fits_goes_out_as_it_is(form: Form, body: dict[str, Any]) -> None:
    content = Content.checked(form, body)
    assert content.to_json() == {"msgtype": form.value, form.value: body}
    assert Content.from_json(content.to_json()) == content
    sent = payload(content.to_json(), msgid="k", to="ann", open_kfid="kf")
    assert (sent["touser"], sent["msgid"], sent["msgtype"]) == ("ann", "k", form.value)


@pytest.mark.parametrize(
    ("form", "body", "field"),
    [
        (Form.TEXT, {"content": "你" * 683}, "content.text.content"),
        (Form.TEXT, {"content": " "}, "content.text.content"),
        (Form.VOICE, {}, "content.voice.media_id"),
        (Form.LINK, {"title": "t", "url": "ftp://x", "thumb_media_id": "m"}, "content.link.url"),
        (
            Form.MINIPROGRAM,
            {"appid": "a", "pagepath": "p/i", "thumb_media_id": "m"},
            "content.miniprogram.pagepath",
        ),
        (Form.MENU, {"list": MENU["list"] * 11}, "content.msgmenu.list"),  # type: ignore[operator]
        (
            Form.MENU,
            {"list": [{"type": "click", "click": {"content": "是" * 43}}]},
            "content.msgmenu.list[0].click.content",
        ),
        (Form.LOCATION, {"latitude": 91, "longitude": 0}, "content.location.latitude"),
        (Form.CA_LINK, {"link_url": "x"}, "content.ca_link.link_url"),
    ],
)
def test_what_does_not_is_named_with_its_fix(form: Form, body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        Content.checked(form, body)
    assert [one.field for one in caught.value.violations] == [field]
    assert caught.value.violations[0].description


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=20))
def test_a_list_always_fits_and_numbers_every_line(lines: list[str]) -> None:
    content = numbered([line.replace("\n", " ") for line in lines], head="头", tail="尾")
    assert size(content.words) <= TEXT_BYTES
    assert all(f"{number}. " in content.words for number in range(1, len(lines) + 1))


@pytest.mark.parametrize(
    ("form", "name"), [("image", "media_id"), ("link", "thumb_media_id"), ("miniprogram", "thumb_media_id")]
)
def test_a_kept_picture_is_named_and_goes_out_by_the_platforms_id(form: str, name: str) -> None:
    kept = {"msgtype": form, form: {"title": "t", name: "picture:logo"}}
    assert picture_of(kept) == "logo"
    assert with_picture(kept, "m1") == {"msgtype": form, form: {"title": "t", name: "m1"}}
    assert picture_of({"msgtype": form, form: {name: "m1"}}) == ""


def test_words_name_no_picture() -> None:
    assert picture_of(Content.text("picture:logo").to_json()) == ""
