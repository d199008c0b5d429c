"""What is wrong with the process itself: broker, secret key, callback settings."""

from __future__ import annotations

import base64
import binascii

from shared.bus import BusStatus
from shared.ops.finding import CheckStatus, Finding

CALLBACK_PAGE = "应用管理 → 应用 → the app → 接收消息 → 设置API接收"


def broker_finding(status: BusStatus, *, embedded: bool) -> Finding:
    """``broker``: are events coming in and going out?"""
    if embedded:
        return Finding("broker", CheckStatus.OK, "embedded: events stay in this process")
    if not (status.connected and status.consuming):
        return Finding(
            "broker",
            CheckStatus.FAILED,
            status.last_error or "not connected",
            "start RabbitMQ, or correct REACH_AMQP_URL; this process comes back by itself",
        )
    if status.blocked:
        return Finding(
            "broker",
            CheckStatus.WARNING,
            "RabbitMQ refuses publishers because of an alarm; events wait in the outbox",
            "free memory or disk on the broker (rabbitmqctl status shows the alarm)",
        )
    return Finding("broker", CheckStatus.OK, "connected, consuming")


def callback_finding(token: str | None, aes_key: str | None) -> Finding:
    """``wecom_callback``: are the two words of the app's callback page there, and is the key one?

    A process does not start with one of them or with a key that is none; credentials that are stored might.
    """
    name = "wecom_callback"
    if token is None and aes_key is None:
        return Finding(
            name, CheckStatus.SKIPPED, "not configured: members' answers and buttons are not received"
        )
    if token is None or aes_key is None:
        missing = "TOKEN" if token is None else "AES_KEY"
        return Finding(
            name,
            CheckStatus.FAILED,
            f"WECOM_APP_CALLBACK_{missing} is not set, and the other one is",
            f"set WECOM_APP_CALLBACK_TOKEN and WECOM_APP_CALLBACK_AES_KEY, both as on {CALLBACK_PAGE}, or neither",
        )
    if not is_aes_key(aes_key):
        return Finding(
            name,
            CheckStatus.FAILED,
            "WECOM_APP_CALLBACK_AES_KEY is no EncodingAESKey: that has 43 letters and digits",
            f"copy it from {CALLBACK_PAGE} → EncodingAESKey",
        )
    return Finding(name, CheckStatus.OK, "token and EncodingAESKey are set")


def is_aes_key(text: str) -> bool:
    """Whether *text* is the EncodingAESKey of a callback page: 43 characters that decode to 32 bytes."""
    try:
        return len(text) == 43 and len(base64.b64decode(f"{text}=", validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def key_file_finding(*, mine: str, now: str | None, problem: str, path: str, loose: bool) -> Finding:
    """``secret_key``: does the file still hold the key that this process runs with?

    *mine* and *now* are fingerprints; *problem* says why the file cannot be read; *loose*, that others may read it.
    """
    name = "secret_key"
    if now is None:
        return Finding(
            name,
            CheckStatus.FAILED,
            f"{path}: {problem}; this process still has the key, the next one will not start",
            f"bring the file back before this process stops: without it no stored secret opens (key {mine})",
        )
    if now != mine:
        return Finding(
            name,
            CheckStatus.FAILED,
            f"{path} holds key {now}, and this process runs with {mine}; the next one will not start",
            "bring back the file it was set up with; REACH_SECRET_KEY_FILE is the same for every process",
        )
    if loose:
        return Finding(
            name,
            CheckStatus.WARNING,
            f"{path} can be read by others on this machine",
            f"chmod 600 {path}",
        )
    return Finding(name, CheckStatus.OK, f"key {mine}")
