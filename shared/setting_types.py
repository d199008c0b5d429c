"""The kinds of value a setting may have, and how each is written in an environment variable."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from shared.values import value_class

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "KiB": 1024, "MiB": 1024 * 1024}
# Names that only a private network resolves; plain http is accepted for them and for private addresses.
_PRIVATE_SUFFIXES = (".local", ".localhost", ".internal", ".test", ".svc")


@value_class
class Address:
    """Where to listen or to connect: a host and a port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port`` or ``[v6]:port``; ValueError says what is wrong."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError("must be host:port, such as 127.0.0.1:50051 (port 0 picks a free one)")
        bracketed = host.startswith("[") and host.endswith("]")
        if (":" in host and not bracketed) or re.search(r"[\s/@]", host):
            raise ValueError("must be host:port; an IPv6 address goes in brackets, such as [::1]:50051")
        return cls(host[1:-1] if bracketed else host, int(port))


def _address(value: Any) -> Any:
    return Address.parse(value) if isinstance(value, str) else value


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|)", value)
    if not match or not float(match[1]):
        raise ValueError("must be a positive number of seconds, or one with a unit: 500ms, 10s, 5m, 72h, 14d")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])


def _size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,9}) ?(KiB|MiB|)", value)
    if not match or not int(match[1]):
        raise ValueError("must be a positive number of bytes, or one with a unit: 256KiB, 1MiB")
    return int(match[1]) * _SIZES[match[2]]


def _zone(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be an IANA time zone, such as Asia/Shanghai") from None


def _words(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(word for part in re.split(r"[,，\n]", value) if (word := part.strip()))


def _host(value: str) -> str:
    if not re.fullmatch(r"(\*\.)?[^\s/:@?#*\\]+\.[^\s/:@?#*\\]+", value):
        raise ValueError(
            "must be names of hosts such as shop.example.com or *.example.com, separated by commas"
        )
    return value.lower()


def _pair(value: str) -> str:
    name, _, other = value.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}=[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value, re.ASCII):
        raise ValueError(
            f"must be pairs such as {name[:64] or 'wkAbc'}={other[:64] or 's1'}, separated by commas"
        )
    return value


def _owner_pair(value: str) -> str:
    name, _, other = value.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}=[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value, re.ASCII):
        raise ValueError(
            f"must be pairs such as {name[:64] or 'ann'}={other[:64] or 's1'}, separated by commas"
        )
    return value


def _cron(value: str) -> str:
    if len(value.split()) != 5:
        raise ValueError("must be a cron line of five fields, such as */10 * * * *")
    try:
        CronSim(value, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError:
        raise ValueError("must be a cron line of five fields, such as */10 * * * *") from None
    return value


def _file(value: Path) -> Path:
    try:
        with value.open("rb"):
            return value
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ValueError(f"cannot be read: {reason}; name a readable file") from None


def private_host(host: str) -> bool:
    """Whether *host* can only mean something on this machine or inside a private network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_SUFFIXES)
    return address.is_loopback or address.is_private


def _base_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that starts with https://")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a bare URL: no user, password, query or fragment")
    if parts.scheme == "http" and not private_host(parts.hostname):
        raise ValueError("must start with https:// (plain http is for this machine and private networks)")
    return value.rstrip("/")


def _split(value: str) -> Any:
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        raise ValueError("is not a URL that can be read; check the host and the port") from None
    return parts


def _issuer(value: str) -> str:
    if (
        not 1 <= len(value) <= 256
        or not value.isascii()
        or not value.isprintable()
        or re.search(r"[\s#]", value)
    ):
        raise ValueError("must be the issuer's URL as its tokens have it, without # and spaces")
    return value


def _algorithm(value: str) -> str:
    if value not in ("ES256", "EdDSA", "RS256", "PS256"):
        raise ValueError("must be some of ES256, EdDSA, RS256, PS256, separated by commas")
    return value


def _peer(value: str) -> str:
    if not re.fullmatch(r"(\*|[A-Za-z][A-Za-z0-9_.]{0,127}(/[A-Za-z0-9]{1,64})?)=[!-~]{1,256}", value):
        raise ValueError(
            "must be pairs such as notifier=spiffe://reach/campaign or *=ops.internal, separated by commas"
        )
    return value


def _amqp_url(value: SecretStr) -> SecretStr:
    parts = _split(value.get_secret_value())
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise ValueError("must look like amqp://user:password@host:5672/vhost (or amqps://)")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text.startswith("sqlite"):
        raise ValueError(
            "must be PostgreSQL; for SQLite leave it unset, the files are then kept under REACH_HOME"
        )
    parts = _split(text)
    if parts.scheme not in ("postgresql", "postgres") or len(parts.path) < 2:
        raise ValueError("must look like postgresql://user:password@host:5432/database (PostgreSQL only)")
    return value


def _target(value: str) -> str:
    address = Address.parse(value.removeprefix("dns:///"))
    if not address.port:
        raise ValueError("must be host:port of a running service; port 0 cannot be called")
    return value


def is_robot_key(text: str) -> bool:
    """Whether *text* can be a robot's key: what follows ``key=`` in its webhook URL."""
    return re.fullmatch(r"[A-Za-z0-9_-]{8,64}", text) is not None


def _robot_key(value: SecretStr) -> SecretStr:
    """Only the key is kept, whichever of the two the operator pasted: the webhook's URL is a secret
    because of its key."""
    text = value.get_secret_value()
    if "://" in text:
        text = (parse_qs(urlsplit(text).query).get("key") or [""])[0]
    if not is_robot_key(text):
        raise ValueError(
            "must be the robot's key (what follows key= in its webhook URL: 8 to 64 letters, digits, - and _), or that URL"
        )
    return SecretStr(text)


def _aes_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        if len(text) == 43 and len(base64.b64decode(text + "=", validate=True)) == 32:
            return value
    except (binascii.Error, ValueError):
        pass
    raise ValueError("must be the EncodingAESKey of the callback page: 43 letters and digits")


Listen = Annotated[Address, BeforeValidator(_address)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Bytes = Annotated[int, BeforeValidator(_size)]
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_words)]
Pairs = Annotated[tuple[Annotated[str, AfterValidator(_pair)], ...], BeforeValidator(_words)]
Owners = Annotated[tuple[Annotated[str, AfterValidator(_owner_pair)], ...], BeforeValidator(_words)]
"""Pairs whose first half is a member's userid."""
Algorithms = Annotated[
    tuple[Annotated[str, AfterValidator(_algorithm)], ...], BeforeValidator(_words), Field(min_length=1)
]
Issuer = Annotated[str, AfterValidator(_issuer)]
Peers = Annotated[tuple[Annotated[str, AfterValidator(_peer)], ...], BeforeValidator(_words)]
"""Pairs of what may be called and a name in a client's certificate."""
Cron = Annotated[str, AfterValidator(_cron)]
ReadableFile = Annotated[Path, AfterValidator(_file)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Target = Annotated[str, AfterValidator(_target)]
AmqpUrl = Annotated[SecretStr, AfterValidator(_amqp_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
RobotKey = Annotated[SecretStr, AfterValidator(_robot_key)]
AesKey = Annotated[SecretStr, AfterValidator(_aes_key)]
