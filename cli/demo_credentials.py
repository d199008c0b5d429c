"""Settings of a process that brings its own sandbox: where it is, and an app and a robot to send by."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

import services.ai_orchestrator
from shared.settings import AppCallback, Callback, CustomerCallback, DashScope, KfCallback, Settings

CORP_ID: Final = "wwdemo"
AGENT_ID: Final = 1000002
SECRET: Final = "demo-app-secret"
KF_SECRET: Final = "kf-demo-secret"
"""The sandbox takes one that begins with kf for that of WeChat KF."""
CUSTOMER_SECRET: Final = "customer-demo-secret"
"""The sandbox takes one that begins with customer for that of customer contact."""
ROBOT_KEY: Final = "demo-robot-key"
DASHSCOPE_KEY: Final = "sk-demo-dashscope-key"
CALLBACK_TOKEN: Final = "demoCallbackToken"
CALLBACK_AES_KEY: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
"""Nothing of these is secret: the sandbox takes what it was not told about."""


def with_sandbox(chosen: Settings, url: str) -> Settings:
    """*chosen* with its vendor calls going to the sandbox at *url*; what is configured stays as it is."""
    wecom: dict[str, Any] = {}
    if chosen.wecom.corp_id is None and chosen.wecom.agent_id is None and chosen.wecom.secret is None:
        wecom = {"corp_id": CORP_ID, "agent_id": AGENT_ID, "secret": SecretStr(SECRET)}
        if chosen.wecom.kf_secret is None:
            wecom["kf_secret"] = SecretStr(KF_SECRET)
        if chosen.wecom.customer.secret is None:
            wecom["customer"] = chosen.wecom.customer.model_copy(
                update={"secret": SecretStr(CUSTOMER_SECRET)}
            )
        if chosen.wecom.kf_callback.token is None:
            wecom["kf_callback"] = KfCallback(
                token=SecretStr(CALLBACK_TOKEN), aes_key=SecretStr(CALLBACK_AES_KEY)
            )
        if chosen.wecom.customer_callback.token is None:
            wecom["customer_callback"] = CustomerCallback(
                token=SecretStr(CALLBACK_TOKEN), aes_key=SecretStr(CALLBACK_AES_KEY)
            )
        if chosen.wecom.app_callback.token is None:
            wecom["app_callback"] = AppCallback(
                token=SecretStr(CALLBACK_TOKEN), aes_key=SecretStr(CALLBACK_AES_KEY)
            )
    if chosen.wecom.robot_key is None:
        wecom["robot_key"] = SecretStr(ROBOT_KEY)
    changed: dict[str, Any] = {"wecom_base_url": url, "wecom": chosen.wecom.model_copy(update=wecom)}
    if chosen.dashscope_base_url is None:
        changed |= {"dashscope_base_url": f"{url}/api/v1", "dashscope": _with_apps(chosen.dashscope)}
    return chosen.model_copy(update=changed)


def _with_apps(chosen: DashScope) -> DashScope:
    """*chosen* with a key, and with an application for every definition; the sandbox has whichever is asked for."""
    folder = Path(services.ai_orchestrator.__file__).parent / "presets" / "apps"
    made = {path.stem: path.stem for path in folder.glob("*.toml")}
    return chosen.model_copy(
        update={
            "api_key": chosen.api_key or SecretStr(DASHSCOPE_KEY),
            "app_ids": {**made, **chosen.app_ids},
        }
    )


async def introduce(chosen: Settings, url: str, http: str) -> None:
    """Tell the sandbox at *url* where events go, as one does on the admin console; *http* is our listener.

    Raises ``aiohttp.ClientError`` where it cannot be told. Without a callback in *chosen* there is nothing to tell.
    """
    import aiohttp  # only those who bring a sandbox need it

    wecom = chosen.wecom
    doors: list[tuple[Callback, dict[str, Any]]] = [
        (wecom.app_callback, {"url": f"http://{http}/callback/app", "agentid": wecom.agent_id}),
        (wecom.kf_callback, {"url": f"http://{http}/callback/kf", "kind": "kf"}),
        # Not verified: campaign, whose door it is, need not serve yet.
        (
            wecom.customer_callback,
            {"url": f"http://{http}/callback/external-contact", "kind": "customer", "verify": False},
        ),
    ]
    async with aiohttp.ClientSession(trust_env=False) as session:
        for door, about in doors:
            if door.token is None or door.aes_key is None:
                continue
            keys = {"token": door.token.get_secret_value(), "aes_key": door.aes_key.get_secret_value()}
            body = {**about, **keys, "corp_id": wecom.corp_id}
            async with session.post(f"{url}/sandbox/callbacks", json=body) as reply:
                reply.raise_for_status()
