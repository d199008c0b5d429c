"""The RPCs that show and examine the audit log: from the wire to the chains of this process and back."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import orjson
from reach.ops.v1 import audit_pb2 as pb
from reach.ops.v1 import ops_service_pb2_grpc

from shared.audit import AuditLog, Entry, Wanted
from shared.db.engine import Database
from shared.errors import Invalid, NotFound
from shared.ops.part import Part
from shared.rpc.fields import optional_timestamp, to_timestamp
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_every_store, authorise_store, visible_stores


class Chained(Protocol):
    """A service with an audit log; a ``Part`` is one."""

    @property
    def service(self) -> str:
        """Its name."""
        ...

    @property
    def database(self) -> Database:
        """Where the log is."""
        ...

    @property
    def audit(self) -> AuditLog:
        """The log."""
        ...


class AuditMethods(ops_service_pb2_grpc.OpsServiceServicer):
    """See ops_service.proto and audit.proto."""

    _parts: Sequence[Part]
    _tokens: PageTokens

    async def ListAuditLog(self, request: pb.ListAuditLogRequest, context: Any) -> pb.ListAuditLogResponse:
        """Newest first, one service after the other."""
        return await list_entries(self._parts, self._tokens, request)

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Any) -> pb.VerifyAuditResponse:
        """One look at one chain."""
        return await verify(self._parts, request)


async def list_entries(
    chains: Sequence[Chained], tokens: PageTokens, request: pb.ListAuditLogRequest
) -> pb.ListAuditLogResponse:
    """Newest first, one service after the other. Raises Denied, Invalid (PAGE_TOKEN_INVALID)."""
    size, cursor = page_size(request.page_size), tokens.read(request)
    wanted = Wanted(
        stores=_stores(request.store_id),
        subject=request.subject,
        method=request.method,
        object_id=request.object_id,
        start_at=optional_timestamp(request, "start_time"),
        end_at=optional_timestamp(request, "end_time"),
    )
    asked = [part for part in chains if request.service in ("", part.service)]
    if cursor is not None:
        names = [part.service for part in asked]
        asked = asked[names.index(str(cursor[0])) if cursor[0] in names else len(asked) :]
    found: list[tuple[str, Entry]] = []
    for at, part in enumerate(asked):
        before = int(str(cursor[1])) if cursor is not None and at == 0 else None
        async with part.database.read() as conn:
            entries = await part.audit.page(conn, wanted, before=before, limit=size + 1 - len(found))
        found += [(part.service, one) for one in entries]
        if len(found) > size:
            break
    last: list[str | int | None] | None = (
        [found[size - 1][0], found[size - 1][1].seq] if len(found) > size else None
    )
    return pb.ListAuditLogResponse(
        entries=[_entry(service, one) for service, one in found[:size]],
        next_page_token=tokens.issue(request, last) if last else "",
    )


async def verify(chains: Sequence[Chained], request: pb.VerifyAuditRequest) -> pb.VerifyAuditResponse:
    """One look at one chain. Raises Denied, Invalid, NotFound."""
    authorise_every_store()  # it holds the entries of every store
    if bool(request.known_sequence) != bool(request.known_hash):
        raise Invalid.field("known_hash", "goes with known_sequence; give both or neither")
    part = next((one for one in chains if request.service in ("", one.service)), None)
    if part is None:
        raise NotFound("NOT_FOUND", f"no service {request.service} is in this process", resource="service")
    async with part.database.read() as conn:
        found = await part.audit.examine(conn, request.after_sequence)
        broken, problem = found.broken, found.problem
        if request.known_sequence and not broken:
            stored = await part.audit.hash_at(conn, request.known_sequence)
            if not hmac.compare_digest(stored.encode(), request.known_hash.encode()):
                broken, problem = request.known_sequence, "noted_differs"
    return pb.VerifyAuditResponse(
        service=part.service,
        ok=not broken,
        first_broken_sequence=broken,
        problem=problem,
        checked_count=found.checked,
        next_sequence=found.next,
        head_sequence=found.head,
        head_hash=found.head_hash,
    )


def _stores(store_id: str) -> Collection[str] | None:
    if not store_id:
        return visible_stores()
    authorise_store(store_id)
    return (store_id,)


def _entry(service: str, one: Entry) -> pb.AuditEntry:
    return pb.AuditEntry(
        service=service,
        sequence=one.seq,
        time=to_timestamp(one.at),
        subject=one.subject,
        subject_kind=one.subject_kind,
        token_id=one.token_id,
        door=one.door,
        method=one.method,
        store_id=one.store_id,
        object_id=one.object_id,
        content_hash=one.content_hash,
        content_bytes=one.content_bytes,
        detail_json=orjson.dumps(one.detail, option=orjson.OPT_SORT_KEYS).decode(),
        trace_id=one.trace_id,
        hash=one.hash,
    )
