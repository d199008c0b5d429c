"""The RPCs about pushes and preferences: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from reach.kf_session.v1 import kf_session_service_pb2_grpc
from reach.kf_session.v1 import push_pb2 as pb

from services.kf_session.domain.eligibility import Candidate
from services.kf_session.domain.push import NewPush, Purpose
from services.kf_session.domain.telling import tell
from services.kf_session.push_wire import (
    from_content,
    from_preferences,
    from_purpose,
    from_status,
    to_effective,
    to_record,
    to_row,
    to_said,
    to_step,
    to_verdict,
)
from services.kf_session.session_service import SERVICE
from services.kf_session.store.ledger import SessionKey
from services.kf_session.store.push_reading import Wanted
from services.kf_session.usecases.preferences import Preferences, Said
from services.kf_session.usecases.pushes import Pushes
from services.kf_session.usecases.stories import Stories
from shared.errors import Invalid
from shared.ids import new_id
from shared.rpc.fields import from_duration, optional_timestamp, to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, stores_named, visible_stores
from shared.telemetry.traces import current_traceparent

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/CheckEligibility": "kf.read",
    f"{SERVICE}/Push": "kf.send",
    f"{SERVICE}/ListPushes": "kf.read",
    f"{SERVICE}/GetPush": "kf.read",
    f"{SERVICE}/GetPreferences": "kf.read",
    f"{SERVICE}/UpdatePreferences": "kf.write",
    f"{SERVICE}/Explain": "kf.read",
}
"""The scope each method needs."""

_LONGEST: Final = timedelta(days=7)
_USUAL: Final = timedelta(hours=48)
_WAIT_MOST: Final = timedelta(seconds=10)
_EXPLAINED: Final = 100


class PushMethods(kf_session_service_pb2_grpc.KfSessionServiceServicer):
    """See kf_session_service.proto."""

    _pushes: Pushes
    _preferences: Preferences
    _stories: Stories
    _tokens: PageTokens

    async def CheckEligibility(
        self, request: pb.CheckEligibilityRequest, context: Any
    ) -> pb.CheckEligibilityResponse:
        """What every gate says now."""
        authorise_store(request.store_id)
        score = request.score if request.HasField("score") else None
        found = await self._pushes.check(
            request.store_id,
            SessionKey(request.open_kfid, request.external_userid),
            Candidate(from_purpose(request.purpose), score),
        )
        return pb.CheckEligibilityResponse(
            eligible=all(verdict.passes for verdict in found.verdicts),
            gates=[to_verdict(verdict) for verdict in found.verdicts],
            free_credits=found.free,
            window_end_time=None if found.window_end is None else to_timestamp(found.window_end),
        )

    async def Push(self, request: pb.PushRequest, context: Any) -> pb.PushResponse:
        """Send something to a customer."""
        authorise_store(request.store_id)
        wait = from_duration(request.wait, "wait")
        if wait > _WAIT_MOST:
            raise Invalid.field("wait", "at most 10 s; ask GetPush for what takes longer")
        once = once_of(SERVICE, "Push", request, request.store_id, without=("wait",))
        new = NewPush(
            store_id=request.store_id,
            open_kfid=request.open_kfid,
            external_userid=request.external_userid,
            purpose=Purpose.MESSAGE,
            dedupe_key=f"rpc:{request.idempotency_key}"
            if request.idempotency_key
            else f"rpc-once:{new_id()}",
            content=from_content(request.content).to_json(),
            expires_at=self._pushes.now() + _lasting(request),
            traceparent=current_traceparent(),
        )
        return pb.PushResponse(push=to_record(await self._pushes.push(new, once=once, wait=wait)))

    async def ListPushes(self, request: pb.ListPushesRequest, context: Any) -> pb.ListPushesResponse:
        """Pushes, newest first."""
        wanted = Wanted(
            stores_named(request.store_id),
            request.external_userid,
            request.open_kfid,
            from_status(request.status),
        )
        cursor = self._tokens.read(request)
        before = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        size = page_size(request.page_size)
        found = await self._pushes.listed(wanted, before, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = self._tokens.issue(request, [last["created_at"].astimezone(UTC).isoformat(), last["id"]])
        return pb.ListPushesResponse(pushes=[to_row(row) for row in found[:size]], next_page_token=token)

    async def GetPush(self, request: pb.GetPushRequest, context: Any) -> pb.GetPushResponse:
        """One push."""
        return pb.GetPushResponse(push=to_record(await self._pushes.get(request.push_id, visible_stores())))

    async def GetPreferences(
        self, request: pb.GetPreferencesRequest, context: Any
    ) -> pb.GetPreferencesResponse:
        """What was said, and what counts."""
        authorise_store(request.store_id)
        said = await self._preferences.get(request.store_id, request.external_userid)
        return pb.GetPreferencesResponse(**_told(said))

    async def UpdatePreferences(
        self, request: pb.UpdatePreferencesRequest, context: Any
    ) -> pb.UpdatePreferencesResponse:
        """Say something else."""
        authorise_store(request.store_id)
        said = from_preferences(request.preferences)
        fields = list(request.update_mask.paths) or list(said)
        after = await self._preferences.update(
            request.store_id,
            request.external_userid,
            said,
            fields,
            request.unsubscribed if request.HasField("unsubscribed") else None,
            once=once_of(SERVICE, "UpdatePreferences", request, request.store_id),
        )
        return pb.UpdatePreferencesResponse(**_told(after))

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """The story of a push, or of all for a customer."""
        if request.WhichOneof("subject") == "id":
            found = await self._stories.of(request.id, visible_stores())
            return pb.ExplainResponse(steps=[to_step(step) for step in found])
        if request.WhichOneof("subject") == "push_id":
            views = [await self._pushes.get(request.push_id, visible_stores())]
        else:
            asked = request.customer
            authorise_store(asked.store_id)
            until = optional_timestamp(asked, "end_time") or self._pushes.now() + timedelta(seconds=1)
            since = optional_timestamp(asked, "start_time") or until - _USUAL
            wanted = Wanted(frozenset({asked.store_id}), asked.external_userid, since=since, until=until)
            views = await self._pushes.told(wanted, _EXPLAINED)
        steps = [step for view in views for step in tell(view.row, view.attempts, view.notes)]
        return pb.ExplainResponse(steps=[to_step(step) for step in steps])


def _lasting(request: pb.PushRequest) -> timedelta:
    if not request.HasField("expire_after"):
        return _USUAL
    asked = from_duration(request.expire_after, "expire_after")
    if not timedelta(0) < asked <= _LONGEST:
        raise Invalid.field("expire_after", "more than nothing and at most 7 days")
    return asked


def _told(said: Said) -> dict[str, Any]:
    gone = said.unsubscribed_at
    return {
        "own": to_said(said.own),
        "effective": to_effective(said.effective),
        "unsubscribe_time": None if gone is None else to_timestamp(gone),
    }
