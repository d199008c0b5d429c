"""What a JWT must be to open a door."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import ManualClock
from shared.errors import Unauthenticated
from shared.identity import Authenticator
from shared.identity.claims import Names, Terms, read_claims
from shared.identity.jwt_verifier import JwtVerifier
from shared.identity.key_sources import FileKeys
from shared.identity.keyset import ALGORITHMS, LONGEST, BadKeys, parse_keys
from shared.rpc.principal import SCOPES
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, claims_of, new_key, public_jwk

TERMS = Terms(ISSUER, AUDIENCE, timedelta(hours=1))


class Door:
    """An authenticator that takes an issuer's JWTs, and that issuer."""

    def __init__(self, database: Any, clock: ManualClock, folder: Path, algorithm: str = "ES256") -> None:
        self.issuer, self.clock, self.file = Issuer(algorithm), clock, folder / "jwks.json"
        self.issuer.publish(self.file)
        self.time = 0.0
        keys = FileKeys(self.file, ALGORITHMS, monotonic=lambda: self.time)
        self.verifier = JwtVerifier(keys, TERMS, ALGORITHMS)
        self.authenticator = Authenticator(database, clock, local_operator=True, jwt=self.verifier)

    async def who(self, **claims: Any) -> Any:
        return await self.authenticator.authenticate(self.issuer.token(self.clock.now(), **claims))

    async def refused(self, token: str | None) -> Unauthenticated:
        with pytest.raises(Unauthenticated) as caught:
            await self.authenticator.authenticate(token)
        return caught.value


@pytest.fixture
def door(database, manual_clock, tmp_path: Path) -> Door:
    return Door(database, manual_clock, tmp_path)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_algorithm_that_is_allowed_opens_the_door(database, manual_clock, tmp_path, algorithm):
    door = Door(database, manual_clock, tmp_path, algorithm)
    assert (await door.who()).subject == f"{ISSUER}#alice"


async def test_the_claims_become_the_caller(door):
    caller = await door.who(jti="t-1", scope="openid notify.read campaign.approve", stores="s1 s2")
    assert caller.kind == "human"
    assert caller.scopes == {"notify.read", "campaign.approve"}
    assert caller.stores == {"s1", "s2"}
    assert caller.login_at == door.clock.now().replace(microsecond=0)
    assert caller.token_id == "jwt:t-1"


async def test_who_is_not_said_to_be_a_person_is_a_program_and_has_no_login(door):
    caller = await door.who(sub_kind=None)
    assert (caller.kind, caller.login_at) == ("service", None)


async def test_whoever_acts_for_somebody_else_has_no_login(door):
    caller = await door.who(act={"sub": "robot"})
    assert (caller.kind, caller.login_at) == ("human", None)


async def test_a_person_without_a_login_time_has_no_login(door):
    assert (await door.who(auth_time=None)).login_at is None


async def test_nothing_said_of_stores_and_scopes_is_nothing(door):
    caller = await door.who(scope=None, stores=None)
    assert (caller.scopes, caller.stores) == (frozenset(), frozenset())


async def test_every_store_is_said_by_a_star(door):
    assert (await door.who(stores="*")).stores == "*"


async def test_where_jwts_are_taken_nobody_comes_in_without_anything(door):
    assert (await door.refused(None)).reason == "TOKEN_MISSING"
    assert await door.authenticator.takes_credentials()


async def test_tokens_of_ours_work_beside_them(door, registry):
    text = await registry.create("alice", "human", ["notify.read"], ["S1"])
    assert (await door.authenticator.authenticate(text)).subject == "alice"


# --- What is refused


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(door: Door) -> str:
    said = claims_of(door.clock.now())
    return f"{encoded({'alg': 'none', 'typ': 'JWT', 'kid': door.issuer.kid})}.{encoded(said)}.AA"


