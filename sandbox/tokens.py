"""Access tokens: one per (corp, secret), as the platform gives and takes them."""

import secrets
from dataclasses import dataclass

from sandbox.answers import Refused
from sandbox.directory import App, Directory
from sandbox.profile import Profile
from sandbox.windows import RateWindows


@dataclass(slots=True)
class Token:
    """A token as issued. `dead` means invalidated before its time (40014)."""

    value: str
    corp_id: str
    app: App
    expires_at: float
    dead: bool = False


class Tokens:
    """Issues and checks tokens against the sandbox clock. Keeps at most `_KEPT`, the newest."""

    _KEPT = 50_000
    _BAN_SECONDS = 3600.0

    def __init__(self, profile: Profile, directory: Directory) -> None:
        self._profile = profile
        self._directory = directory
        self.clear()

    def clear(self) -> None:
        """Forget every token, failure and ban."""
        self._issued: dict[str, Token] = {}
        self._current: dict[tuple[str, str], Token] = {}
        self._failures = RateWindows(self._BAN_SECONDS)
        self._banned: dict[str, float] = {}

    def issue(self, corp_id: str, secret: str, client: str, now: float) -> tuple[Token, int]:
        """A token and its seconds left; Refused with 40013, 40001, 40091, 60020 or, when banned, 45009."""
        if self._banned.get(client, 0.0) > now:
            raise Refused(45009)
        if not self._directory.knows_corp(corp_id):
            raise self._failed(Refused(40013), client, now)
        app = self._directory.app_of(secret)
        if app is None or self._shut(app):
            raise self._failed(Refused(40001), client, now)
        if app.corp_id and app.corp_id != corp_id:
            raise self._failed(Refused(40091), client, now)
        if self._profile.allowlist_on_gettoken and not self._directory.admits(app, client):
            raise Refused(60020)
        current = self._current.get((corp_id, secret))
        if current is not None and not current.dead and current.expires_at > now:
            if self._profile.token_refetch == "same":
                return current, max(1, int(current.expires_at - now))
            current.dead = self._profile.token_refetch == "new_old_dead"
        token = Token(secrets.token_urlsafe(96), corp_id, app, now + self._profile.token_ttl_seconds)
        self._current[(corp_id, secret)] = self._issued[token.value] = token
        while len(self._issued) > self._KEPT:
            old = self._issued.pop(next(iter(self._issued)))
            if self._current.get((old.corp_id, old.app.secret)) is old:
                del self._current[(old.corp_id, old.app.secret)]
        return token, self._profile.token_ttl_seconds

    def check(self, value: str, now: float) -> Token:
        """The token of a call; Refused with 41001, 40014 or 42001."""
        if not value:
            raise Refused(41001)
        token = self._issued.get(value)
        if token is None or token.dead:
            raise Refused(40014)
        if token.expires_at <= now:
            raise Refused(42001)
        return token

    def app_of(self, token: Token) -> App:
        """The token's app as declared now; Refused with 40001 when its secret no longer opens anything."""
        app = self._directory.app_of(token.app.secret)
        if app is None or self._shut(app):
            raise Refused(40001)
        return app

    def end(self, *, invalidate: bool, secret: str | None, agentid: int | None, now: float) -> int:
        """Expire (42001) or invalidate (40014) the living tokens of a secret or an agent, or all; how many."""
        ended = 0
        for token in self._issued.values():
            if token.dead or token.expires_at <= now:
                continue
            if secret is not None and token.app.secret != secret:
                continue
            if agentid is not None and not self._directory.is_agent(token.app, agentid):
                continue
            if invalidate:
                token.dead = True
            else:
                token.expires_at = now
            ended += 1
        return ended

    def _shut(self, app: App) -> bool:
        return app.disabled and self._profile.disabled_app == "gettoken"

    def _failed(self, refused: Refused, client: str, now: float) -> Refused:
        limit = self._profile.wrong_secret_ban_after
        self._failures.take(client, now)
        if not self._failures.room(client, limit, now, "sliding"):
            self._banned[client] = now + self._BAN_SECONDS
        return refused
