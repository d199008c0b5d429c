"""The RPC that says why: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc
from reach.campaign.v1 import explain_pb2 as pb

from services.campaign.contract import SERVICE
from services.campaign.domain.story import Story
from services.campaign.usecases.explaining import Explaining
from shared.rpc.fields import to_timestamp

SCOPES: Final[Mapping[str, str]] = {f"{SERVICE}/Explain": "campaign.read"}
"""The scope each method needs."""


class ExplainMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _explaining: Explaining

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Why it went out, or not."""
        found = await self._explaining.of(request.id, request.campaign_id)
        return pb.ExplainResponse(explanations=map(_explanation, found))


def _explanation(story: Story) -> pb.Explanation:
    next_zh, next_en = story.next
    return pb.Explanation(
        campaign_id=story.campaign_id,
        campaign_name=story.name,
        chat_id=story.chat_id,
        task_id=story.task_id,
        verdict=story.verdict,
        steps=[
            pb.ExplainStep(code=one.code, text_zh=one.zh, text_en=one.en, time=to_timestamp(one.at))
            for one in story.steps
        ],
        next_zh=next_zh,
        next_en=next_en,
    )
