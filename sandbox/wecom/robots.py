"""Group robots: webhook/send and its upload."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping

from sandbox.answers import Refused
from sandbox.call import Answer, Call, Endpoint
from sandbox.directory import Robot
from sandbox.journal import Message
from sandbox.media import kind_of
from sandbox.wecom import cards
from sandbox.wecom.content import Content, media_of, news_article
from sandbox.wecom.fields import Fields, object_of, objects_of, text_of, within
from sandbox.wecom.media import store_upload

_MENTION = re.compile(r"<@([^<>\s]{1,64})>")
_MAX_IMAGE = 2 * 1024 * 1024


def _robot(call: Call) -> Robot:
    robot = call.world.directory.robot(call.query.get("key", ""))
    if robot is None:
        raise Refused(93000)
    if robot.disabled:
        raise Refused(93004)
    return robot


def _send(call: Call) -> Answer:
    world, robot = call.world, _robot(call)
    body = call.json()
    msgtype = body.get("msgtype")
    if not isinstance(msgtype, str) or msgtype not in _TYPES:
        raise Refused(40008)
    content, mentions = _TYPES[msgtype](call, robot, body)
    key = f"robot/{robot.key}"
    if not world.minute.room(key, world.profile.robot_per_minute, call.now, world.profile.rate_window):
        raise Refused(45009)
    world.minute.take(key, call.now)
    message = Message(
        msgid=world.new_id("R"),
        msgtype=msgtype,
        content=content,
        sender="群机器人",
        agentid=None,
        corp_id="",
        received_at=call.now,
        request_number=call.record.number,
        mentions=mentions,
    )
    world.journal.totals["accepted"] += 1
    world.journal.arrive("robot", robot.key, robot.group, message)
    return {"errcode": 0, "errmsg": "ok"}


Read = tuple[Content, tuple[str, ...]]


def _text(call: Call, robot: Robot, body: Fields) -> Read:
    fields = object_of(body, "text")
    content = text_of(fields, "content", "text.content", absent=44004)
    within(content, call.world.profile.robot_text_max_bytes, "text.content")
    named, mobiles = _listed(fields, "mentioned_list"), _listed(fields, "mentioned_mobile_list")
    by_mobile = {user.mobile: user.userid for user in call.world.directory.users.values() if user.mobile}
    mentions = [*named, *(by_mobile.get(mobile, mobile) for mobile in mobiles), *_MENTION.findall(content)]
    shown = {"content": content, "mentioned_list": named, "mentioned_mobile_list": mobiles}
    return {name: value for name, value in shown.items() if value}, tuple(dict.fromkeys(mentions))


def _listed(fields: Fields, name: str) -> list[str]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Refused(40058, f"`text.{name}` is not an array of strings. invalid Request Parameter")
    return value


def _markdown(call: Call, robot: Robot, body: Fields) -> Read:
    content = text_of(object_of(body, "markdown"), "content", "markdown.content", absent=44004)
    within(content, 4096, "markdown.content")
    return {"content": content}, tuple(dict.fromkeys(_MENTION.findall(content)))


def _markdown_v2(call: Call, robot: Robot, body: Fields) -> Read:
    content = text_of(object_of(body, "markdown_v2"), "content", "markdown_v2.content", absent=44004)
    return {"content": within(content, 4096, "markdown_v2.content")}, ()


def _image(call: Call, robot: Robot, body: Fields) -> Read:
    fields, profile = object_of(body, "image"), call.world.profile
    encoded, md5 = text_of(fields, "base64", "image.base64"), text_of(fields, "md5", "image.md5")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(40058, "image.base64 invalid. invalid Request Parameter") from None
    if len(raw) > _MAX_IMAGE:
        raise Refused(profile.robot_image_size_errcode)
    if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5.lower():
        raise Refused(profile.robot_image_md5_errcode)
    if kind_of(raw) not in ("jpg", "png"):
        raise Refused(40123)
    return {"md5": md5, "bytes": len(raw)}, ()


def _news(call: Call, robot: Robot, body: Fields) -> Read:
    articles = objects_of(object_of(body, "news"), "articles", "news.articles", at_most=8, too_many=45008)
    read = [
        news_article(article, f"news.articles[{i}]", url_needed=True) for i, article in enumerate(articles)
    ]
    return {"articles": read}, ()


def _media(kind: str) -> Callable[[Call, Robot, Fields], Read]:
    def read(call: Call, robot: Robot, body: Fields) -> Read:
        media = media_of(call, object_of(body, kind), f"{kind}.media_id", kind, _owner(robot))
        return {"media_id": media.media_id, "filename": media.filename, "bytes": len(media.content)}, ()

    return read


def _card(call: Call, robot: Robot, body: Fields) -> Read:
    return cards.read(object_of(body, "template_card"), cards.ROBOT_CARDS), ()


def _upload(call: Call) -> Answer:
    return store_upload(call, _owner(_robot(call)), ("file", "voice"))


def _owner(robot: Robot) -> str:
    return f"robot/{robot.key}"


_TYPES: Mapping[str, Callable[[Call, Robot, Fields], Read]] = {
    "text": _text,
    "markdown": _markdown,
    "markdown_v2": _markdown_v2,
    "image": _image,
    "news": _news,
    "file": _media("file"),
    "voice": _media("voice"),
    "template_card": _card,
}

ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/webhook/send": Endpoint("POST", _send, kinds=None, counted=False),
    "/cgi-bin/webhook/upload_media": Endpoint("POST", _upload, kinds=None),
}
