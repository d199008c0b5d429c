"""What the commands about campaigns have in common: one call, and campaigns in one line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cli.common import quieten_logs, refuse, run, settings

if TYPE_CHECKING:
    from reach.campaign.v1 import campaign_pb2


def ask(work: Callable[[Any], Awaitable[Any]]) -> Any:
    """What *work* gets out of campaign's stub."""
    quieten_logs()
    chosen = settings()

    async def asked() -> Any:
        from cli.stubs import campaign

        async with campaign(chosen) as stub:
            return await work(stub)

    return run(asked())


def line(one: campaign_pb2.Campaign) -> str:
    """A campaign, its version, and where it stands."""
    why = f" ({one.reason})" if one.reason else ""
    return f"{one.id} version {one.version}: {word(one.status)}{why}"


def word(status: Any) -> str:
    """Where a campaign stands."""
    from reach.campaign.v1 import campaign_pb2

    return _lower(campaign_pb2.CampaignStatus.Name(status), "CAMPAIGN_STATUS_")


def status(given: str) -> Any:
    """What ``--status`` of campaigns names."""
    from reach.campaign.v1 import campaign_pb2

    return _value(campaign_pb2.CampaignStatus, "CAMPAIGN_STATUS_", given, "--status")


def target_word(status: Any) -> str:
    """Where a group of a run stands."""
    from reach.campaign.v1 import target_pb2

    return _lower(target_pb2.TargetStatus.Name(status), "TARGET_STATUS_")


def target_status(given: str, option: str) -> Any:
    """What *option* names of where groups stand."""
    from reach.campaign.v1 import target_pb2

    return _value(target_pb2.TargetStatus, "TARGET_STATUS_", given, option)


def _lower(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _value(kind: Any, prefix: str, given: str, option: str) -> Any:
    try:
        return kind.Value(f"{prefix}{given.upper()}")
    except ValueError:
        known = ", ".join(_lower(kind.Name(value), prefix) for value in kind.values() if value)
        refuse(f"{option}: there is no {given}; there is: {known}")
