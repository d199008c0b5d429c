"""What a JWT says of its bearer, checked against what this deployment takes; pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from shared.errors import Unauthenticated
from shared.identity.keyset import refused
from shared.rpc.principal import EVERY_STORE, SCOPES, Kind, Principal
from shared.values import value_class

LEEWAY: Final = timedelta(seconds=60)
"""How far the issuer's clock may be from ours."""

JWT_TOKEN: Final = "jwt:"
"""What the token id of a caller with a JWT begins with; such a token has no row."""

SEPARATOR: Final = "#"
"""Between the issuer and the subject. No issuer's URL and no subject of a token of ours holds it, so that two people of
the same name never become one."""

_LONGEST_SUBJECT = 128
_LONGEST_ID = 100
_END = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


@value_class
class Names:
    """Which claim says what; the other claims have the names of the standards."""

    subject: str = "sub"
    scopes: str = "scope"
    stores: str = "stores"
    kind: str = "sub_kind"


@value_class
class Terms:
    """What this deployment takes."""

    issuer: str
    audience: str
    longest: timedelta
    """How long a JWT may be good; it cannot be looked up whether it was taken back."""
    names: Names = Names()


@value_class
class Claims:
    """A caller, and when what is said of them holds."""

    principal: Principal
    issuer: str
    issued_at: datetime
    expires_at: datetime
    not_before: datetime | None
    known_since: datetime
    """When the bearer last proved who they are: their login, else when it was issued."""

    def check(self, now: datetime) -> None:
        """Raise ``Unauthenticated`` (TOKEN_EXPIRED, TOKEN_INVALID) unless it holds at *now*."""
        if now >= self.expires_at + LEEWAY:
            raise Unauthenticated("TOKEN_EXPIRED", "that JWT has expired", expired_at=self.expires_at)
        begins = max(self.issued_at, self.not_before or self.issued_at, self.known_since)
        if now < begins - LEEWAY:
            raise refused("that JWT is not valid yet (nbf, iat, auth_time)")


def read_claims(said: Mapping[str, object], terms: Terms, fingerprint: str) -> Claims:
    """Make a caller of what a JWT says, whose signature was right; *fingerprint* names it where no ``jti`` does.

    Who is not said to be a person is a program; scopes we do not know are somebody else's. Raises ``Unauthenticated``
    (TOKEN_INVALID) naming the claim, never its value.
    """
    if said.get("iss") != terms.issuer:
        raise refused("that JWT is of another issuer (iss)")
    audience = said.get("aud")
    if terms.audience not in (audience if isinstance(audience, list) else [audience]):
        raise refused("that JWT is for somebody else (aud)")
    issued_at, expires_at = _instant(said, "iat"), _instant(said, "exp")
    if not issued_at < expires_at <= issued_at + terms.longest:
        raise refused(f"a JWT may be good for {int(terms.longest.total_seconds())} s at most (iat, exp)")
    kind = _kind(said, terms.names.kind)
    login_at = _instant(said, "auth_time") if "auth_time" in said else None
    if login_at is not None and login_at > issued_at + LEEWAY:
        raise refused("that JWT was issued before the login it tells of (auth_time)")
    principal = Principal(
        subject=_subject(said, terms),
        kind=kind,
        scopes=frozenset(_words(said, terms.names.scopes)) & SCOPES,
        stores=_stores(said, terms.names.stores),
        # Whoever acts for somebody else was not there themselves: it cannot be a login, and nothing is approved by it.
        login_at=login_at if kind == "human" and "act" not in said else None,
        token_id=JWT_TOKEN + _token_id(said, fingerprint),
    )
    not_before = _instant(said, "nbf") if "nbf" in said else None
    return Claims(principal, terms.issuer, issued_at, expires_at, not_before, login_at or issued_at)


def _subject(said: Mapping[str, object], terms: Terms) -> str:
    subject = said.get(terms.names.subject)
    if not isinstance(subject, str) or not 1 <= len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise refused(
            f"a JWT must say whose it is, in 1 to {_LONGEST_SUBJECT} printable characters ({terms.names.subject})"
        )
    return f"{terms.issuer}{SEPARATOR}{subject}"


def _kind(said: Mapping[str, object], name: str) -> Kind:
    kind = said.get(name, "service")
    if kind == "human":
        return "human"
    if kind == "service":
        return "service"
    raise refused(f"its bearer must be human or service ({name})")


def _stores(said: Mapping[str, object], name: str) -> Literal["*"] | frozenset[str]:
    stores = frozenset(_words(said, name))
    return EVERY_STORE if EVERY_STORE in stores else stores


def _words(said: Mapping[str, object], name: str) -> list[str]:
    """A list of strings, or one string of words with spaces between them; nothing said is no word."""
    value = said.get(name, [])
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise refused(f"must be a list of words, or words with spaces between them ({name})")
    return list(value)


def _instant(said: Mapping[str, object], name: str) -> datetime:
    seconds = said.get(name)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < _END:
        raise refused(f"a JWT must say when, in seconds since 1970 ({name})")
    return datetime.fromtimestamp(seconds, UTC)


def _token_id(said: Mapping[str, object], fingerprint: str) -> str:
    given = said.get("jti")
    if isinstance(given, str) and 1 <= len(given) <= _LONGEST_ID and given.isascii() and given.isprintable():
        return given
    return f"~{fingerprint}"
