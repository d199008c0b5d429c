"""``reach token``: from the first to the revoked, also while the suite runs."""

from __future__ import annotations

import re

import pytest

from tests.cli.support import PORTS, Reach
from tests.support.process import Program, until

TOKEN = re.compile(r"reach_[0-9a-f]{12}_[0-9A-Za-z_-]{40,}")
ASK = ("roles", "list")


def create(reach: Reach, *more: str, kind: str = "human") -> str:
    done = reach(
        "token", "create", "alice", "--kind", kind, "--scopes", "rules.read,ops.read", "--stores", "*", *more
    )
    assert done.code == 0, done.err
    return done.out.strip()


def test_a_token_is_printed_once_and_alone(reach: Reach) -> None:
    asked = ("--kind", "human", "--scopes", "rules.read", "--stores", "s1,s2", "--ttl", "30d")
    token = reach.process("token", "create", "alice", *asked).out.strip()
    assert TOKEN.fullmatch(token)
    listed = reach("token", "list")
    assert token not in listed.out
    assert token.split("_")[1] in listed.out
    assert "alice" in listed.out
    assert "live" in listed.out


def test_a_revoked_token_is_listed_as_such(reach: Reach) -> None:
    token = create(reach)
    assert reach("token", "revoke", token.split("_")[1]).code == 0
    assert "revoked" in reach("token", "list").out
    assert reach("token", "login", stdin="", REACH_TOKEN=token).code == 1


def test_a_person_logs_in_with_the_token_of_the_environment(reach: Reach) -> None:
    token = create(reach)
    done = reach("token", "login", REACH_TOKEN=token)
    assert done.code == 0, done.err
    assert done.out.startswith("logged in at ")


def test_a_program_cannot_log_in(reach: Reach) -> None:
    token = create(reach, kind="service")
    done = reach("token", "login", token.split("_")[1])
    assert done.code == 1
    assert "only people log in" in done.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--kind", "human", "--scopes", "rule.the.world", "--stores", "*"), "scopes"),
        (("--kind", "human", "--scopes", "ops.read", "--stores", "*,s1"), "stores"),
        (("--kind", "human", "--scopes", "ops.read", "--stores", "*", "--ttl", "soon"), "--ttl"),
        (("--kind", "robot", "--scopes", "ops.read", "--stores", "*"), "--kind"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(
    reach: Reach, arguments: tuple[str, ...], named: str
) -> None:
    done = reach("token", "create", "alice", *arguments)
    assert done.code == 2
    assert named in done.err
    assert done.out == ""


def test_an_unknown_token_is_one_line(reach: Reach) -> None:
    done = reach("token", "revoke", "0123456789ab")
    assert (done.code, done.err) == (1, "reach: no such token (NOT_FOUND)\n")


def test_all_of_a_subject_is_revoked_at_once(reach: Reach) -> None:
    for _ in range(2):
        create(reach)
    done = reach("token", "revoke", "--subject", "alice")
    assert (done.code, done.out) == (0, "revoked, and 2 tokens of theirs\n")
    listed = reach("token", "list").out
    assert "live" not in listed
    assert "JWTs of subject alice are revoked, up to " in listed


def test_a_jwt_and_an_issuer_are_revoked_by_their_names(reach: Reach) -> None:
    assert reach("token", "revoke", "jwt:t-1").out == "revoked\n"
    assert reach("token", "revoke", "--issuer", "https://id.example").out == "revoked\n"
    listed = reach("token", "list").out
    assert "JWTs of token jwt:t-1 are revoked" in listed
    assert "JWTs of issuer https://id.example are revoked" in listed


@pytest.mark.parametrize(
    "arguments", [(), ("abc", "--subject", "alice"), ("--subject", "a", "--issuer", "b")]
)
def test_what_to_revoke_is_named_once(reach: Reach, arguments: tuple[str, ...]) -> None:
    done = reach("token", "revoke", *arguments)
    assert done.code == 2
    assert "name one of: a token or its id, --subject, --issuer" in done.err


def test_a_login_is_listed(reach: Reach) -> None:
    create(reach)
    create(reach, kind="service")
    lines = reach("token", "list").out.splitlines()
    head = next(line for line in lines if "login" in line)
    at = head.index("login")
    assert sorted(line[at : at + 2] for line in lines if "alice" in line) == ["- ", "20"]


def test_tokens_live_on_postgresql_too(reach: Reach, postgres_database: str) -> None:
    elsewhere = reach.with_(REACH_DATABASE_URL=postgres_database)
    token = create(elsewhere)
    assert token.split("_")[1] in elsewhere("token", "list").out
    assert not (reach.place / "home").exists()


def test_the_first_token_closes_the_door_of_a_running_suite_to_everybody_else(reach: Reach) -> None:
    with Program("up", ["-m", "cli.main", "up"], {**reach.variables, **PORTS}) as program:
        asking = reach.with_(REACH_NOTIFIER_TARGET=program.ready().facts["grpc"])
        assert asking(*ASK).code == 0  # the local operator
        token = create(reach)
        refused = until(lambda: (done := asking(*ASK)).code and done)
        assert refused.code == 1
        assert "REACH_TOKEN" in refused.err
        admitted = asking(*ASK, REACH_TOKEN=token)
        assert admitted.code == 0, admitted.err
        assert token not in program.output()
        reach("token", "revoke", token.split("_")[1])
        until(lambda: asking(*ASK, REACH_TOKEN=token).code)
