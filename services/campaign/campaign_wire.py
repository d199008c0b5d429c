"""Between campaigns and their messages in the contract."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from reach.campaign.v1 import campaign_pb2 as pb
from reach.campaign.v1 import writing_pb2

from services.campaign import audience_wire
from services.campaign.domain.campaign import Attachment, AttachmentKind, Canary, Content, Spec
from services.campaign.domain.capabilities import Capability
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.window import Hours, SendWindow, read_window
from services.campaign.store.campaigns import Edit
from services.campaign.usecases.campaigns import View
from shared.rpc.fields import EnumMap, from_duration, optional_timestamp, to_duration, to_timestamp

STATUSES: EnumMap[Status] = EnumMap(
    pb.CampaignStatus, {one: pb.CampaignStatus.Value(f"CAMPAIGN_STATUS_{one.name}") for one in Status}
)
CAPABILITIES: EnumMap[Capability] = EnumMap(
    writing_pb2.Capability,
    {one: writing_pb2.Capability.Value(f"CAPABILITY_{one.name}") for one in Capability},
)
_FIELDS: Final = {
    AttachmentKind.IMAGE: ("material",),
    AttachmentKind.LINK: ("title", "url", "picture_url", "description"),
    AttachmentKind.MINIPROGRAM: ("title", "appid", "page", "material"),
    AttachmentKind.VIDEO: ("material",),
    AttachmentKind.FILE: ("material",),
}
"""Of each kind: its fields, which the domain and the contract call alike."""
_CONFIRM_WITHIN: Final = timedelta(hours=72)


def from_spec(wire: pb.CampaignSpec, zone: str, field: str = "spec") -> Spec:
    """What *wire* says; *zone* where it names none. Raises Invalid for what the contract's rules do not catch."""
    has = wire.HasField
    return Spec(
        name=wire.name,
        content=from_content(wire.content),
        audience=audience_wire.to_document(wire.audience, f"{field}.audience"),
        window=from_window(wire.window, zone, f"{field}.window"),
        schedule_at=optional_timestamp(wire, "schedule_time"),
        canary=Canary(wire.canary.owners, from_duration(wire.canary.wait, f"{field}.canary.wait"))
        if has("canary")
        else Canary(),
        confirm_within=from_duration(wire.confirm_within, f"{field}.confirm_within")
        if has("confirm_within")
        else _CONFIRM_WITHIN,
        banned_words=tuple(dict.fromkeys(wire.banned_words)),
        theme=wire.theme,
        tone=wire.tone,
    )


def to_spec(spec: Spec) -> pb.CampaignSpec:
    """As it is said in the contract."""
    return pb.CampaignSpec(
        name=spec.name,
        content=to_content(spec.content),
        audience=audience_wire.from_document(spec.audience),
        window=to_window(spec.window),
        schedule_time=None if spec.schedule_at is None else to_timestamp(spec.schedule_at),
        canary=pb.Canary(owners=spec.canary.owners, wait=to_duration(spec.canary.wait))
        if spec.canary.owners
        else None,
        confirm_within=to_duration(spec.confirm_within),
        banned_words=spec.banned_words,
        theme=spec.theme,
        tone=spec.tone,
    )


def from_content(wire: pb.Content) -> Content:
    """What customers read."""
    return Content(wire.text, tuple(_from_attachment(one) for one in wire.attachments))


def to_content(content: Content) -> pb.Content:
    """The same in the contract."""
    return pb.Content(text=content.text, attachments=map(_to_attachment, content.attachments))


def _from_attachment(wire: pb.Attachment) -> Attachment:
    kind = AttachmentKind(str(wire.WhichOneof("kind")))
    said = getattr(wire, kind.value)
    return Attachment(kind, **{name: getattr(said, name) for name in _FIELDS[kind]})


def _to_attachment(one: Attachment) -> pb.Attachment:
    said: dict[str, Any] = {one.kind.value: {name: getattr(one, name) for name in _FIELDS[one.kind]}}
    return pb.Attachment(**said)


def from_window(wire: pb.SendWindow, zone: str, field: str) -> SendWindow:
    """When owners may be asked. Raises Invalid for a zone that nobody knows and hours that are none."""
    return read_window(
        wire.time_zone,
        [(one.weekday - 1, [(hours.start, hours.end) for hours in one.hours]) for one in wire.weekdays],
        [(one.date, [(hours.start, hours.end) for hours in one.hours]) for one in wire.dates],
        default_zone=zone,
        field=field,
    )


def to_window(window: SendWindow) -> pb.SendWindow:
    """The same in the contract."""
    return pb.SendWindow(
        time_zone=window.zone,
        weekdays=[pb.WeekdayHours(weekday=day + 1, hours=_to_hours(hours)) for day, hours in window.weekdays],
        dates=[pb.DateHours(date=day.isoformat(), hours=_to_hours(hours)) for day, hours in window.dates],
    )


def _to_hours(hours: Sequence[Hours]) -> list[pb.SendHours]:
    ends = [str(one).rpartition("–")[2] for one in hours]
    return [pb.SendHours(start=f"{one.start:%H:%M}", end=end) for one, end in zip(hours, ends, strict=True)]


def to_campaign(view: View) -> pb.Campaign:
    """A campaign as callers see it."""
    kept, frozen = view.kept, view.frozen
    return pb.Campaign(
        id=kept.id,
        store_id=kept.store_id,
        status=STATUSES.to_wire(kept.status),
        version=kept.version,
        spec=to_spec(kept.spec),
        content_hash="" if frozen is None else frozen.content_hash,
        group_count=0 if frozen is None else frozen.included,
        reason=kept.reason,
        created_by=kept.created_by,
        editors=sorted({one.editor for one in view.edits}),
        top_up_of=kept.top_up_of,
        playbook=kept.playbook,
        create_time=to_timestamp(kept.created_at),
        update_time=to_timestamp(kept.updated_at),
        start_time=None if kept.started_at is None else to_timestamp(kept.started_at),
        finish_time=None if kept.finished_at is None else to_timestamp(kept.finished_at),
    )


def to_edit(edit: Edit) -> writing_pb2.CampaignEdit:
    """One version."""
    return writing_pb2.CampaignEdit(
        version=edit.version,
        editor=edit.editor,
        kind=writing_pb2.CampaignEditKind.Value(f"CAMPAIGN_EDIT_KIND_{edit.how.upper()}"),
        create_time=to_timestamp(edit.created_at),
    )
