"""The RPCs about campaign's audit log: the same as those of OpsService, for this service alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.campaign.v1 import audit_pb2 as pb
from reach.campaign.v1 import campaign_service_pb2_grpc
from reach.ops.v1 import audit_pb2 as ops_pb

from services.campaign.contract import SERVICE
from shared.audit import AuditLog
from shared.db.engine import Database
from shared.ops.audit import list_entries, verify
from shared.rpc.paging import PageTokens
from shared.values import value_class

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/ListAuditLog": "audit.read",
    f"{SERVICE}/VerifyAudit": "audit.read",
}
"""The scope each method needs."""


@value_class
class Chain:
    """Campaign's log."""

    service: str
    database: Database
    audit: AuditLog


class AuditMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _chain: Chain
    _tokens: PageTokens

    async def ListAuditLog(self, request: pb.ListAuditLogRequest, context: Any) -> pb.ListAuditLogResponse:
        """Entries, the newest first."""
        asked = ops_pb.ListAuditLogRequest(
            store_id=request.store_id,
            subject=request.subject,
            method=request.method,
            object_id=request.object_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        for name in ("start_time", "end_time"):
            if request.HasField(name):
                getattr(asked, name).CopyFrom(getattr(request, name))
        found = await list_entries([self._chain], self._tokens, asked)
        return pb.ListAuditLogResponse(entries=found.entries, next_page_token=found.next_page_token)

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Any) -> pb.VerifyAuditResponse:
        """One look at the chain."""
        found = await verify(
            [self._chain],
            ops_pb.VerifyAuditRequest(
                after_sequence=request.after_sequence,
                known_sequence=request.known_sequence,
                known_hash=request.known_hash,
            ),
        )
        return pb.VerifyAuditResponse(
            ok=found.ok,
            first_broken_sequence=found.first_broken_sequence,
            problem=found.problem,
            checked_count=found.checked_count,
            next_sequence=found.next_sequence,
            head_sequence=found.head_sequence,
            head_hash=found.head_hash,
        )