def signed_with_the_public_key(door: Door) -> str:
    """HS256, whose secret is what everybody may read."""
    _, key = door.issuer.keys[door.issuer.kid]
    secret = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = encoded({"alg": "HS256", "typ": "JWT", "kid": door.issuer.kid})
    body = f"{head}.{encoded(claims_of(door.clock.now()))}"
    return f"{body}.{encoded(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def tampered(door: Door) -> str:
    head, _, signature = door.issuer.token(door.clock.now()).split(".")
    return f"{head}.{encoded(claims_of(door.clock.now(), 'root', scope=' '.join(SCOPES)))}.{signature}"


def of_another_key(door: Door) -> str:
    return door.issuer.sign(claims_of(door.clock.now()), key=new_key())


def of_an_unknown_key(door: Door) -> str:
    return door.issuer.sign(claims_of(door.clock.now()), headers={"kid": "elsewhere"})


def bringing_its_own_key(door: Door) -> str:
    mine = new_key()
    return door.issuer.sign(
        claims_of(door.clock.now()), key=mine, headers={"jwk": public_jwk(mine, "ES256", door.issuer.kid)}
    )


def of_another_algorithm(door: Door) -> str:
    return door.issuer.sign(claims_of(door.clock.now()), key=new_key("RS256"), algorithm="RS256")


def said_twice(door: Door) -> str:
    algorithm, key = door.issuer.keys[door.issuer.kid]
    head = encoded(b'{"alg":"ES256","kid":"%s"}' % door.issuer.kid.encode())
    said = json.dumps(claims_of(door.clock.now()))
    body = (
        f"{head}.{encoded((said[:-1] + ', ' + json.dumps('sub') + ': ' + json.dumps('root') + '}').encode())}"
    )
    signature = jwt.get_algorithm_by_name(algorithm).sign(body.encode(), key)
    return f"{body}.{encoded(signature)}"


FORGED = {
    "alg none": (unsigned, "one of ES256"),
    "HS256 with the public key as its secret": (signed_with_the_public_key, "one of ES256"),
    "tampered": (tampered, "signature"),
    "another key": (of_another_key, "signature"),
    "an unknown key": (of_an_unknown_key, "kid"),
    "a key that it brings along": (bringing_its_own_key, "signature"),
    "an algorithm that is not the key's": (of_another_algorithm, "not for its algorithm"),
    "a claim twice": (said_twice, "not a signed JWT"),
    "no key id": (lambda d: d.issuer.sign(claims_of(d.clock.now()), headers={"kid": None}), "kid"),
    "a logout token": (
        lambda d: d.issuer.sign(claims_of(d.clock.now()), headers={"typ": "logout+jwt"}),
        "another kind",
    ),
    "critical extensions": (
        lambda d: d.issuer.sign(claims_of(d.clock.now()), headers={"crit": ["exp"]}),
        "another kind",
    ),
    "too long": (lambda d: d.issuer.token(d.clock.now(), pad="x" * LONGEST), "characters at most"),
    "two dots and nothing": (lambda d: "..", "not a signed JWT"),
    "not base64": (lambda d: "a.b.c", "not a signed JWT"),
}


@pytest.mark.parametrize("what", FORGED)
async def test_what_is_not_signed_by_the_issuer_is_refused(door, what):
    make, said = FORGED[what]
    error = await door.refused(make(door))
    assert error.reason == "TOKEN_INVALID"
    assert said in error.message


SAID_WRONG = {
    "iss": [None, "https://evil.example", ISSUER + "/", [ISSUER]],
    "aud": [None, "another", ["a", "b"], 5],
    "sub": [None, "", "x" * 129, "a\nb", 7],
    "exp": [None, "soon", True, -1, 1e15],
    "iat": [None, "now"],
    "nbf": ["tomorrow"],
    "sub_kind": ["robot", ["human"]],
    "scope": [{"a": 1}, [1]],
    "stores": [7],
    "auth_time": ["today"],
}


