"""One API call as the families of endpoints see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from sandbox.answers import Blob, Refused
from sandbox.directory import App
from sandbox.journal import CallRecord
from sandbox.tokens import Token
from sandbox.world import World

Answer = dict[str, object] | Blob
BAD_JSON = "invalid Request Parameter. Warning: wrong json format. "


@dataclass(slots=True)
class Call:
    """A call that was read. `token` and `app` are set before a handler that needs them runs."""

    world: World
    query: Mapping[str, str]
    body: bytes
    record: CallRecord
    now: float
    token: Token | None = None
    _app: App | None = None

    @property
    def app(self) -> App:
        """The app whose token this call carries."""
        if self._app is None:
            raise RuntimeError("this endpoint does not ask for a token")
        return self._app

    @property
    def corp_id(self) -> str:
        """The corp whose token this call carries; empty without one."""
        return "" if self.token is None else self.token.corp_id

    @property
    def client(self) -> str:
        """The caller's address."""
        return self.record.client

    def admit(self, kinds: frozenset[str]) -> None:
        """Check token, allowlist and permission; Refused with 41001, 40014, 42001, 60020, 50003 or 48002."""
        self.token = self.world.tokens.check(self.query.get("access_token", ""), self.now)
        self._app = self.world.tokens.app_of(self.token)
        if not self.world.directory.admits(self._app, self.client):
            raise Refused(60020)
        if self._app.disabled and self.world.profile.disabled_app == "calls":
            raise Refused(50003)
        if not self._app.powers & kinds:
            raise Refused(48002)

    def json(self) -> dict[str, object]:
        """The body's object; Refused with 40063 when empty, 40058 when it is not a JSON object."""
        if not self.body.strip():
            raise Refused(40063)
        try:
            parsed = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise Refused(40058, BAD_JSON) from None
        if not isinstance(parsed, dict):
            raise Refused(40058, BAD_JSON)
        return parsed


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to serve one path. `kinds`: the secrets that may call it, or None when it takes no token.

    `counted` calls fall under the frequency limit per corp and endpoint; sending does not.
    """

    method: Literal["GET", "POST"]
    handle: Callable[[Call], Answer]
    kinds: frozenset[str] | None = frozenset({"app"})
    counted: bool = True


ANY_SECRET = frozenset({"app", "contacts", "kf", "customer"})
KF_SECRET = frozenset({"kf"})
CUSTOMER_SECRET = frozenset({"customer"})
