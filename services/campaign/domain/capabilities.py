"""What customer groups can and cannot, by design of the platform: they are no place to talk with a robot."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from shared.errors import Unsupported
from shared.values import value_class


class Capability(StrEnum):
    """Something that a message may want to be possible."""

    TEXT = "text"
    IMAGE = "image"
    LINK = "link"
    MINIPROGRAM = "miniprogram"
    VIDEO = "video"
    FILE = "file"
    MARKDOWN = "markdown"
    ROBOT = "robot"
    MENTION = "mention"
    REPLY = "reply"
    STREAM = "stream"
    RECALL = "recall"
    SEND_BY_ITSELF = "send_by_itself"
    READ_RECEIPT = "read_receipt"


@value_class
class Statement:
    """Whether there is such a thing."""

    capability: Capability
    available: bool
    text_en: str
    """Why not, or within which bounds."""
    text_zh: str


STATEMENTS: Final = (
    Statement(Capability.TEXT, True, "up to 4,000 bytes, plain", "最多4000字节的纯文本"),
    Statement(Capability.IMAGE, True, "JPG or PNG, up to 10 MiB", "JPG或PNG，最大10MB"),
    Statement(
        Capability.LINK,
        True,
        "a card; https, on hosts that are allowed",
        "图文卡片；仅限已允许域名的https链接",
    ),
    Statement(Capability.MINIPROGRAM, True, "a page of a mini-program that is linked", "已关联小程序的页面"),
    Statement(Capability.VIDEO, True, "MP4, up to 10 MiB", "MP4，最大10MB"),
    Statement(Capability.FILE, True, "up to 20 MiB", "最大20MB"),
    Statement(
        Capability.MARKDOWN,
        False,
        "customers see text as it is, without markup",
        "客户群只显示纯文本，不支持Markdown",
    ),
    Statement(
        Capability.ROBOT,
        False,
        "group robots work in internal groups only; a customer group has none",
        "群机器人只能用于企业内部群，客户群没有机器人",
    ),
    Statement(
        Capability.MENTION,
        False,
        "a mass-send cannot mention: an @ in it is a character",
        "群发消息不能@成员，其中的@只是普通字符",
    ),
    Statement(
        Capability.REPLY,
        False,
        "what members of a customer group write is not told to any program",
        "客户群成员的发言不会通知任何程序，无法接收与回复",
    ),
    Statement(
        Capability.STREAM,
        False,
        "a mass-send is one message; nothing in it can grow or change",
        "群发是一条完整消息，发出后不能流式更新",
    ),
    Statement(
        Capability.RECALL,
        False,
        "only what no owner has sent yet can be stopped",
        "只能停止尚未被群主发送的任务，已发送的无法撤回",
    ),
    Statement(
        Capability.SEND_BY_ITSELF,
        False,
        "the owner of each group has to confirm in WeCom",
        "每个群的群主必须在企业微信中确认发送",
    ),
    Statement(Capability.READ_RECEIPT, False, "the platform tells nobody who has read", "平台不提供已读回执"),
)
"""One for every capability."""


def require(wanted: Collection[Capability]) -> None:
    """Raises Unsupported (CAPABILITY_MISSING) for the first of *wanted* that customer groups have not."""
    for one in STATEMENTS:
        if one.capability in wanted and not one.available:
            text = f"customer groups cannot: {one.capability.value}; {one.text_en}"
            raise Unsupported("CAPABILITY_MISSING", text, capability=one.capability.value)
