"""Between the contract's messages about pushes and our words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.timestamp_pb2 import Timestamp
from reach.kf_session.v1 import push_pb2 as pb

from services.kf_session.domain.content import Content, Form
from services.kf_session.domain.eligibility import Verdict
from services.kf_session.domain.preference import Preference
from services.kf_session.domain.push import Purpose
from services.kf_session.domain.telling import Step
from services.kf_session.store.push_reading import PushView
from shared.errors import Invalid
from shared.rpc.fields import to_timestamp

_PURPOSES: Final = {
    Purpose.MATCH: pb.PUSH_PURPOSE_MATCH,
    Purpose.SUMMARY: pb.PUSH_PURPOSE_SUMMARY,
    Purpose.MESSAGE: pb.PUSH_PURPOSE_MESSAGE,
    Purpose.REPLY: pb.PUSH_PURPOSE_REPLY,
    Purpose.NOTICE: pb.PUSH_PURPOSE_NOTICE,
    Purpose.WELCOME: pb.PUSH_PURPOSE_WELCOME,
}
_BY_NUMBER: Final = {number: purpose for purpose, number in _PURPOSES.items()}
_STATUS: Final = "PUSH_STATUS_"


def from_content(content: pb.PushContent) -> Content:
    """What is to be sent. Raises Invalid naming every field that the platform would not take."""
    named: str | None = content.WhichOneof("content")
    if named is None:
        raise Invalid.field("content", "is needed; say one of " + ", ".join(Form))
    body: dict[str, Any] = MessageToDict(getattr(content, named), preserving_proto_field_name=True)
    if named == Form.LOCATION:
        # A place on the equator is one, too.
        body |= {"latitude": content.location.latitude, "longitude": content.location.longitude}
    if named == Form.MENU:
        body["list"] = [{"type": next(iter(item), ""), **item} for item in body.get("list", [])]
    return Content.checked(Form(named), body)


def to_content(plain: Mapping[str, Any]) -> pb.PushContent:
    """What is sent, as the contract has it; fields that it does not have are left out."""
    named = str(plain["msgtype"])
    body = dict(plain[named])
    if named == Form.MENU:
        body["list"] = [{key: value for key, value in one.items() if key != "type"} for one in body["list"]]
    content = pb.PushContent()
    try:
        ParseDict({named: body}, content, ignore_unknown_fields=True)
    except ParseError as error:
        raise ValueError("a stored content does not fit the contract") from error
    return content


def from_purpose(number: int) -> Purpose:
    """Unspecified is a message."""
    return _BY_NUMBER.get(pb.PushPurpose.ValueType(number), Purpose.MESSAGE)


def from_status(number: int) -> str:
    """The stored word; empty where none is asked for."""
    if not number:
        return ""
    return pb.PushStatus.Name(pb.PushStatus.ValueType(number)).removeprefix(_STATUS).lower()


def to_verdict(verdict: Verdict) -> pb.GateVerdict:
    """What a gate says now."""
    return pb.GateVerdict(
        gate=verdict.gate.value,
        verdict=verdict.word.value,
        reason=verdict.reason,
        facts={key: str(value) for key, value in verdict.facts.items()},
        until_time=_stamp(verdict.until),
    )


def to_row(row: Mapping[str, Any]) -> pb.PushRecord:
    """A push as a list shows it."""
    deferred = row["status"] == "deferred"
    return pb.PushRecord(
        push_id=row["id"],
        store_id=row["store_id"],
        open_kfid=row["open_kfid"],
        external_userid=row["external_userid"],
        purpose=_PURPOSES[Purpose(row["purpose"])],
        status=pb.PushStatus.Value(f"{_STATUS}{row['status'].upper()}"),
        reason=row["reason"],
        hold_reason=(row["hold_reason"] or "") if deferred else "",
        due_time=_stamp(row["due_at"]) if deferred else None,
        score=row["score"],
        fail_type=row["fail_type"],
        merged_into=row["merged_into"] or "",
        accept_time=_stamp(row["accepted_at"]),
        create_time=_stamp(row["created_at"]),
        update_time=_stamp(row["updated_at"]),
        expire_time=_stamp(row["expires_at"]),
        msgid=row["msgid"],
    )


def to_record(view: PushView) -> pb.PushRecord:
    """A push with all that is known of it."""
    record = to_row(view.row)
    record.content.CopyFrom(to_content(view.row["content"]))
    for one in view.attempts:
        record.attempts.add(
            attempt_no=one["attempt_no"],
            state=one["state"],
            errcode=one["errcode"],
            detail=one["detail"],
            start_time=_stamp(one["started_at"]),
            end_time=_stamp(one["finished_at"]),
        )
    for one in view.notes:
        record.notes.add(
            gate=one["gate"],
            verdict=one["verdict"],
            reason=one["reason"],
            facts={key: str(value) for key, value in one["facts"].items()},
            until_time=_stamp(one["until"]),
            time=_stamp(one["at"]),
        )
    for one in view.items:
        record.items.add(
            position=one["position"], item_id=one["item_id"], line=one["line"], score=one["score"]
        )
    return record


def from_preferences(preferences: pb.Preferences) -> dict[str, object]:
    """What is present."""
    return {each.name: value for each, value in preferences.ListFields()}


def to_said(said: Mapping[str, object]) -> pb.Preferences:
    """What was said, and no more."""
    return ParseDict(dict(said), pb.Preferences(), ignore_unknown_fields=True)


def to_effective(what: Preference) -> pb.Preferences:
    """What counts, every field with a value."""
    return pb.Preferences(
        enabled=what.enabled,
        min_score=what.min_score,
        quiet_from="" if what.quiet is None else f"{what.quiet.start:%H:%M}",
        quiet_to="" if what.quiet is None else f"{what.quiet.end:%H:%M}",
        time_zone=what.zone.key,
        daily_limit=what.daily_limit,
        reserve=what.reserve,
        summary_time=f"{what.summary_at:%H:%M}",
        closing=what.closing.value,
        too_late=what.too_late.value,
        after_human=what.after_human.value,
        send_at_best_hour=what.send_at_best_hour,
    )


def to_step(step: Step) -> pb.ExplainStep:
    """One step of a story."""
    return pb.ExplainStep(
        push_id=step.push_id, code=step.code, text_zh=step.zh, text_en=step.en, time=to_timestamp(step.at)
    )


def _stamp(at: datetime | None) -> Timestamp | None:
    return None if at is None else to_timestamp(at)
