"""Between templates, experiments and their messages in the contract."""

from __future__ import annotations

from typing import Final

from reach.kf_session.v1 import template_pb2 as pb

from services.kf_session.domain.experiment import Seen, Variant
from services.kf_session.domain.templates import Msgtype, TemplateSpec
from services.kf_session.pipeline.templating import SHIPPED
from services.kf_session.store.templates import Version
from services.kf_session.usecases.templates import Trial
from shared.rpc.fields import EnumMap, to_timestamp

_TYPES: EnumMap[Msgtype] = EnumMap(
    pb.TemplateType, {one: pb.TemplateType.Value(f"TEMPLATE_TYPE_{one.name}") for one in Msgtype}
)
_WORDS: Final = (
    "single",
    "line",
    "heading",
    "ending",
    "title",
    "url",
    "appid",
    "pagepath",
    "thumb_media_id",
)


def from_spec(wire: pb.TemplateSpec) -> TemplateSpec:
    """What *wire* says, not checked yet. Raises Invalid."""
    words = {name: getattr(wire, name) for name in _WORDS}
    return TemplateSpec(_TYPES.to_domain(wire.type, "spec.type"), **words)


def to_spec(spec: TemplateSpec) -> pb.TemplateSpec:
    """What a version says."""
    return pb.TemplateSpec(
        type=_TYPES.to_wire(spec.msgtype), **{name: getattr(spec, name) for name in _WORDS}
    )


def to_template(version: Version, trial: Trial | None = None) -> pb.Template:
    """One version, with the experiment on its template."""
    wire = pb.Template(
        store_id=version.store_id,
        template_id=version.template_id,
        version=version.version,
        acting=version.acting,
        spec=to_spec(version.spec),
        comment=version.comment,
        created_by=version.created_by,
    )
    if version.version != SHIPPED:
        wire.create_time.CopyFrom(to_timestamp(version.created_at))
    if trial is not None:
        wire.experiment.CopyFrom(to_experiment(trial))
    return wire


def from_variant(wire: pb.ExperimentVariant) -> Variant:
    """A version that shall take part."""
    return Variant(wire.name, wire.version, wire.share)


def to_experiment(trial: Trial) -> pb.Experiment:
    """An experiment as it stands."""
    one = trial.experiment
    state = "RUNNING" if one.running else "STOPPED"
    wire = pb.Experiment(
        experiment_id=one.id,
        store_id=one.store_id,
        template_id=one.template_id,
        state=pb.ExperimentState.Value(f"EXPERIMENT_STATE_{state}"),
        reason=one.reason,
        winner=one.winner or "",
        variants=[_variant(each, trial) for each in one.variants],
        alpha=one.alpha,
        adopt_winner=one.adopt,
        start_time=to_timestamp(one.started_at),
        end_time=to_timestamp(one.ends_at),
        created_by=one.created_by,
    )
    if one.stopped_at is not None:
        wire.stop_time.CopyFrom(to_timestamp(one.stopped_at))
    return wire


def _variant(one: Variant, trial: Trial) -> pb.ExperimentVariant:
    seen = trial.seen.get(one.name, Seen())
    return pb.ExperimentVariant(
        name=one.name,
        version=one.version,
        share=one.share,
        stopped_reason=(trial.experiment.reasons or {}).get(one.name, ""),
        customer_count=seen.customers,
        engaged_count=seen.engaged,
        unsubscribed_count=seen.unsubscribed,
        late_failed_count=seen.late_failed,
    )
