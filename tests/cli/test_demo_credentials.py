"""What a process that brings its own sandbox knows of customer contact, and the sandbox of the process."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from aiohttp import web

from cli.demo_credentials import introduce, with_sandbox
from shared.settings import AppCallback, KfCallback, Settings, load
from tests.e2e.harness import sandbox


def settings_for(url: str, tmp_path: Path, **environ: str) -> Settings:
    return with_sandbox(load({"REACH_HOME": str(tmp_path), **environ}), url)


async def test_customer_contact_is_open_with_nothing_configured(tmp_path: Path) -> None:
    async with sandbox() as world, aiohttp.ClientSession() as session:
        wecom = settings_for(world.url, tmp_path).wecom
        assert wecom.customer.secret is not None
        query = {"corpid": str(wecom.corp_id), "corpsecret": wecom.customer.secret.get_secret_value()}
        async with session.get(f"{world.url}/cgi-bin/gettoken", params=query) as answer:
            token = (await answer.json())["access_token"]
        path = f"{world.url}/cgi-bin/externalcontact/groupchat/list?access_token={token}"
        async with session.post(path, json={"limit": 10}) as answer:
            assert (await answer.json())["errcode"] == 0


async def test_what_is_configured_of_customer_contact_stays(tmp_path: Path) -> None:
    wecom = settings_for("http://127.0.0.1:1", tmp_path, WECOM_CUSTOMER_SECRET="customer-own").wecom
    assert wecom.customer.secret is not None
    assert wecom.customer.secret.get_secret_value() == "customer-own"


async def test_the_sandbox_calls_back_at_the_door_of_customers_groups(tmp_path: Path) -> None:
    rang: list[web.Request] = []

    async def ring(request: web.Request) -> web.Response:
        rang.append(request)
        return web.Response(text="success")

    served = web.Application()
    served.router.add_post("/callback/external-contact", ring)
    runner = web.AppRunner(served)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    http = f"127.0.0.1:{runner.addresses[0][1]}"
    async with sandbox() as world:
        chosen = settings_for(world.url, tmp_path)
        # The doors of the others would be verified, and nobody answers for them here.
        wecom = chosen.wecom.model_copy(update={"app_callback": AppCallback(), "kf_callback": KfCallback()})
        await introduce(chosen.model_copy(update={"wecom": wecom}), world.url, http)
        await world.post("/sandbox/groups", chat_id="wr1", owner="lisi", announce=True)
        sent = await world.get("/sandbox/callbacks/deliveries", wait=5)
    await runner.cleanup()
    assert [one["tries"] for one in sent["deliveries"]] == [[{"status": 200, "body": "success"}]]
    assert "msg_signature" in rang[0].query
