"""``reach.ops.v1.OpsService``: asks every part of the process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reach.ops.v1 import ops_service_pb2 as pb

from shared.audit import NewEntry
from shared.clock import Clock
from shared.credentials import Card, Kind
from shared.db import dead
from shared.db.dead import DeadLetter
from shared.errors import Conflict, Invalid, NotFound, ReachError
from shared.ops.audit import AuditMethods
from shared.ops.breakers import SERVICE, BreakerMethods
from shared.ops.letters import as_message
from shared.ops.limits import LimitMethods
from shared.ops.part import CheckStatus, Finding, Part, UnknownSend, Verdict
from shared.ops.schedules import ScheduleMethods
from shared.rpc.fields import EnumMap, to_duration, to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_every_store, current, stores_named, visible_stores
from shared.telemetry.redaction import redact

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "Doctor": "ops.read",
        "ListDeadLetters": "ops.read",
        "GetDeadLetter": "ops.read",
        "ReplayDeadLetter": "ops.replay",
        "ListUnknown": "ops.read",
        "ResolveUnknown": "ops.resolve",
        "ListLimits": "ops.read",
        "ListBreakers": "ops.read",
        "ResetBreaker": "ops.resolve",
        "ListCredentials": "config.admin",
        "SetCredential": "config.admin",
        "DeleteCredential": "config.admin",
        "ListAuditLog": "audit.read",
        "VerifyAudit": "audit.read",
        "ListSchedules": "ops.read",
    }.items()
}
"""The scope each method needs."""

_SHOWN = 65536
"""Characters of a body that are shown; bytes where it is no text."""

CHECK_SECONDS = 8.0
"""Bound on one group of checks."""

_CHECKS: EnumMap[CheckStatus] = EnumMap(
    pb.CheckStatus, {one: pb.CheckStatus.Value(f"CHECK_STATUS_{one.name}") for one in CheckStatus}
)
_VERDICTS: EnumMap[Verdict] = EnumMap(
    pb.Resolution, {one: pb.Resolution.Value(f"RESOLUTION_{one.name}") for one in Verdict}
)
_KINDS: EnumMap[Kind] = EnumMap(
    pb.CredentialKind, {one: pb.CredentialKind.Value(f"CREDENTIAL_KIND_{one.name}") for one in Kind}
)
_STATES: Final[Mapping[int, dead.State]] = {
    pb.DEAD_LETTER_STATE_UNSPECIFIED: "parked",
    pb.DEAD_LETTER_STATE_PARKED: "parked",
    pb.DEAD_LETTER_STATE_REPLAYED: "replayed",
    pb.DEAD_LETTER_STATE_DISCARDED: "discarded",
}


class OpsServicer(AuditMethods, BreakerMethods, LimitMethods, ScheduleMethods):
    """See ops_service.proto."""

    def __init__(self, parts: Sequence[Part], tokens: PageTokens, clock: Clock) -> None:
        self._parts = parts
        self._tokens = tokens
        self._clock = clock

    async def Doctor(self, request: pb.DoctorRequest, context: Any) -> pb.DoctorResponse:
        """Run every check of every part."""
        groups = [(part.service, check) for part in self._parts for check in part.checks]
        found = await asyncio.gather(*(self._examine(service, check) for service, check in groups))
        checks = [one for group in found for one in group]
        healthy = all(one.status != pb.CHECK_STATUS_FAILED for one in checks)
        return pb.DoctorResponse(checks=checks, healthy=healthy)

    async def _examine(self, service: str, check: Any) -> list[pb.Check]:
        began = self._clock.now()
        findings: Sequence[Finding]
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                findings = await check()
        except TimeoutError:
            findings = [_broken(check, f"no answer within {CHECK_SECONDS:g} s")]
        except (
            ReachError
        ) as error:  # what the check itself stands on is down; the others are told all the same
            findings = [_broken(check, error.message)]
        took = to_duration(self._clock.now() - began)
        return [
            pb.Check(
                service=service,
                name=one.name,
                status=_CHECKS.to_wire(one.status),
                found=one.found,
                fix=one.fix,
                took=took,
            )
            for one in findings
        ]

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: Any
    ) -> pb.ListDeadLettersResponse:
        """Newest first, over all parts."""
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        wanted = dead.Filter(
            state=_STATES[request.state], reason=request.reason or None, stores=visible_stores()
        )
        found: list[tuple[str, DeadLetter]] = []
        for part in self._parts:
            if request.service in ("", part.service):
                async with part.database.read() as conn:
                    after = str(cursor[0]) if cursor else None
                    letters = await dead.page(conn, wanted, after=after, limit=size + 1)
                found += [(part.service, one) for one in letters]
        found.sort(key=lambda one: one[1].id, reverse=True)
        return pb.ListDeadLettersResponse(
            dead_letters=[_letter(service, one, whole=False) for service, one in found[:size]],
            next_page_token=self._tokens.issue(request, [found[size - 1][1].id]) if len(found) > size else "",
        )

    async def GetDeadLetter(self, request: pb.GetDeadLetterRequest, context: Any) -> pb.GetDeadLetterResponse:
        """One, with its body masked."""
        part, kept = await self._find(request.dead_letter_id)
        return pb.GetDeadLetterResponse(dead_letter=_letter(part.service, kept, whole=True))

    async def ReplayDeadLetter(
        self, request: pb.ReplayDeadLetterRequest, context: Any
    ) -> pb.ReplayDeadLetterResponse:
        """Take each again; one that is refused again stays parked, with what is wrong now."""
        chosen = [await self._find(one) for one in request.dead_letter_ids]
        async with self._parts[0].database.write() as conn:
            # A replay changes nothing the second time, so all the key has to do is to tell requests apart.
            await once_of(SERVICE, "ReplayDeadLetter", request).is_first(conn, self._clock.now())
        after = []
        for part, kept in chosen:
            problem = await self._replay(part, kept) if kept.state == "parked" else ""
            part, kept = await self._find(kept.id)
            wire = _letter(part.service, kept, whole=False)
            wire.detail = problem or wire.detail
            after.append(wire)
        return pb.ReplayDeadLetterResponse(dead_letters=after)

    async def _replay(self, part: Part, kept: DeadLetter) -> str:
        """Give it to the flow; what it is refused with, or nothing. The event's id keeps it from going twice."""
        try:
            await part.replay(as_message(kept))
        except (Invalid, Conflict) as refusal:
            return refusal.message
        now = self._clock.now()
        async with part.database.write() as conn:
            await dead.close(conn, [kept.id], "replayed", by=current().subject, now=now)
            told = {"event_id": kept.event_id or "", "event_type": kept.event_type or ""}
            note = NewEntry("ReplayDeadLetter", kept.id, kept.store_id or "", detail=told)
            await part.audit.record(conn, note, now)
        return ""

    async def ListUnknown(self, request: pb.ListUnknownRequest, context: Any) -> pb.ListUnknownResponse:
        """Oldest first, over all parts."""
        size, cursor = page_size(request.page_size), self._tokens.read(request)
        stores = stores_named(request.store_id)
        found: list[tuple[str, UnknownSend]] = []
        for part in self._parts:
            sends = await part.unknown.list_unknown(stores, str(cursor[0]) if cursor else "", size + 1)
            found += [(part.service, one) for one in sends]
        found.sort(key=lambda one: one[1].id)
        return pb.ListUnknownResponse(
            unknown_sends=[_unknown(service, one) for service, one in found[:size]],
            next_page_token=self._tokens.issue(request, [found[size - 1][1].id]) if len(found) > size else "",
        )

    async def ResolveUnknown(
        self, request: pb.ResolveUnknownRequest, context: Any
    ) -> pb.ResolveUnknownResponse:
        """Ask each part whether the send is its own."""
        verdict = _VERDICTS.to_domain(request.resolution, "resolution")
        for part in self._parts:
            status = await part.unknown.resolve(
                request.id,
                verdict,
                stores=visible_stores(),
                by=current().subject,
                comment=request.comment,
                once=once_of(SERVICE, "ResolveUnknown", request),
            )
            if status is not None:
                return pb.ResolveUnknownResponse(status=status)
        raise NotFound("NOT_FOUND", f"there is no send {request.id}", resource="send")

    async def ListCredentials(
        self, request: pb.ListCredentialsRequest, context: Any
    ) -> pb.ListCredentialsResponse:
        """Without their secrets."""
        cards = await self._parts[0].credentials.cards()
        return pb.ListCredentialsResponse(credentials=[_card(one) for one in cards])

    async def SetCredential(self, request: pb.SetCredentialRequest, context: Any) -> pb.SetCredentialResponse:
        """Add or replace one, in every part."""
        authorise_every_store()  # it sends for every store
        kind = _KINDS.to_domain(request.kind, "kind")
        if kind is Kind.APP and not (request.corp_id and request.agent_id):
            raise Invalid.field(
                "corp_id", "an app needs corp_id and agent_id; find them in the admin console"
            )
        if kind is Kind.KF and not request.corp_id:
            raise Invalid.field("corp_id", "WeChat KF needs corp_id; find it in the admin console")
        if kind is Kind.CUSTOMER and not request.corp_id:
            raise Invalid.field("corp_id", "customer contact needs corp_id; find it in the admin console")
        if request.pool and (kind is not Kind.ROBOT or request.pool == request.name):
            raise Invalid.field(
                "pool", "names the group of several robots; leave it out for an app or for one robot"
            )
        by, card, now = current().subject, None, self._clock.now()
        note = NewEntry(
            "SetCredential", f"{kind.value}:{request.name}"
        )  # nothing of the secret, not even a hash
        for part in self._parts:
            once = once_of(SERVICE, "SetCredential", request)
            async with part.database.write() as conn:
                if await once.is_first(conn, now):
                    card = await part.credentials.put(
                        conn,
                        kind,
                        request.name,
                        request.corp_id,
                        request.agent_id,
                        request.secret,
                        by,
                        request.pool,
                    )
                    await part.audit.record(conn, note, now)
        if card is None:  # a repeat: nothing was done
            cards = await self._parts[0].credentials.cards()
            card = next((one for one in cards if (one.kind, one.name) == (kind, request.name)), None)
        if card is None:
            raise NotFound("NOT_FOUND", "it was set, and removed since", resource="credential")
        return pb.SetCredentialResponse(credential=_card(card))

    async def DeleteCredential(
        self, request: pb.DeleteCredentialRequest, context: Any
    ) -> pb.DeleteCredentialResponse:
        """Remove one, in every part."""
        authorise_every_store()  # it sends for every store
        kind = _KINDS.to_domain(request.kind, "kind")
        note, now = NewEntry("DeleteCredential", f"{kind.value}:{request.name}"), self._clock.now()
        for part in self._parts:
            async with part.database.write() as conn:
                if await once_of(SERVICE, "DeleteCredential", request).is_first(conn, now):
                    await part.credentials.remove(conn, kind, request.name)
                    await part.audit.record(conn, note, now)
        return pb.DeleteCredentialResponse()

    async def _find(self, letter_id: str) -> tuple[Part, DeadLetter]:
        for part in self._parts:
            async with part.database.read() as conn:
                kept = await dead.get(conn, letter_id)
            if kept is not None and _visible(kept):
                return part, kept
        raise NotFound("NOT_FOUND", f"there is no dead letter {letter_id}", resource="dead_letter")


