"""How the platform words its answers."""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

HELP = "https://open.work.weixin.qq.com/devtool/query?e="

TEXTS: Mapping[int, str] = {
    -1: "system busy",
    40001: "invalid credential",
    40003: "invalid userid",
    40004: "invalid media file type",
    40005: "invalid media type",
    40006: "invalid media size",
    40007: "invalid media_id",
    40008: "invalid message type",
    40009: "invalid image size",
    40013: "invalid corpid",
    40014: "invalid access_token",
    40032: "invalid userid list length",
    40035: "invalid parameter",
    40050: "chatid not exist",
    40056: "invalid agentid",
    40058: "invalid Request Parameter",
    40063: "some parameters are empty",
    40068: "invalid tagid",
    40074: "news not support safe",
    40096: "invalid external userid",
    40091: "invalid corpid or secret",
    40123: "invalid image content",
    41001: "access_token missing",
    41002: "corpid missing",
    41004: "secret missing",
    41006: "media_id missing",
    41011: "agentid missing",
    41016: "title missing",
    41033: "description missing",
    41046: "missing msgid",
    41047: "invalid msgid",
    41048: "no customer to send",
    41063: "group msg is being sent, please try again later",
    41064: "attachments count exceeds the limit",
    41065: "invalid attachments msgtype",
    41088: "attachments is empty",
    41091: "chat id list size exceeds the limit",
    41093: "group msg is cancelled",
    41094: "remind too frequently",
    42001: "access_token expired",
    42052: "msgid too old to recall",
    44001: "empty media data",
    44004: "empty content",
    45001: "media size out of limit",
    45002: "content size out of limit",
    45007: "voice duration out of limit",
    45008: "article count out of limit",
    45009: "api freq out of limit",
    45032: "author length out of limit",
    45033: "api concurrent out of limit",
    45034: "url must start with http:// or https://",
    46004: "user not exist",
    48002: "api forbidden",
    48007: "kf account is not authorized",
    49008: "chat is dismissed",
    50003: "app is disabled",
    50100: "invalid cursor",
    60011: "no privilege to access/modify contact/party/agent",
    60020: "not allow to access from your ip",
    60111: "userid not found",
    60123: "invalid department id",
    81013: "user & party & tag all invalid",
    60251: "open_kfid missing",
    60253: "user is not a servicer",
    81017: "the number of objects exceeds the limit",
    82001: "user & party & tag all empty",
    82002: "party count out of limit",
    82003: "tag count out of limit",
    84074: "no permission to use external contact",
    90501: "chat is not external group chat",
    90509: "chat is not external group chat",
    90511: "invalid opengid",
    93000: "invalid webhook url",
    93004: "robot is disabled",
    95000: "invalid open_kfid",
    95001: "send msg count limit",
    95002: "send msg time limit",
    95004: "open_kfid not exist",
    95005: "kf account count limit",
    95006: "invalid kf account name",
    95007: "invalid msg token",
    95008: "menu list count limit",
    95009: "invalid menu click type",
    95014: "invalid servicer",
    95016: "not allow to change session status",
    95018: "send msg session status invalid",
    95019: "servicer is not in receiving status",
    301002: "not allow operate another agent with this accesstoken",
    301019: "file md5 not match",
}

_hints = itertools.count(secrets.randbelow(10**12))


class Refused(Exception):
    """A business failure: answered with HTTP 200 and this errcode. `extra` are fields beside it."""

    def __init__(
        self, errcode: int, text: str | None = None, extra: Mapping[str, object] | None = None
    ) -> None:
        self.errcode = errcode
        self.text = text if text is not None else TEXTS.get(errcode, "request refused")
        self.extra = extra or {}
        super().__init__(f"{errcode} {self.text}")


@dataclass(frozen=True, slots=True)
class Blob:
    """An answer that is a file."""

    content: bytes
    content_type: str
    filename: str
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(errcode: int, text: str | None, client: str, now: float) -> dict[str, object]:
    """The answer to a refused call, with the tail that vendor support asks for."""
    words = text if text is not None else TEXTS.get(errcode, "request refused")
    hint = f"[{int(now)}{next(_hints) % 10**15:015d}]"
    return {
        "errcode": errcode,
        "errmsg": f"{words}, hint: {hint}, from ip: {client}, more info at {HELP}{errcode}",
    }


def missing(path: str) -> Refused:
    """A required field is not there."""
    return Refused(40058, f"missing field `body.{path}`. invalid Request Parameter")


def too_long(path: str, limit: int) -> Refused:
    """A field is longer than its limit in bytes (or, for lists, items)."""
    return Refused(40058, f"{path} exceed max length {limit}. invalid Request Parameter")
