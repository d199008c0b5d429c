"""Sessions between customers and KF accounts: their states, and how many messages an app may still send."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.clock import rfc3339
from sandbox.profile import Profile

UNTREATED, ASSISTANT, POOL, HUMAN, ENDED = range(5)


@dataclass(slots=True)
class Session:
    """One customer at one account, over all the sessions in the platform's sense that they have.

    `accepted` and `accepted_most` are the sandbox's own count, whatever limits are set: the messages that it took from
    the app since the customer last wrote, and the most there ever were between two messages of the customer.
    """

    open_kfid: str
    external_userid: str
    state: int = ENDED
    servicer: str = ""
    wrote_at: float | None = None
    lives_from: float = 0.0
    """When the customer last wrote or a servicer took the session up again: it lasts 48 hours from there."""
    written: int = 0
    accepted: int = 0
    accepted_most: int = 0
    counted: int = 0
    """What stands against the five: as `accepted`, and replies to events if the profile counts them."""
    event_replies: int = 0
    welcomed_at: float | None = None
    context: dict[str, object] = field(default_factory=dict)
    """How the customer last entered."""
    pool_code_given: bool = False
    human_code_given: bool = False

    def wrote(self, now: float) -> None:
        """The customer wrote: the allowance is whole again, and an ended session begins anew."""
        self.wrote_at = self.lives_from = now
        self.written += 1
        self.accepted = self.counted = 0
        if self.state == ENDED:
            self.begin(UNTREATED, now)

    def begin(self, state: int, now: float) -> None:
        """A new session in the platform's sense."""
        self.state, self.servicer, self.lives_from = state, "", now
        self.pool_code_given = self.human_code_given = False

    def took(self) -> None:
        """A message of the app was accepted."""
        self.accepted += 1
        self.counted += 1
        self.accepted_most = max(self.accepted_most, self.accepted)

    def end(self) -> None:
        """It is over until the customer, or a servicer in the client, writes again."""
        self.state, self.servicer = ENDED, ""


class Sessions:
    """All of them, by account and customer."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.clear()

    def clear(self) -> None:
        """Forget every session and count."""
        self._by_pair: dict[tuple[str, str], Session] = {}

    def of(self, open_kfid: str, external_userid: str, now: float) -> Session:
        """The session of a customer at an account as it stands now: one older than 48 hours has ended."""
        pair = open_kfid, external_userid
        session = self._by_pair.get(pair)
        if session is None:
            session = self._by_pair[pair] = Session(open_kfid, external_userid)
        self._settle(session, now)
        return session

    def open_window(self, session: Session, now: float) -> bool:
        """Whether the customer's last message is young enough for the app to answer."""
        seconds = self._profile.kf_window_seconds
        return session.wrote_at is not None and (not seconds or now < session.wrote_at + seconds)

    def find(self, open_kfid: str | None, external_userid: str | None, now: float) -> Iterator[Session]:
        """Those of an account, of a customer or of both; all of them without either."""
        for session in self._by_pair.values():
            if open_kfid in (None, session.open_kfid) and external_userid in (None, session.external_userid):
                self._settle(session, now)
                yield session

    def view(self, session: Session) -> dict[str, object]:
        """As `GET /sandbox/kf/sessions` shows it."""
        wrote, seconds = session.wrote_at, self._profile.kf_window_seconds
        return {
            "open_kfid": session.open_kfid,
            "external_userid": session.external_userid,
            "state": session.state,
            "servicer_userid": session.servicer or None,
            "customer_wrote_at": None if wrote is None else rfc3339(wrote),
            "window_ends_at": None if wrote is None or not seconds else rfc3339(wrote + seconds),
            "customer_messages": session.written,
            "accepted": session.accepted,
            "accepted_most": session.accepted_most,
            "counted": session.counted,
            "event_replies": session.event_replies,
            "welcomed_at": None if session.welcomed_at is None else rfc3339(session.welcomed_at),
        }

    def _settle(self, session: Session, now: float) -> None:
        seconds = self._profile.kf_window_seconds
        if session.state != ENDED and seconds and now >= session.lives_from + seconds:
            session.end()
