"""The content of app messages, type by type: limits, cuts and codes of the message page."""

from collections.abc import Callable, Mapping

from sandbox.answers import Refused, missing
from sandbox.call import Call
from sandbox.media import Media
from sandbox.wecom import cards
from sandbox.wecom.fields import (
    Fields,
    cut,
    object_of,
    objects_of,
    optional_text,
    text_of,
    url_of,
    within,
)

Content = dict[str, object]


def media_of(call: Call, fields: Fields, path: str, kind: str, owner: str, name: str = "media_id") -> Media:
    """The upload that a message names; 41006 without one, 40007 when it is not there, not alive or of another type."""
    media = call.world.media.get(text_of(fields, name, path, absent=41006), owner, call.now)
    if media is None or media.type != kind:
        raise Refused(40007)
    return media


def _text(call: Call, body: Fields) -> Content:
    content = text_of(object_of(body, "text"), "content", "text.content", absent=44004)
    if len(content) * 4 > 2048 and len(content.encode("utf-8", "surrogatepass")) > 2048:
        if call.world.profile.app_text_overlong == "refuse":
            raise Refused(45002)
        content = cut(content, 2048)
    return {"content": content}


def _markdown(call: Call, body: Fields) -> Content:
    content = text_of(object_of(body, "markdown"), "content", "markdown.content", absent=44004)
    return {"content": within(content, 2048, "markdown.content")}


def _media(kind: str) -> Callable[[Call, Fields], Content]:
    def read(call: Call, body: Fields) -> Content:
        media = media_of(call, object_of(body, kind), f"{kind}.media_id", kind, call.corp_id)
        return {"media_id": media.media_id, "filename": media.filename, "bytes": len(media.content)}

    return read


def _video(call: Call, body: Fields) -> Content:
    fields = object_of(body, "video")
    return {
        **_media("video")(call, body),
        "title": cut(optional_text(fields, "title", "video.title"), 128),
        "description": cut(optional_text(fields, "description", "video.description"), 512),
    }


def _textcard(call: Call, body: Fields) -> Content:
    fields = object_of(body, "textcard")
    return {
        "title": cut(text_of(fields, "title", "textcard.title", absent=41016), 128),
        "description": cut(text_of(fields, "description", "textcard.description", absent=41033), 512),
        "url": url_of(fields, "url", "textcard.url", needed=True),
        "btntxt": optional_text(fields, "btntxt", "textcard.btntxt")[:4] or "详情",
    }


def _news(call: Call, body: Fields) -> Content:
    if body.get("safe"):
        raise Refused(40074)
    articles = objects_of(object_of(body, "news"), "articles", "news.articles", at_most=8, too_many=45008)
    return {"articles": [_article(article, f"news.articles[{i}]") for i, article in enumerate(articles)]}


def _article(article: Fields, path: str) -> Content:
    appid = optional_text(article, "appid", f"{path}.appid")
    page = within(optional_text(article, "pagepath", f"{path}.pagepath"), 128, f"{path}.pagepath")
    return {
        **news_article(article, path, url_needed=not (appid and page)),
        **({"appid": appid, "pagepath": page} if appid else {}),
    }


def news_article(article: Fields, path: str, *, url_needed: bool) -> Content:
    """Title and description cut, addresses checked: what app news and robot news share."""
    return {
        "title": cut(text_of(article, "title", f"{path}.title", absent=41016), 128),
        "description": cut(optional_text(article, "description", f"{path}.description"), 512),
        "url": url_of(article, "url", f"{path}.url", needed=url_needed),
        "picurl": url_of(article, "picurl", f"{path}.picurl", needed=False),
    }


def _mpnews(call: Call, body: Fields) -> Content:
    articles = objects_of(object_of(body, "mpnews"), "articles", "mpnews.articles", at_most=8, too_many=45008)
    return {
        "articles": [
            _mp_article(call, article, f"mpnews.articles[{i}]") for i, article in enumerate(articles)
        ]
    }


def _mp_article(call: Call, article: Fields, path: str) -> Content:
    title = cut(text_of(article, "title", f"{path}.title", absent=41016), 128)
    thumb = media_of(call, article, f"{path}.thumb_media_id", "image", call.corp_id, "thumb_media_id")
    author = within(optional_text(article, "author", f"{path}.author"), 64, f"{path}.author", code=45032)
    text = text_of(article, "content", f"{path}.content", absent=44004)
    return {
        "title": title,
        "thumb_media_id": thumb.media_id,
        "author": author,
        "content_source_url": url_of(
            article, "content_source_url", f"{path}.content_source_url", needed=False
        ),
        "content": within(text, 666 * 1024, f"{path}.content", code=45002),
        "digest": cut(optional_text(article, "digest", f"{path}.digest"), 512),
    }


def _miniprogram(call: Call, body: Fields) -> Content:
    fields, path = object_of(body, "miniprogram_notice"), "miniprogram_notice"
    if body.get("touser") == "@all" and not call.world.profile.miniprogram_to_all:
        raise Refused(40035)
    if not optional_text(fields, "appid", f"{path}.appid"):
        raise Refused(90200, "miniprogram appid missing")
    title = text_of(fields, "title", f"{path}.title", absent=41016)
    description = optional_text(fields, "description", f"{path}.description")
    for name, value in (("title", title), ("description", description)):
        if value and not 4 <= len(value) <= 12:
            raise Refused(40058, f"{path}.{name} length must be 4-12. invalid Request Parameter")
    if len(optional_text(fields, "page", f"{path}.page").encode()) > 1024:
        raise Refused(90204, "miniprogram page invalid")
    return {**fields, "title": title, "description": description, "content_item": _pairs(fields)}


def _pairs(fields: Fields) -> list[Content]:
    items = fields.get("content_item", [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise missing("miniprogram_notice.content_item")
    if len(items) > 10:
        raise Refused(90201, "miniprogram content_item out of limit")
    pairs: list[Content] = []
    for index, item in enumerate(items):
        path = f"miniprogram_notice.content_item[{index}]"
        key, value = text_of(item, "key", f"{path}.key"), text_of(item, "value", f"{path}.value")
        if len(key) > 10:
            raise Refused(90202, "miniprogram content_item key out of limit")
        if len(value) > 30:
            raise Refused(90203, "miniprogram content_item value out of limit")
        pairs.append({"key": key, "value": value})
    return pairs


def _card(call: Call, body: Fields) -> Content:
    return cards.read(object_of(body, "template_card"), cards.APP_CARDS)


APP_TYPES: Mapping[str, Callable[[Call, Fields], Content]] = {
    "text": _text,
    "markdown": _markdown,
    "image": _media("image"),
    "voice": _media("voice"),
    "file": _media("file"),
    "video": _video,
    "textcard": _textcard,
    "news": _news,
    "mpnews": _mpnews,
    "miniprogram_notice": _miniprogram,
    "template_card": _card,
}

__all__ = ["APP_TYPES", "Content", "media_of", "news_article"]
