from __future__ import annotations

import pytest

from shared.identity import require_safe_binding


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:50051", "127.0.0.2:0", "[::1]:1", "localhost:50051", "unix:/tmp/s"]
)
def test_what_only_this_machine_reaches_needs_nothing(listen):
    assert (
        require_safe_binding(
            listen, has_credentials=False, tls=False, files="REACH_AUTH_TLS", allow_plaintext=False
        )
        == []
    )


@pytest.mark.parametrize(
    "listen",
    [
        "0.0.0.0:50051",
        "[::]:50051",
        "[::ffff:127.0.0.1]:50051",
        "10.0.0.1:50051",
        "reach.example:50051",
        "localhost.example:1",
        "127.1:1",
        "0:1",
    ],
)
def test_what_others_reach_needs_tokens_and_encryption(listen):
    problems = require_safe_binding(
        listen, has_credentials=False, tls=False, files="REACH_AUTH_TLS", allow_plaintext=False
    )
    assert len(problems) == 2
    assert "reach token create" in problems[0]
    assert "REACH_AUTH_ALLOW_PLAINTEXT=true" in problems[1]


@pytest.mark.parametrize(
    ("has_credentials", "tls", "allow_plaintext", "count"),
    [(True, True, False, 0), (True, False, True, 0), (True, False, False, 1), (False, True, True, 1)],
)
def test_each_missing_thing_is_one_problem(has_credentials, tls, allow_plaintext, count):
    found = require_safe_binding(
        "0.0.0.0:1",
        has_credentials=has_credentials,
        tls=tls,
        files="REACH_AUTH_HTTP_TLS",
        allow_plaintext=allow_plaintext,
    )
    assert len(found) == count