def _broken(check: Any, found: str) -> Finding:
    name = getattr(check, "__name__", "check")
    return Finding(name, CheckStatus.FAILED, found, "see what the process waits for in its log")


def _visible(kept: DeadLetter) -> bool:
    """What names no store is for those who may see every store."""
    stores = visible_stores()
    return stores is None or (kept.store_id is not None and kept.store_id in stores)


def _letter(service: str, kept: DeadLetter, *, whole: bool) -> pb.DeadLetter:
    wire = pb.DeadLetter(
        dead_letter_id=kept.id,
        service=service,
        reason=kept.reason,
        detail=redact(kept.detail),
        door=kept.door,
        event_id=kept.event_id or "",
        event_type=kept.event_type or "",
        store_id=kept.store_id or "",
        receive_time=to_timestamp(kept.received_at),
        body_bytes=len(kept.body),
        state=pb.DeadLetterState.Value(f"DEAD_LETTER_STATE_{kept.state.upper()}"),
        resolved_by=kept.closed_by or "",
    )
    if kept.closed_at is not None:
        wire.resolve_time.CopyFrom(to_timestamp(kept.closed_at))
    if whole:
        wire.body = _body(kept.body)
        wire.headers.update({key: redact(str(value)) for key, value in kept.headers.items()})
    return wire


def _body(body: bytes) -> str:
    try:
        return redact(body.decode()[:_SHOWN])
    except UnicodeDecodeError:
        return base64.b64encode(body[:_SHOWN]).decode()


def _unknown(service: str, one: UnknownSend) -> pb.UnknownSend:
    return pb.UnknownSend(
        service=service,
        kind=one.kind,
        id=one.id,
        store_id=one.store_id,
        event_id=one.event_id,
        channel=one.channel,
        detail=one.detail,
        unknown_time=to_timestamp(one.unknown_at),
    )


def _card(card: Card) -> pb.Credential:
    return pb.Credential(
        kind=_KINDS.to_wire(card.kind),
        name=card.name,
        corp_id=card.corp_id,
        agent_id=card.agent_id,
        update_time=to_timestamp(card.updated_at),
        updated_by=card.updated_by,
        pool=card.pool,
    )
