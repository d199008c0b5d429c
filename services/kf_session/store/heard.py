"""A match that another system found, as a row of ours."""

from __future__ import annotations

import hashlib
from typing import cast

import orjson

from services.kf_session.store.matches import EVENT, Match
from shared.events.kinds import Event


def outside(event: Event) -> Match:
    """The match that an ``intent.matched`` tells of. It is told anew when its reasons are others than before."""
    data = event.data
    listed = data.get("matched_conditions") or []
    conditions = tuple(str(one) for one in cast("list[object]", listed))
    reasons = [sorted(conditions), str(data["explanation"])]
    return Match(
        id="",
        store_id=event.store_id,
        intent_id=str(data["intent_id"]),
        profile_id=str(data["profile_id"]),
        source=EVENT,
        external_id=str(data["match_id"]),
        intent_name=str(data["intent_name"]),
        profile_name=str(data["profile_name"]),
        score=float(cast("float", data["score"])),
        ai_score=None,
        conditions=conditions,
        explanation=str(data["explanation"]),
        profile_fingerprint=hashlib.sha256(orjson.dumps(reasons)).hexdigest()[:32],
        intent_version=0,
        open_kfid="",
        external_userid=str(data["user_id"]),
        expires_at=None,
    )
