"""Everything the sandbox knows, in one event loop: no locks, bounded memory."""

import itertools
import secrets
from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request

from sandbox.callbacks import Callbacks
from sandbox.clock import SandboxClock
from sandbox.codes import Codes
from sandbox.courier import Courier
from sandbox.dashscope.account import Account
from sandbox.directory import Directory
from sandbox.faults import Faults
from sandbox.groups.desk import GroupDesk
from sandbox.groups.mass import MassSends
from sandbox.journal import Journal
from sandbox.kf.desk import Desk
from sandbox.media import MediaStore
from sandbox.profile import Profile
from sandbox.tokens import Tokens
from sandbox.wakeup import Signal
from sandbox.windows import RateWindows

PARTS = (
    "ai",
    "callbacks",
    "clock",
    "directory",
    "faults",
    "groups",
    "journal",
    "kf",
    "limits",
    "media",
    "tokens",
)


class World:
    """The state that API families and the inspection share."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.clock = SandboxClock()
        self.directory = Directory(profile)
        self.tokens = Tokens(profile, self.directory)
        self.journal = Journal(profile.messages_kept, profile.requests_kept)
        self.faults = Faults()
        self.callbacks = Callbacks(profile)
        self.courier = Courier(self.callbacks, self.clock)
        self.codes = Codes(self.new_id)
        self.kf = Desk(profile, self.directory, self.journal, self.courier, self.new_id)
        self.groups = GroupDesk(profile, self.courier, self.new_id)
        self.mass_sends = MassSends(profile, self.directory, self.journal, self.groups.groups, self.new_id)
        self.ai = Account(profile)
        self.media = MediaStore(profile)
        self.minute = RateWindows(60)
        self.hour = RateWindows(3600)
        self.day = RateWindows(86_400)
        self.suppressed_until: dict[bytes, tuple[float, str]] = {}
        self.in_flight: dict[str, int] = {}
        self.closing = Signal()
        self.epoch = 1
        """Grows with every reset, for followers of the stream."""
        self._prefix = secrets.token_hex(6)
        self._made = itertools.count(1)

    def new_id(self, kind: str) -> str:
        """An id never given before by this sandbox."""
        return f"{kind}{self._prefix}{next(self._made):012d}"

    def settle(self) -> None:
        """Let owners have done what they have done by themselves until now."""
        self.mass_sends.settle(self.clock.now())

    def reset(self, keep: Collection[str] = ()) -> None:
        """Back to the start, except the parts to keep (of PARTS). Numbering goes on; the profile stays."""
        clears = {
            "ai": self.ai.clear,
            "callbacks": self._clear_callbacks,
            "clock": self.clock.reset,
            "directory": self.directory.clear,
            "faults": self.faults.clear,
            "groups": self._clear_groups,
            "journal": self._clear_journal,
            "kf": self.kf.clear,
            "limits": self._clear_limits,
            "media": self.media.clear,
            "tokens": self.tokens.clear,
        }
        for part in PARTS:
            if part not in keep:
                clears[part]()
        self.epoch += 1
        self.journal.arrived.send()

    def close(self) -> None:
        """Let every waiting call go: the server is about to stop."""
        self.courier.close()
        for signal in (self.closing, self.clock.changed, self.journal.arrived):
            signal.close()

    def _clear_callbacks(self) -> None:
        self.callbacks.clear()
        self.courier.clear()

    def _clear_journal(self) -> None:
        self.journal.clear()
        self.codes.clear()

    def _clear_groups(self) -> None:
        self.groups.clear()
        self.mass_sends.clear()

    def _clear_limits(self) -> None:
        for windows in (self.minute, self.hour, self.day):
            windows.clear()
        self.suppressed_until.clear()


Handler = Callable[[World, Request], Awaitable[object]]
"""What serves one request of `/sandbox/…`: its answer as JSON; ValueError is 400, LookupError 404."""
