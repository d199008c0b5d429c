"""The RPC that reminds owners: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc
from reach.campaign.v1 import reminder_pb2 as pb

from services.campaign.contract import SERVICE
from services.campaign.usecases.owner_reminders import Asked, OwnerReminders
from shared.rpc.fields import to_timestamp
from shared.rpc.once import once_of

SCOPES: Final[Mapping[str, str]] = {f"{SERVICE}/RemindOwners": "campaign.operate"}
"""The scope it needs."""
SHOWN: Final = 1000
"""Tasks of one answer."""


class ReminderMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _reminders: OwnerReminders

    async def RemindOwners(self, request: pb.RemindOwnersRequest, context: Any) -> pb.RemindOwnersResponse:
        """Ask those who have not confirmed once more."""
        asked = await self._reminders.remind(
            request.campaign_id,
            list(request.owners),
            request.comment,
            once_of(SERVICE, "RemindOwners", request),
        )
        count = sum(not one.reason for one in asked)
        return pb.RemindOwnersResponse(
            asked_count=count,
            refused_count=len(asked) - count,
            reminders=[_to_reminder(one) for one in asked[:SHOWN]],
        )


def _to_reminder(one: Asked) -> pb.OwnerReminder:
    return pb.OwnerReminder(
        task_id=one.task_id,
        owner=one.owner,
        msgid=one.msgid,
        asked=not one.reason,
        reason=one.reason,
        free_time=None if one.free_at is None else to_timestamp(one.free_at),
    )
