"""What kf_session announces of its own matches."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from reach.events.v1 import kf_pb2

from services.kf_session.store.matches import Match
from shared.db.outbox import NewEvent
from shared.events.envelope import PROTOBUF, binary_headers
from shared.ids import new_id

SOURCE: Final = "reach/kf_session"
"""The CloudEvents source by which we know our own announcements."""

TYPE: Final = "intent.matched"


def announced_id(one: Match) -> str:
    """The ``match_id`` of the match with the profile as it is: another state of it is another match to others."""
    return f"{one.id}.{one.profile_fingerprint[:12]}"


def matched(one: Match, now: datetime) -> NewEvent:
    """The event ``intent.matched``. Nobody's name and none of a profile's values: its id stands for the name."""
    data = kf_pb2.IntentMatched(
        user_id=one.external_userid,
        profile_id=one.profile_id,
        profile_name=one.profile_id,
        intent_id=one.intent_id,
        intent_name=one.intent_name,
        score=one.score,
        explanation="；".join(one.conditions),
        matched_conditions=one.conditions,
        match_id=announced_id(one),
    )
    event_id = new_id()
    headers = binary_headers(TYPE, event_id, one.store_id, SOURCE, now)
    return NewEvent(event_id, TYPE, one.store_id, data.SerializeToString(), PROTOBUF, headers, now)
