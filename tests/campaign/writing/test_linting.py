"""Links lead to allowed hosts only, however they are written; what the platform would not take is named by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain.blockwords import BlockWords
from services.campaign.domain.campaign import Attachment, AttachmentKind, Content
from services.campaign.domain.links import LinkHosts, host_of, links
from services.campaign.domain.linting import check, findings, refuse
from shared.errors import Invalid

HOSTS = LinkHosts(["shop.example.com", "*.brand.cn", "例子.中国"])
WORDS = BlockWords(["返现", "100%"])


def link(**more: Any) -> Attachment:
    given = {"title": "新品", "url": "https://shop.example.com/a", **more}
    return Attachment(AttachmentKind.LINK, **given)


def found(content: Content, **filenames: str) -> list[tuple[str, str, str]]:
    return [(one.field, one.reason, one.found) for one in findings(content, WORDS, HOSTS, filenames)]


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example.com",
        "https://SHOP.example.com./a?b=1#c",
        "HTTPS://shop.example.com:443/",
        "https://a.b.brand.cn/x@y",
        "https://例子.中国/新品",
        "https://xn--fsqu00a.xn--fiqs8s/",
    ],
)
def test_an_allowed_host_is_allowed_however_its_link_is_written(url: str) -> None:
    assert HOSTS.allows(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example.com",
        "https://example.com",
        "https://www.shop.example.com",
        "https://brand.cn",
        "https://evilbrand.cn",
        "https://shop.example.com@evil.com/",
        "https://shop.example.com:8443/",
        "https://shop.example.com\\@evil.com/",
        "https://shop.example.com\u3000.evil.com/",
        "https://shop.example.com\u200b.evil.com/",
        "https://shop.exаmple.com/",  # a Cyrillic letter
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[shop.example.com/",
        "https://shop.example.com:port/",
        "https:///shop.example.com",
        "javascript://shop.example.com/%0aalert(1)",
        "weixin://dl/chat",
        "",
    ],
)
def test_what_could_lead_elsewhere_is_not_allowed(url: str) -> None:
    assert not HOSTS.allows(url)


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("看https://shop.example.com/a，快来", ["https://shop.example.com/a"]),
        ("看 shop.example.com/a?b=1 快来", ["shop.example.com/a?b=1"]),
        ("欢迎访问evil.com。明天见", ["evil.com"]),
        ("www.Evil.TOP", ["www.Evil.TOP"]),
        ("ｅｖｉｌ．ｃｏｍ", ["evil.com"]),
        ("evil。com", ["evil.com"]),
        ("ev\u200bil.com", ["evil.com"]),
        ("еvil.com", ["еvil.com"]),  # its first letter is Cyrillic: another host
        ("weixin://dl/chat", ["weixin://dl/chat"]),
        ("https:///evil.com", ["https:///evil.com"]),
        ("3.5折，12.30开始，v1.2", []),
        ("见面聊。OK", ["见面聊.OK"][:0]),
        ("写信给 a@mail.example", []),
    ],
)
def test_links_are_found_as_clients_find_them(text: str, urls: list[str]) -> None:
    assert [one.url for one in links(text)] == urls


def test_what_is_told_of_a_link_is_where_it_stands() -> None:
    (one,) = links("看：ｅｖ\u200bｉｌ．ｃｏｍ。")
    assert (one.start, one.end, one.found) == (2, 11, "ｅｖ\u200bｉｌ．ｃｏｍ")


@given(st.text())
def test_any_text_can_be_looked_through(text: str) -> None:
    for one in links(text):
        assert text[one.start : one.end] == one.found
        HOSTS.allows(one.url)
    host_of(text)


def test_every_field_that_people_read_is_looked_at() -> None:
    content = Content(
        "全场返 现 evil.com",
        (
            link(title="返現", description="100 ％ 满意", picture_url="https://cdn.evil.com/a.png"),
            link(url="https://evil.com"),
            Attachment(AttachmentKind.MINIPROGRAM, material="pic", title="返现", appid="wx1", page="返现"),
            Attachment(AttachmentKind.FILE, material="price-list"),
        ),
    )
    assert found(content, **{"price-list": "返现.pdf"}) == [
        ("text", "block_word", "返 现"),
        ("text", "link", "evil.com"),
        ("attachments[0].link.title", "block_word", "返現"),
        ("attachments[0].link.description", "block_word", "100 ％"),
        ("attachments[2].miniprogram.title", "block_word", "返现"),
        ("attachments[3].file.material", "block_word", "返现"),
        ("attachments[0].link.picture_url", "link", "https://cdn.evil.com/a.png"),
        ("attachments[1].link.url", "link", "https://evil.com"),
    ]


def test_a_refusal_names_the_word_its_field_and_its_place() -> None:
    with pytest.raises(Invalid) as caught:
        refuse(findings(Content("限时返\u3000现"), WORDS, HOSTS, {}))
    assert caught.value.reason == "BLOCK_WORD"
    assert caught.value.facts == {"count": "1"}
    (one,) = caught.value.violations
    assert one.field == "content.text"
    assert one.description == "characters 2 to 5: “返\u3000现” is the word “返现”, which may not be said"
    with pytest.raises(Invalid) as caught:
        refuse(findings(Content("", (link(url="https://evil.com/a"),)), WORDS, HOSTS, {}))
    assert (caught.value.reason, caught.value.facts) == ("URL_NOT_ALLOWED", {"host": "evil.com"})
    refuse([])


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Content("字" * 1334), "content.text"),
        (Content("", (link(),) * 10), "content.attachments"),
        (Content("", (link(title="字" * 43),)), "content.attachments[0].link.title"),
        (Content("", (link(description="字" * 171),)), "content.attachments[0].link.description"),
        (Content("", (Attachment(AttachmentKind.IMAGE),)), "content.attachments[0].image.material"),
        (
            Content(
                "",
                (Attachment(AttachmentKind.MINIPROGRAM, material="p", title="字" * 22, appid="w", page="p"),),
            ),
            "content.attachments[0].miniprogram.title",
        ),
    ],
)
def test_what_the_platform_would_not_take_is_named(content: Content, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(content)
    assert [one.field for one in caught.value.violations] == [field]


def test_what_just_fits_is_taken() -> None:
    check(Content("字" * 1333 + "a", (link(title="a" * 128, description="a" * 512),) * 9))
    check(Content())
