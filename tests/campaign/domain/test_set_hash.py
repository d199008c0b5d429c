"""What an approval binds of the groups: as a set of pairs, which no other set looks like."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from services.campaign.domain.campaign import set_hash

pairs = st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=5, unique=True)


@given(pairs, pairs)
@example([("a", "b"), ("c", "d")], [("a", "b1:c1:d")])
@example([("ab", "c")], [("a", "bc")])
@example([("a", "")], [("", "a")])
@example([], [("", "")])
def test_two_sets_have_one_hash_only_when_they_are_the_same(one, other):
    assert (set_hash(one) == set_hash(other)) is (sorted(one) == sorted(other))


@given(pairs)
def test_the_order_of_a_set_is_of_no_meaning(found):
    assert set_hash(found) == set_hash(found[::-1])
