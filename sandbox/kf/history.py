"""What sync_msg reads: the messages and events of each account over three days, with cursors and callback tokens."""

import secrets
from dataclasses import dataclass
from hashlib import blake2s
from itertools import islice

from sandbox.profile import Profile
from sandbox.ring import Ring

_TOKENS_KEPT = 50_000
_TOKEN_SECONDS = 600

Item = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    at: float
    item: Item


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of sync_msg."""

    items: list[Item]
    next_cursor: str
    more: bool


class History:
    """Entries by account. The numbering goes on over `clear`, so that a cursor held by an app stays good."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._run = secrets.token_hex(6)
        self._entries: dict[str, Ring[_Entry]] = {}
        self.clear()

    def clear(self) -> None:
        """Forget entries and tokens."""
        for ring in self._entries.values():
            ring.clear()
        self._tokens: dict[str, tuple[str, float]] = {}
        self._empty: dict[str, int] = {}

    def add(self, open_kfid: str, item: Item, now: float) -> None:
        """Keep a message or an event for sync_msg."""
        ring = self._ring(open_kfid)
        ring.append(_Entry(ring.next_number, now, item))

    def token(self, open_kfid: str, now: float) -> str:
        """A token for a callback: good for ten minutes."""
        token = "ENC" + secrets.token_urlsafe(48)
        self._tokens[token] = open_kfid, now + _TOKEN_SECONDS
        if len(self._tokens) > _TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        return token

    def accepts(self, token: str, open_kfid: str, now: float) -> bool:
        """Whether a callback for this account brought the token within the last ten minutes."""
        account, until = self._tokens.get(token, ("", 0.0))
        return account == open_kfid and now < until

    def leave_empty(self, open_kfid: str, pages: int) -> None:
        """Let the next pages of an account be empty, with has_more."""
        self._empty[open_kfid] = pages

    def position(self, open_kfid: str, cursor: str) -> int | None:
        """The number that a cursor stands at; None when it is no cursor of this account.

        One of an earlier run of the sandbox is like one older than what is kept: it leads to the start.
        """
        if not cursor:
            return 0
        run, _, rest = cursor.partition(".")
        account, _, number = rest.partition(".")
        number = number.partition(".")[0]
        if account != _mark(open_kfid) or not (number.isascii() and number.isdecimal()):
            return None
        return int(number) if run == self._run else 0

    def page(self, open_kfid: str, after: int, limit: int, now: float) -> Page:
        """What came after a number, oldest first."""
        ring = self._ring(open_kfid)
        if self._empty.get(open_kfid, 0) > 0:
            self._empty[open_kfid] -= 1
            # The cursor changes although nothing came, as where the platform passes over what it filters out.
            turned = f"{self._cursor(open_kfid, after)}.{self._empty[open_kfid]}"
            return Page([], turned, more=True)
        start = now - self._profile.kf_history_seconds
        size = min(limit, self._profile.kf_sync_page or limit)
        found = list(islice((entry for entry in ring.after(after) if entry.at > start), size + 1))
        page, more = found[:size], len(found) > size
        # Numbers of the kept period's start on: what is too old is passed over once and for all.
        last = page[-1].number if more else max(after, ring.next_number - 1)
        return Page([entry.item for entry in page], self._cursor(open_kfid, last), more)

    def _cursor(self, open_kfid: str, number: int) -> str:
        return f"{self._run}.{_mark(open_kfid)}.{number}"

    def _ring(self, open_kfid: str) -> Ring[_Entry]:
        ring = self._entries.get(open_kfid)
        if ring is None:
            ring = self._entries[open_kfid] = Ring(self._profile.messages_kept)
        return ring


def _mark(open_kfid: str) -> str:
    return blake2s(open_kfid.encode(), digest_size=6).hexdigest()
