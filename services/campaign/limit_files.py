"""The limits of what groups may receive, as a file: which holds from which date on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from services.campaign.domain.caps import LimitProfile, ReceiveLimit, ReceiveLimits
from shared.errors import Invalid

PRESET: Final = Path(__file__).parent / "presets" / "receive_limits.toml"
CHOSEN: Final = "WECOM_CUSTOMER_RECEIVE_LIMITS"
_KEYS: Final = {"since", "limits", "source"}


def load_limits(chosen: Sequence[str] = (), path: Path = PRESET) -> ReceiveLimits:
    """The shipped profiles beside what the administrator has *chosen*. Raises Invalid naming the place and the fix."""
    try:
        document = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Invalid.field(path.name, f"is no TOML ({error})") from None
    rows = document.get("profile")
    if set(document) != {"profile"} or not isinstance(rows, list) or not rows:
        raise Invalid.field(path.name, "holds [[profile]] tables, at least one, and nothing else")
    profiles = [_profile(row, f"{path.name} profile {at}") for at, row in enumerate(rows, 1)]
    days = [one.since for one in profiles]
    if days != sorted(set(days)):
        raise Invalid.field(path.name, "put the profiles in order of since, each with a date of its own")
    own = tuple(ReceiveLimit.read(one, field=CHOSEN) for one in chosen)
    return ReceiveLimits(tuple(profiles), own)


def _profile(row: Mapping[str, Any], place: str) -> LimitProfile:
    if missing := sorted(_KEYS ^ set(row)):
        raise Invalid.field(f"{place} {missing[0]}", f"a profile has {', '.join(sorted(_KEYS))}")
    since, limits, source = row["since"], row["limits"], row["source"]
    if not isinstance(since, date) or isinstance(since, datetime):
        raise Invalid.field(f"{place} since", "must be a date, such as 2024-01-01")
    if not isinstance(limits, list) or not all(isinstance(one, str) for one in limits):
        raise Invalid.field(f"{place} limits", 'must be a list of texts, such as ["1/day"]')
    if not isinstance(source, str) or not source:
        raise Invalid.field(f"{place} source", "must say where that stands")
    return LimitProfile(
        since, tuple(ReceiveLimit.read(one, field=f"{place} limits") for one in limits), source
    )
