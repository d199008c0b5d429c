"""Where an issuer's keys come from: a file that is replaced, or a URL that is asked now and then.

Keys change without a restart either way. What strangers send can make nobody ask the URL more often than it was going
to be asked: a key id nobody knows costs one request in ``COOLDOWN``, however many come with one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import structlog

from shared.errors import Unavailable
from shared.http.caller import Caller
from shared.http.failures import HttpFailure
from shared.identity.keyset import BadKeys, Key, KeySet, parse_keys
from shared.watched_files import LARGEST, WatchedFiles

FETCH_SECONDS: Final = 3.0
"""How long the URL may take to answer, and anybody waits for it."""

COOLDOWN: Final = 10.0
"""Seconds between two tries at the URL, whoever asks for them."""

KEPT: Final = timedelta(hours=1)
"""How long keys hold beyond the time to ask anew, while the URL does not answer."""

_log = structlog.get_logger("reach.identity")


class Keys(Protocol):
    """Knows keys by their ids."""

    async def find(self, kid: str) -> Key | None:
        """The key of that id, or None where the issuer has none; raises ``Unavailable`` when nobody can tell."""
        ...


class FileKeys:
    """Keys in a file, read anew when it was replaced."""

    def __init__(
        self, path: Path, allowed: Collection[str], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ``OSError`` and ``BadKeys`` for a file that is of no use."""

        def read(contents: Sequence[bytes]) -> KeySet:
            return parse_keys(contents[0], allowed)

        self._watched = WatchedFiles(str(path), [path], read, monotonic=monotonic)
        self._watched.current()

    async def find(self, kid: str) -> Key | None:
        """See ``Keys``."""
        return self._watched.current().get(kid)


class UrlKeys:
    """Keys behind a URL: asked when they get old or one is missing, by one request at a time."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        allowed: Collection[str],
        ttl: timedelta,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """*fetch* gets the set within ``FETCH_SECONDS``, or raises ``HttpFailure`` or ``BadKeys``."""
        self._fetch, self._allowed = fetch, allowed
        self._ttl, self._monotonic = ttl.total_seconds(), monotonic
        self._held: KeySet | None = None
        self._fetched = self._tried = float("-inf")
        self._flight: asyncio.Task[None] | None = None
        self._said = ""

    async def find(self, kid: str) -> Key | None:
        """See ``Keys``."""
        held = self._usable()
        if held is None:
            await self._refresh()
            held = self._usable()
            if held is None:
                raise Unavailable(
                    "DEPENDENCY_DOWN",
                    "the issuer's keys cannot be fetched",
                    retry_after=timedelta(seconds=COOLDOWN),
                    dependency="jwks",
                )
        elif self._age() > self._ttl:
            self._begin()  # what is held serves meanwhile
        if kid not in held:
            await self._refresh()
            held = self._usable() or held
        return held.get(kid)

    async def close(self) -> None:
        """Give up a request under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def _age(self) -> float:
        return self._monotonic() - self._fetched

    def _usable(self) -> KeySet | None:
        return self._held if self._age() <= self._ttl + KEPT.total_seconds() else None

    async def _refresh(self) -> None:
        """Wait for the request under way, or for a new one if it is time for one; for neither else."""
        self._begin()
        if self._flight is not None:
            await asyncio.wait([self._flight], timeout=FETCH_SECONDS)

    def _begin(self) -> None:
        if self._flight is not None or self._monotonic() - self._tried < COOLDOWN:
            return
        self._tried = self._monotonic()
        self._flight = asyncio.create_task(self._take(), name="fetch keys")
        self._flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flight = None

    async def _take(self) -> None:
        asked = self._monotonic()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                found = parse_keys(await self._fetch(), self._allowed)
        except (HttpFailure, BadKeys, TimeoutError) as error:
            why = str(error) or "no answer in time"
            if why != self._said:
                self._said = why
                _log.error("the issuer's keys could not be fetched; the ones before hold", why=why)
            return
        self._held, self._fetched, self._said = found, asked, ""


class KeyUrl:
    """One JWK set behind a URL."""

    def __init__(self, url: str) -> None:
        """*url* as the settings checked it."""
        parts = urlsplit(url)
        self._path = parts.path or "/"
        self._caller = Caller(
            f"{parts.scheme}://{parts.netloc}",
            allowed_hosts=[parts.hostname or ""],
            limit=2,
            max_reply_bytes=LARGEST,
        )

    async def fetch(self) -> bytes:
        """The bytes of the set; raises ``HttpFailure``, and ``BadKeys`` for an answer that is not 200."""
        reply = await self._caller.get(self._path, deadline=FETCH_SECONDS)
        if reply.status != 200:
            raise BadKeys(f"was not given out: HTTP {reply.status}")
        return reply.body

    async def close(self) -> None:
        """Close its connections."""
        await self._caller.close()
