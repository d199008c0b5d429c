"""Callback URLs of apps, of WeChat KF and of customer contact, and the platform's way of calling them: five seconds, three tries.

`POST /sandbox/callbacks` does what the app's admin page does:

    {"url": "http://127.0.0.1:8081/callback/app", "token": "…", "aes_key": "…43 characters…", "corp_id": "ww1",
     "kind": "app",            # or kf: the events of WeChat KF, or customer: of customers' groups; no app's
     "agentid": 1000002,       # absent: every app without one of its own
     "verify": true}           # ask the URL first, as the page does; refused when it does not answer as it must
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from sandbox.cipher import key_of, seal, signed_query
from sandbox.profile import Profile

_MOST_ANSWER = 4096
KINDS = ("app", "kf", "customer")
ORDERS = ("given", "reversed", "together")
MOST_COPIES = 20

T = TypeVar("T")
_FIELDS = {"url", "token", "aes_key", "corp_id", "kind", "agentid", "verify"}


@dataclass(frozen=True, slots=True)
class Callback:
    """Where the events of an app, or of another kind of source, go."""

    url: str
    token: str
    aes_key: str
    corp_id: str
    agentid: int | None
    kind: str = "app"

    def view(self) -> dict[str, object]:
        """Without token and key."""
        named = {"agentid": self.agentid} if self.kind == "app" else {"kind": self.kind}
        return {"url": self.url, "corp_id": self.corp_id, **named}


@dataclass(frozen=True, slots=True)
class Request:
    """One sealed POST: sent again, it is the same bytes."""

    url: str
    body: bytes


class Callbacks:
    """What was set up, by kind and app."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.clear()

    def clear(self) -> None:
        """Forget every URL."""
        self._by_source: dict[tuple[str, int | None], Callback] = {}

    def of(self, agentid: int | None, kind: str = "app") -> Callback | None:
        """The URL for an app's events, or for those of a kind that belongs to no app."""
        return self._by_source.get((kind, agentid)) or self._by_source.get((kind, None))

    def view(self) -> list[dict[str, object]]:
        """All of them."""
        return [one.view() for one in self._by_source.values()]

    async def set_up(self, document: object, now: float) -> None:
        """Add or replace one; ValueError says what does not fit, or how the URL failed its verification."""
        callback, verify = _read(document)
        if verify:
            await self._verify(callback, now)
        self._by_source[callback.kind, callback.agentid] = callback

    def sealed(self, callback: Callback, event: str, now: float) -> Request:
        """*event* (XML) as it is sent."""
        sealed = seal(event.encode(), callback.aes_key, callback.corp_id)
        agent = "" if callback.agentid is None else str(callback.agentid)
        body = (
            f"<xml><ToUserName><![CDATA[{callback.corp_id}]]></ToUserName>"
            f"<Encrypt><![CDATA[{sealed}]]></Encrypt><AgentID><![CDATA[{agent}]]></AgentID></xml>"
        )
        joiner = "&" if "?" in callback.url else "?"
        return Request(callback.url + joiner + signed_query(callback.token, int(now), sealed), body.encode())

    def copies(
        self, callback: Callback, event: str, now: float, count: int, *, resigned: bool
    ) -> list[Request]:
        """*event* as it is sent *count* times: the same bytes, or sealed and signed anew each time."""
        first = self.sealed(callback, event, now)
        return [first, *(self.sealed(callback, event, now) if resigned else first for _ in range(count - 1))]

    async def deliver(self, request: Request) -> list[dict[str, object]]:
        """Send it, again after a failure of the network or a time-out; what came of each try."""
        tries: list[dict[str, object]] = []
        while len(tries) < self._profile.callback_tries:
            tries.append(await self._post(request))
            status = tries[-1].get("status")
            if status == 200 or (status is not None and not self._profile.callback_retry_non_200):
                break
        return tries

    async def _post(self, request: Request) -> dict[str, object]:
        timeout = aiohttp.ClientTimeout(total=self._profile.callback_seconds)
        headers = {"content-type": "text/xml"}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(request.url, data=request.body, headers=headers) as answer,
            ):
                body = await answer.content.read(_MOST_ANSWER)
                return {"status": answer.status, "body": body.decode("utf-8", "replace")}
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return {"failure": type(error).__name__}

    async def _verify(self, callback: Callback, now: float) -> None:
        word = str(secrets.randbelow(10**19))
        sealed = seal(word.encode(), callback.aes_key, callback.corp_id)
        query = signed_query(callback.token, int(now), sealed, echo=True)
        joiner = "&" if "?" in callback.url else "?"
        timeout = aiohttp.ClientTimeout(total=self._profile.callback_seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.get(f"{callback.url}{joiner}{query}") as answer,
            ):
                found, status = await answer.content.read(_MOST_ANSWER), answer.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ValueError(f"the URL could not be verified: {type(error).__name__}") from None
        if status != 200 or found != word.encode():
            raise ValueError(f"the URL could not be verified: HTTP {status}, and not the bare plaintext")


async def in_order(order: str, sends: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What came of several deliveries, made one after another as given or reversed, or all together."""
    if order == "together":
        return list(await asyncio.gather(*(send() for send in sends)))
    return [await send() for send in (sends if order == "given" else sends[::-1])]


def _read(document: object) -> tuple[Callback, bool]:
    if not isinstance(document, Mapping):
        raise ValueError("the body is a JSON object")
    unknown = sorted(set(document) - _FIELDS)
    if unknown:
        raise ValueError(f"no field is called {unknown[0]!r}")
    texts = {name: document.get(name) for name in ("url", "token", "aes_key", "corp_id")}
    for name, value in texts.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} is a text, and required")
    kind, agentid, verify = document.get("kind", "app"), document.get("agentid"), document.get("verify", True)
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}")
    if agentid is not None and kind != "app":
        raise ValueError(f"callbacks of kind {kind} belong to no agentid")
    if agentid is not None and (isinstance(agentid, bool) or not isinstance(agentid, int)):
        raise ValueError("agentid is a whole number")
    if not isinstance(verify, bool):
        raise ValueError("verify is true or false")
    url = str(texts["url"])
    if not url.startswith(("http://", "https://")):
        raise ValueError("url begins with http:// or https://")
    key_of(str(texts["aes_key"]))
    callback = Callback(
        url, str(texts["token"]), str(texts["aes_key"]), str(texts["corp_id"]), agentid, str(kind)
    )
    return callback, verify
