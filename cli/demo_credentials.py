"""Settings of a process that brings its own sandbox: where it is, and an app and a robot to send by."""

from __future__ import annotations

from typing import Any, Final

from pydantic import SecretStr

from shared.settings import Settings

CORP_ID: Final = "wwdemo"
AGENT_ID: Final = 1000002
SECRET: Final = "demo-app-secret"
ROBOT_KEY: Final = "demo-robot-key"
"""Nothing of these is secret: the sandbox takes what it was not told about."""


def with_sandbox(chosen: Settings, url: str) -> Settings:
    """*chosen* with its vendor calls going to the sandbox at *url*; what is configured stays as it is."""
    wecom: dict[str, Any] = {}
    if chosen.wecom.corp_id is None and chosen.wecom.agent_id is None and chosen.wecom.secret is None:
        wecom = {"corp_id": CORP_ID, "agent_id": AGENT_ID, "secret": SecretStr(SECRET)}
    if chosen.wecom.robot_key is None:
        wecom["robot_key"] = SecretStr(ROBOT_KEY)
    return chosen.model_copy(
        update={
            "wecom_base_url": url,
            "dashscope_base_url": chosen.dashscope_base_url or f"{url}/api/v1",
            "wecom": chosen.wecom.model_copy(update=wecom),
        }
    )
