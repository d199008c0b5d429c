"""Profiles, intents and matches: protobuf in, domain out, and back."""

from __future__ import annotations

from datetime import date
from typing import Final

from reach.kf_session.v1 import intent_pb2 as pb

from services.kf_session.domain.matching.conditions import (
    Among,
    Between,
    Comparison,
    Condition,
    FieldIs,
    Keywords,
)
from services.kf_session.domain.matching.profile import Profile, Value
from services.kf_session.domain.matching.scoring import MIN_SCORE, Intent
from services.kf_session.store.intents import KeptIntent
from services.kf_session.store.matches import Match
from services.kf_session.store.profiles import KeptProfile
from shared.clock import Clock
from shared.errors import Invalid
from shared.rpc.fields import EnumMap, optional_timestamp, to_timestamp

_AMONG: Final = EnumMap(
    pb.KeywordMode,
    {
        Among.ANY: pb.KEYWORD_MODE_ANY,
        Among.ALL: pb.KEYWORD_MODE_ALL,
        Among.NONE: pb.KEYWORD_MODE_NONE,
    },
)
_TEST: Final = EnumMap(
    pb.FieldTest, {Comparison.EQUALS: pb.FIELD_TEST_EQUALS, Comparison.CONTAINS: pb.FIELD_TEST_CONTAINS}
)


def from_profile(wire: pb.Profile, place: str) -> Profile:
    """The profile; Invalid naming the field below *place*."""
    fields = {name: _from_value(value, f"{place}.fields[{name}]") for name, value in wire.fields.items()}
    return Profile(wire.profile_id, wire.display_name, wire.text, fields)


def _from_value(wire: pb.FieldValue, place: str) -> Value:
    kind = wire.WhichOneof("value")
    if kind is None:
        raise Invalid.field(place, "has no value")
    if kind == "day":
        return _day(wire.day, f"{place}.day")
    if kind == "texts":
        return tuple(wire.texts.values)
    return wire.number if kind == "number" else wire.text


def _day(wire: pb.Day, place: str) -> date:
    try:
        return date.fromisoformat(wire.date)
    except ValueError:
        raise Invalid.field(f"{place}.date", "is no day of the calendar") from None


def to_profile(kept: KeptProfile) -> pb.Profile:
    """A profile as callers see it."""
    one = kept.profile
    return pb.Profile(
        profile_id=one.id,
        display_name=one.name,
        text=one.text,
        fields={name: _to_value(value) for name, value in one.fields.items()},
        update_time=to_timestamp(kept.updated_at),
    )


def _to_value(value: Value) -> pb.FieldValue:
    if isinstance(value, date):
        return pb.FieldValue(day=pb.Day(date=value.isoformat()))
    if isinstance(value, tuple):
        return pb.FieldValue(texts=pb.Texts(values=value))
    return pb.FieldValue(text=value) if isinstance(value, str) else pb.FieldValue(number=value)


def from_spec(store_id: str, intent_id: str, wire: pb.IntentSpec, clock: Clock) -> KeptIntent:
    """The intent that *wire* describes, not numbered yet."""
    now = clock.now()
    conditions = tuple(
        _from_condition(one, f"spec.conditions[{at}]") for at, one in enumerate(wire.conditions)
    )
    return KeptIntent(
        store_id=store_id,
        intent=Intent(intent_id, wire.display_name, conditions, wire.min_score or MIN_SCORE),
        version=0,
        description=wire.description,
        open_kfid=wire.open_kfid,
        external_userid=wire.external_userid,
        auto_push=not wire.manual_push,
        expires_at=optional_timestamp(wire, "expire_time"),
        deleted_at=None,
        created_at=now,
        updated_at=now,
        ai_score=wire.ai_score,
        ai_text=wire.ai_text,
    )


def _from_condition(wire: pb.Condition, place: str) -> Condition:
    weight, required = wire.weight or 1, wire.required
    kind = wire.WhichOneof("kind")
    if kind == "keywords":
        mode = _AMONG.to_domain(wire.keywords.mode, f"{place}.keywords.mode")
        return Keywords(tuple(wire.keywords.keywords), mode, weight, required)
    if kind == "field":
        test = _TEST.to_domain(wire.field.test, f"{place}.field.test")
        return FieldIs(wire.field.field, test, tuple(wire.field.values), weight, required)
    if kind == "number_range":
        span = wire.number_range
        low = span.at_least if span.HasField("at_least") else None
        high = span.at_most if span.HasField("at_most") else None
        return Between(span.field, low, high, weight, required)
    days = wire.day_range
    first = _day(days.first, f"{place}.day_range.first") if days.HasField("first") else None
    last = _day(days.last, f"{place}.day_range.last") if days.HasField("last") else None
    return Between(days.field, first, last, weight, required)


def to_intent(kept: KeptIntent) -> pb.Intent:
    """An intent as callers see it."""
    spec = pb.IntentSpec(
        display_name=kept.intent.name,
        description=kept.description,
        conditions=[_to_condition(one) for one in kept.intent.conditions],
        min_score=kept.intent.min_score,
        external_userid=kept.external_userid,
        open_kfid=kept.open_kfid,
        manual_push=not kept.auto_push,
        ai_score=kept.ai_score,
        ai_text=kept.ai_text,
    )
    if kept.expires_at is not None:
        spec.expire_time.CopyFrom(to_timestamp(kept.expires_at))
    return pb.Intent(
        intent_id=kept.intent.id,
        store_id=kept.store_id,
        version=kept.version,
        spec=spec,
        create_time=to_timestamp(kept.created_at),
        update_time=to_timestamp(kept.updated_at),
    )


def _to_condition(one: Condition) -> pb.Condition:
    wire = pb.Condition(weight=one.weight, required=one.required)
    if isinstance(one, Keywords):
        wire.keywords.CopyFrom(pb.KeywordCondition(keywords=one.words, mode=_AMONG.to_wire(one.among)))
    elif isinstance(one, FieldIs):
        wire.field.CopyFrom(
            pb.FieldCondition(field=one.field, test=_TEST.to_wire(one.test), values=one.values)
        )
    elif isinstance(one.low if one.low is not None else one.high, date):
        wire.day_range.CopyFrom(pb.DayRange(field=one.field, first=_limit(one.low), last=_limit(one.high)))
    else:
        wire.number_range.CopyFrom(
            pb.NumberRange(field=one.field, at_least=_number(one.low), at_most=_number(one.high))
        )
    return wire


def _limit(limit: float | date | None) -> pb.Day | None:
    return pb.Day(date=limit.isoformat()) if isinstance(limit, date) else None


def _number(limit: float | date | None) -> float | None:
    return limit if isinstance(limit, float) else None


def to_match(one: Match) -> pb.Match:
    """A match as callers see it."""
    return pb.Match(
        match_id=one.id,
        intent_id=one.intent_id,
        profile_id=one.profile_id,
        profile_name=one.profile_name,
        score=one.score,
        ai_score=one.ai_score,
        ai_reason=one.ai_reason,
        matched_conditions=one.conditions,
        explanation=one.explanation,
        push_id=one.push_id or "",
        pushed=one.told,
        unpushed_reason=one.unpushed_reason or "",
    )
