"""The content of KF messages, type by type, with the limits of the send_msg page."""

from collections.abc import Callable, Mapping

from sandbox.answers import Refused, missing
from sandbox.call import Call
from sandbox.wecom.content import Content, media_of
from sandbox.wecom.fields import Fields, cut, object_of, optional_text, text_of, within

_TEXT_BYTES = 2048
_TAPPED = ("click", "view", "miniprogram")
_MOST_TAPPED = 10


def _text(call: Call, body: Fields) -> Content:
    content = text_of(object_of(body, "text"), "content", "text.content", absent=44004)
    if call.world.profile.kf_text_overlong == "refuse":
        within(content, _TEXT_BYTES, "text.content")
    return {"content": cut(content, _TEXT_BYTES)}


def _media(kind: str) -> Callable[[Call, Fields], Content]:
    def read(call: Call, body: Fields) -> Content:
        media = media_of(call, object_of(body, kind), f"{kind}.media_id", kind, call.corp_id)
        return {"media_id": media.media_id, "filename": media.filename, "bytes": len(media.content)}

    return read


def _link(call: Call, body: Fields) -> Content:
    fields = object_of(body, "link")
    title = within(text_of(fields, "title", "link.title"), 128, "link.title")
    url = within(text_of(fields, "url", "link.url"), 2048, "link.url")
    thumb = media_of(call, fields, "link.thumb_media_id", "image", call.corp_id, "thumb_media_id")
    desc = cut(optional_text(fields, "desc", "link.desc"), 512)
    return {"title": title, "desc": desc, "url": url, "thumb_media_id": thumb.media_id}


def _miniprogram(call: Call, body: Fields) -> Content:
    fields, path = object_of(body, "miniprogram"), "miniprogram"
    appid = text_of(fields, "appid", f"{path}.appid")
    title = within(optional_text(fields, "title", f"{path}.title"), 64, f"{path}.title")
    page = text_of(fields, "pagepath", f"{path}.pagepath")
    if not page.partition("?")[0].endswith(".html"):
        raise Refused(90204, "miniprogram page invalid")
    thumb = media_of(call, fields, f"{path}.thumb_media_id", "image", call.corp_id, "thumb_media_id")
    return {"appid": appid, "title": title, "pagepath": page, "thumb_media_id": thumb.media_id}


def _menu(call: Call, body: Fields) -> Content:
    fields, path = object_of(body, "msgmenu"), "msgmenu"
    items = fields.get("list", [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise missing(f"{path}.list")
    if len(items) > call.world.profile.kf_menu_items:
        raise Refused(95008)
    read = [_item(item, f"{path}.list[{i}]") for i, item in enumerate(items)]
    if sum(item["type"] in _TAPPED for item in read) > _MOST_TAPPED:
        raise Refused(95008)
    head, tail = (
        within(optional_text(fields, name, f"{path}.{name}"), 1024, f"{path}.{name}")
        for name in ("head_content", "tail_content")
    )
    if not (read or head or tail):
        raise missing(f"{path}.list")
    return {"head_content": head, "list": read, "tail_content": tail}


def _item(item: Fields, path: str) -> Content:
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _ITEMS:
        raise Refused(95009)
    fields, limits = object_of(item, kind), _ITEMS[kind]
    found: Content = {}
    for name, limit in limits.items():
        where = f"{path}.{kind}.{name}"
        # Only a click's id may be missing: a tap then comes back with none.
        value = optional_text(fields, name, where) if name == "id" else text_of(fields, name, where)
        found[name] = within(value, limit, where)
    if kind == "text":
        newline = fields.get("no_newline", 0)
        if newline not in (0, 1):
            raise Refused(40058, f"`{path}.text.no_newline` is 0 or 1. invalid Request Parameter")
        found["no_newline"] = int(newline)
    return {"type": kind, kind: found}


def _location(call: Call, body: Fields) -> Content:
    fields = object_of(body, "location")
    found: Content = {name: optional_text(fields, name, f"location.{name}") for name in ("name", "address")}
    for name, most in (("latitude", 90), ("longitude", 180)):
        value = fields.get(name)
        if value is None:
            raise missing(f"location.{name}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
            raise Refused(40058, f"`location.{name}` is no {name}. invalid Request Parameter")
        found[name] = value
    return found


def _needed(kind: str, name: str) -> Callable[[Call, Fields], Content]:
    def read(call: Call, body: Fields) -> Content:
        return {name: text_of(object_of(body, kind), name, f"{kind}.{name}")}

    return read


_ITEMS: Mapping[str, Mapping[str, int]] = {
    "click": {"id": 128, "content": 128},
    "view": {"url": 2048, "content": 1024},
    "miniprogram": {"appid": 32, "pagepath": 1024, "content": 1024},
    "text": {"content": 256},
}

KF_TYPES: Mapping[str, Callable[[Call, Fields], Content]] = {
    "text": _text,
    "image": _media("image"),
    "voice": _media("voice"),
    "video": _media("video"),
    "file": _media("file"),
    "link": _link,
    "miniprogram": _miniprogram,
    "msgmenu": _menu,
    "location": _location,
    "ca_link": _needed("ca_link", "link_url"),
    "business_card": _needed("business_card", "userid"),
}
