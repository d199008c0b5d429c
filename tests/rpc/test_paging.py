from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.rpc.paging import PageTokens, page_size
from tests.rpc.contract import ListEchoesRequest

TOKENS = PageTokens(b"k" * 32)
CURSORS = st.lists(st.none() | st.text(max_size=20) | st.integers(-(2**53), 2**53), max_size=4)


def asking(token: str = "", **filters: str) -> ListEchoesRequest:
    return ListEchoesRequest(page_token=token, **filters)


@given(CURSORS)
def test_a_token_leads_back_to_where_the_page_ended(cursor):
    token = TOKENS.issue(asking(store_id="S1"), cursor)
    assert (
        TOKENS.read(
            asking(token, store_id="S1"),
        )
        == cursor
    )


def test_the_first_page_needs_no_token():
    assert TOKENS.read(asking()) is None


def test_a_token_works_with_another_page_size_and_in_another_replica():
    token = TOKENS.issue(ListEchoesRequest(store_id="S1", page_size=10), ["a"])
    request = ListEchoesRequest(store_id="S1", page_size=99, page_token=token)
    assert PageTokens(b"k" * 32).read(request) == ["a"]


def test_a_token_of_another_filter_is_refused():
    token = TOKENS.issue(asking(store_id="S1"), ["a"])
    with pytest.raises(Invalid) as caught:
        TOKENS.read(asking(token, store_id="S2"))
    assert (caught.value.reason, caught.value.violations[0].field) == ("PAGE_TOKEN_INVALID", "page_token")


@pytest.mark.parametrize("token", ["x", "!!!!", "令牌", "A" * 5000, "AAAA", "=", "A" * 40])
def test_what_we_did_not_issue_is_refused(token):
    with pytest.raises(Invalid, match="page_token"):
        TOKENS.read(asking(token))


def test_a_token_of_another_key_and_an_altered_one_are_refused():
    token = TOKENS.issue(asking(), ["a"])
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[-3] ^= 1
    altered = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    for tokens, text in ((PageTokens(b"j" * 32), token), (TOKENS, altered)):
        with pytest.raises(Invalid):
            tokens.read(asking(text))


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)])
def test_a_page_size_has_a_default_and_a_ceiling(asked, given):
    assert page_size(asked) == given


def test_a_negative_page_size_is_a_mistake():
    with pytest.raises(Invalid):
        page_size(-1)
