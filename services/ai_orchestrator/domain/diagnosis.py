"""What the doctor makes of the settings, with the fix."""

from __future__ import annotations

from collections.abc import Container, Sequence

from shared.ops.finding import CheckStatus, Finding

_NAME = "ai_applications"


def applications_finding(apps: Sequence[str], ids: Container[str], *, has_key: bool) -> Finding:
    """Whether every application may be called: a key, and an id for each."""
    if not has_key:
        words = "DASHSCOPE_API_KEY is not set: no application is asked anything"
        return Finding(
            _NAME, CheckStatus.SKIPPED, words, "set it to a key of the workspace that holds the apps"
        )
    missing = [app for app in apps if app not in ids]
    if missing:
        words = f"no application id of {', '.join(missing)}: their steps fail"
        return Finding(
            _NAME, CheckStatus.FAILED, words, f"set DASHSCOPE_APP_ID_{missing[0].upper()} and so on"
        )
    return Finding(_NAME, CheckStatus.OK, f"a key, and the ids of {len(apps)} applications")
