"""The name of the service, for the rooms of its methods."""

from __future__ import annotations

from typing import Final

from reach.campaign.v1 import campaign_service_pb2

SERVICE: Final[str] = campaign_service_pb2.DESCRIPTOR.services_by_name["CampaignService"].full_name
"""From the contract itself: its file holds no message, so nothing else would load it, and reflection would lack it."""
