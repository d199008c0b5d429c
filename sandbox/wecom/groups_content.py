"""What a mass send says: a text and up to nine attachments."""

from collections.abc import Callable, Mapping

from sandbox.answers import Refused, missing
from sandbox.call import Call
from sandbox.wecom.content import media_of
from sandbox.wecom.fields import Fields, object_of, optional_text, text_of, url_of, within

Attachment = dict[str, object]

_MOST_ATTACHMENTS = 9
_MOST_TEXT = 4000
_PICTURES = "https://wework.qpic.cn/"  # where media/uploadimg puts them


def content_of(call: Call, body: Fields) -> tuple[str, list[Attachment]]:
    """Text and attachments; Refused with 44004 or 41088 (both empty), 41064, 41065 or what a field of one breaks."""
    text = ""
    if body.get("text") is not None:
        text = optional_text(object_of(body, "text"), "content", "text.content")
        within(text, _MOST_TEXT, "text.content")
    given = body.get("attachments")
    if given is not None and (not isinstance(given, list) or not all(isinstance(one, dict) for one in given)):
        raise Refused(40058, "`attachments` is no list of objects. invalid Request Parameter")
    if not text and not given:
        raise Refused(44004 if given is None else 41088)
    if len(given or ()) > _MOST_ATTACHMENTS:
        raise Refused(41064)
    return text, [_attachment(call, one, f"attachments[{index}]") for index, one in enumerate(given or ())]


def _attachment(call: Call, fields: Fields, path: str) -> Attachment:
    msgtype = fields.get("msgtype")
    read = _TYPES.get(msgtype) if isinstance(msgtype, str) else None
    if read is None:
        raise Refused(41065)
    inner = fields.get(str(msgtype))
    if not isinstance(inner, dict):
        raise missing(f"{path}.{msgtype}")
    return {"msgtype": msgtype, str(msgtype): read(call, inner, f"{path}.{msgtype}")}


def _image(call: Call, fields: Fields, path: str) -> Attachment:
    if fields.get("media_id"):
        return _media("image")(call, fields, path)
    if not fields.get("pic_url"):
        raise Refused(41006)
    address = url_of(fields, "pic_url", f"{path}.pic_url", needed=True)
    if call.world.profile.mass_send_foreign_picture == "refuse" and not address.startswith(_PICTURES):
        raise Refused(40058, f"`{path}.pic_url` is not from uploadimg. invalid Request Parameter")
    return {"pic_url": address}


def _link(call: Call, fields: Fields, path: str) -> Attachment:
    return {
        "title": within(text_of(fields, "title", f"{path}.title"), 128, f"{path}.title"),
        "picurl": url_of(fields, "picurl", f"{path}.picurl", needed=False),
        "desc": within(optional_text(fields, "desc", f"{path}.desc"), 512, f"{path}.desc"),
        "url": url_of(fields, "url", f"{path}.url", needed=True),
    }


def _miniprogram(call: Call, fields: Fields, path: str) -> Attachment:
    picture = media_of(call, fields, f"{path}.pic_media_id", "image", call.corp_id, "pic_media_id")
    return {
        "title": within(text_of(fields, "title", f"{path}.title"), 64, f"{path}.title"),
        "pic_media_id": picture.media_id,
        "appid": text_of(fields, "appid", f"{path}.appid"),
        "page": text_of(fields, "page", f"{path}.page"),
    }


def _media(kind: str) -> Callable[[Call, Fields, str], Attachment]:
    def read(call: Call, fields: Fields, path: str) -> Attachment:
        return {"media_id": media_of(call, fields, f"{path}.media_id", kind, call.corp_id).media_id}

    return read


_TYPES: Mapping[str, Callable[[Call, Fields, str], Attachment]] = {
    "image": _image,
    "link": _link,
    "miniprogram": _miniprogram,
    "video": _media("video"),
    "file": _media("file"),
}