@pytest.mark.parametrize(
    ("claim", "value"), [(name, one) for name, some in SAID_WRONG.items() for one in some]
)
async def test_a_claim_that_is_missing_or_wrong_is_refused_by_its_name(door, claim, value):
    error = await door.refused(door.issuer.token(door.clock.now(), **{claim: value}))
    assert error.reason == "TOKEN_INVALID"
    assert claim in error.message
    assert str(value) not in error.message or value in (None, "", 5, 7)


async def test_one_that_has_expired_says_since_when_after_a_minute_of_grace(door):
    token = door.issuer.token(door.clock.now())
    door.clock.advance(timedelta(minutes=10, seconds=59))
    await door.authenticator.authenticate(token)
    door.clock.advance(timedelta(seconds=2))
    error = await door.refused(token)
    assert error.reason == "TOKEN_EXPIRED"
    assert "expired_at" in error.facts


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_one_of_the_future_is_refused_but_for_a_minute(door, claim):
    now = door.clock.now().timestamp()
    more = {"exp": now + 600, "auth_time": None}
    await door.authenticator.authenticate(door.issuer.token(door.clock.now(), **more, **{claim: now + 59}))
    error = await door.refused(door.issuer.token(door.clock.now(), **more, **{claim: now + 62}))
    assert "not valid yet" in error.message


async def test_a_login_after_the_issue_is_no_login(door):
    now = door.clock.now().timestamp()
    error = await door.refused(door.issuer.token(door.clock.now(), auth_time=now + 120))
    assert "auth_time" in error.message


async def test_one_that_is_good_for_too_long_is_refused(door):
    error = await door.refused(door.issuer.token(door.clock.now(), exp=door.clock.now().timestamp() + 3700))
    assert "3600 s" in error.message


async def test_what_was_proved_before_is_looked_at_again(door):
    """A remembered signature excuses neither the time nor a revocation."""
    token = door.issuer.token(door.clock.now())
    for _ in range(2):
        await door.authenticator.authenticate(token)
    door.clock.advance(timedelta(hours=1))
    assert (await door.refused(token)).reason == "TOKEN_EXPIRED"


# --- Keys that change


async def test_a_new_key_opens_the_door_without_a_restart_and_an_old_one_no_more(door):
    old, before = door.issuer.kid, door.issuer.token(door.clock.now())
    door.issuer.rotate()
    after = door.issuer.token(door.clock.now())
    assert "kid" in (await door.refused(after)).message
    door.issuer.publish(door.file)
    door.time += 1
    for token in (before, after):
        await door.authenticator.authenticate(token)
    door.issuer.forget(old)
    door.issuer.publish(door.file)
    door.time += 1
    assert "kid" in (await door.refused(before)).message
    await door.authenticator.authenticate(after)


async def test_a_key_that_comes_back_with_another_content_proves_anew(door):
    token, kid = door.issuer.token(door.clock.now()), door.issuer.kid
    await door.authenticator.authenticate(token)
    door.issuer.keys[kid] = ("ES256", new_key())
    door.issuer.publish(door.file)
    door.time += 1
    assert "signature" in (await door.refused(token)).message


async def test_a_broken_file_changes_nothing_until_it_is_whole(door):
    door.file.write_text('{"keys": [')
    door.time += 1
    await door.who()
    door.file.unlink()
    door.time += 1
    await door.who()


# --- Sets of keys


def test_keys_that_cannot_be_used_are_left_out():
    good = public_jwk(new_key(), "ES256", "good")
    others = [
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"},
        public_jwk(new_key("RS256"), "RS256", "encrypts", use="enc"),
        public_jwk(new_key("RS256"), "RS256", "old", alg="RS1"),
        public_jwk(rsa.generate_private_key(65537, 1024), "RS256", "short"),
        public_jwk(new_key(), "ES256", "signs", key_ops=["sign"]),
        {**public_jwk(new_key(), "ES256", "x"), "x": "AA", "kid": "broken"},
        {"kty": "EC", "crv": "P-521", "kid": "curve"},
        {name: value for name, value in public_jwk(new_key(), "ES256", "x").items() if name != "kid"},
    ]
    body = json.dumps({"keys": [*others, good]}).encode()
    assert set(parse_keys(body, ALGORITHMS)) == {"good"}


