"""Every group is in one task, whoever owns how many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain.shares import shared_out


@dataclass(frozen=True)
class Room:
    chat_id: str
    owner: str


ROOMS = st.lists(
    st.builds(Room, st.integers(0, 400).map("wr{}".format), st.sampled_from(["li", "Li", "wu", "xu", "zé"])),
    unique_by=lambda one: one.chat_id,
    max_size=60,
)


@given(rooms=ROOMS, first=st.integers(0, 6), most=st.integers(1, 7))
def test_every_group_is_in_exactly_one_share_of_its_owner(rooms: list[Room], first: int, most: int) -> None:
    shares = list(shared_out(rooms, first=first, most=most))
    found = Counter(group for share in shares for group in share.groups)
    assert found == Counter(rooms)
    assert all(group.owner == share.owner for share in shares for group in share.groups)
    assert all(1 <= len(share.groups) <= most for share in shares)
    assert len({(share.owner, share.chunk) for share in shares}) == len(shares)
    for owner in {one.owner for one in rooms}:
        theirs = [share for share in shares if share.owner == owner]
        assert [share.chunk for share in theirs] == list(range(len(theirs)))
        assert all(len(share.groups) == most for share in theirs[:-1]), "none is smaller than it has to be"
    owners = {one.owner for one in rooms}
    canary = {share.owner for share in shares if share.canary}
    assert len(canary) == (first if first < len(owners) else 0)
    assert all(share.canary for share in shares if share.owner in canary)


@given(rooms=ROOMS.flatmap(lambda rooms: st.tuples(st.just(rooms), st.permutations(rooms))))
def test_the_order_in_which_groups_come_does_not_matter(rooms: tuple[list[Room], list[Room]]) -> None:
    one, other = rooms
    assert list(shared_out(one, first=1, most=3)) == list(shared_out(other, first=1, most=3))


def test_the_platforms_two_thousand() -> None:
    shares = list(shared_out([Room(f"wr{at:05d}", "li") for at in range(4001)]))
    assert [(share.chunk, len(share.groups)) for share in shares] == [(0, 2000), (1, 2000), (2, 1)]