def test_a_key_without_an_algorithm_is_for_all_that_fit_and_are_allowed():
    key = {name: v for name, v in public_jwk(new_key("RS256"), "RS256", "k").items() if name != "alg"}
    (found,) = parse_keys(json.dumps({"keys": [key]}).encode(), ["PS256", "ES256"]).values()
    assert set(found.by_algorithm) == {"PS256"}


def test_the_newer_name_of_an_algorithm_is_the_same():
    key = public_jwk(new_key("EdDSA"), "EdDSA", "k", alg="Ed25519")
    (found,) = parse_keys(json.dumps({"keys": [key]}).encode(), ALGORITHMS).values()
    assert set(found.by_algorithm) == {"EdDSA"}


def test_a_private_key_is_refused_with_what_to_do():
    key = new_key()
    private = {**jwt.get_algorithm_by_name("ES256").to_jwk(key, as_dict=True), "kid": "k"}
    with pytest.raises(BadKeys, match="private key: publish only the public half"):
        parse_keys(json.dumps({"keys": [private]}).encode(), ALGORITHMS)


def test_a_key_id_twice_is_refused():
    keys = [public_jwk(new_key(), "ES256", "k") for _ in range(2)]
    with pytest.raises(BadKeys, match="twice"):
        parse_keys(json.dumps({"keys": keys}).encode(), ALGORITHMS)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"keys": 5}', b'{"keys": []}', b'{"keys": [5]}', b"\xff", b'{"keys": [{}]}']
)
def test_what_is_no_set_is_refused(body):
    with pytest.raises(BadKeys):
        parse_keys(body, ALGORITHMS)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.fixed_dictionaries(
    {},
    optional={
        "kty": st.sampled_from(["RSA", "EC", "OKP", "oct"]) | JSON,
        "crv": st.sampled_from(["P-256", "Ed25519"]) | JSON,
        **{name: st.sampled_from(["AQAB", "sig", "ES256", "k"]) | JSON for name in ("n", "e", "x", "y")},
        **dict.fromkeys(("alg", "use", "key_ops", "kid"), JSON),
    },
)


@given(st.lists(KEYS, max_size=4))
def test_no_set_of_keys_raises_anything_else(keys):
    with suppress(BadKeys):
        parse_keys(json.dumps({"keys": keys}).encode(), ALGORITHMS)


@given(st.dictionaries(st.sampled_from([*SAID_WRONG, "jti", "act"]), JSON))
def test_no_claims_raise_anything_else_and_none_give_more_than_they_say(said):
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "a", "iat": 1_000_000, "exp": 1_000_600}
    try:
        found = read_claims({**good, **said}, TERMS, "f" * 32)
    except Unauthenticated:
        return
    assert found.principal.subject == f"{ISSUER}#{({**good, **said})['sub']}"
    assert found.principal.scopes <= SCOPES
    assert found.principal.scopes <= set(str(said.get("scope")).split()) | set(said.get("scope") or ())
    assert found.principal.kind == said.get("sub_kind", "service")
    assert found.expires_at - found.issued_at <= TERMS.longest


def test_claims_may_have_other_names():
    terms = Terms(
        ISSUER, AUDIENCE, timedelta(hours=1), Names("email", "https://reach/scopes", "sites", "kind")
    )
    said = {
        "iss": ISSUER,
        "aud": [AUDIENCE, "account"],
        "iat": 0,
        "exp": 60,
        "email": "a@b.example",
        "https://reach/scopes": ["ops.read"],
        "sites": ["s1"],
        "kind": "human",
    }
    caller = read_claims(said, terms, "f").principal
    assert (caller.subject, caller.kind) == (f"{ISSUER}#a@b.example", "human")
    assert (caller.scopes, caller.stores, caller.token_id) == ({"ops.read"}, {"s1"}, "jwt:~f")
