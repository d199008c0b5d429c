"""Nothing secret in the logs of a whole run, and nothing that a value says is more than words to its reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from reach.notifier.v1 import delivery_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from shared.rpc.principal import SCOPES
from tests.e2e.harness import (
    EXAMPLES,
    SECRET,
    STORE,
    Reach,
    Sandbox,
    create_tokens,
    embedded,
    environment,
    eventually,
    names_on,
    publisher,
    refused,
    robot,
    sandbox,
    seconds,
    served,
    stream_lines,
    user,
)

KEY = "693a91f6-7d5e-4bc4-97a0-0ec2d1fa5aaa"
OTHER_SECRET = "second-app-secret-77aa66bb55cc44dd"
PHONE = "13912345678"
RESERVATION = {**EXAMPLES["reservation.confirmed"], "customer_phone": PHONE}


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    async with sandbox() as made:
        yield made


# --- Logs -----------------------------------------------------------------------------------------------


async def _a_whole_run(reach: Reach, world: Sandbox, amqp_url: str, exchange: str) -> None:
    """Secrets, tokens, keys and phone numbers wherever they can go, with every kind of failure."""
    await reach.staff()
    for name, kind, secret in (
        ("front", ops.CREDENTIAL_KIND_ROBOT, KEY),
        ("second", ops.CREDENTIAL_KIND_APP, OTHER_SECRET),
    ):
        await reach.ops.SetCredential(
            ops.SetCredentialRequest(
                kind=kind, name=name, corp_id="ww1", agent_id=7 if name == "second" else 0, secret=secret
            )
        )
    night = user("anna")
    night.account = "second"

    async def say(text: str, *targets: target_pb2.Target, wait: float = 5) -> Any:
        return await reach.notifier.SendMessage(
            pb.SendMessageRequest(store_id=STORE, targets=targets, text=text, wait=seconds(wait))
        )

    await say(f"call {PHONE}", user("anna"), night, robot("front"))
    await reach.push("reservation.confirmed", RESERVATION, event_id="r1")
    for fault in (
        {"errcode": 40014, "errmsg": f"invalid access_token {SECRET}"},
        {"errcode": -1, "errmsg": f"busy for {PHONE}"},
        {"http_status": 502, "text": f"<html>{PHONE} key={KEY}</html>"},
        {"malformed": "truncated"},
        {"drop": "after-accept"},
        {"drop": "before-read"},
        {"errcode": 81013, "errmsg": f"invalid user {PHONE}, key {KEY}"},
    ):
        await world.fault(path="/cgi-bin/*/send", count=2, **fault)
        await say(f"again {PHONE}", user("bob"), robot("front"), wait=0.2)
    await world.post("/sandbox/tokens/expire")
    await world.fault(path="/cgi-bin/gettoken", errcode=40001, errmsg=f"invalid credential {SECRET}", count=1)
    await say("after expiry", user("cleo"), wait=1)
    await refused(reach.push("reservation.confirmed", {"customer_phone": f"x{PHONE}"}))
    await refused(reach.ops.SetCredential(ops.SetCredentialRequest(name="x/y", kind=2, secret=OTHER_SECRET)))
    await refused(reach.bearing("reach_0123456789ab_" + "s" * 43).push())
    bad = {"authorization": "Bearer reach_0123456789ab_" + "s" * 43}
    await reach.post_event({"event_type": "x.y", "event_data": {"phone": PHONE}}, bad)
    await reach.post_event({"event_type": "reservation.confirmed", "event_data": {"customer_phone": PHONE}})
    async with publisher(amqp_url, exchange) as till:
        await till.publish("reservation.confirmed", b'{"customer_phone": "' + PHONE.encode(), message_id="p1")
        await till.publish("reservation.confirmed", {"customer_phone": [PHONE]}, message_id=PHONE)
        await till.publish("parking.full", {"access_token": SECRET}, headers={"who": PHONE}, message_id="p2")

    async def parked() -> bool:
        return len((await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters) == 3

    await eventually(parked)
    await reach.ops.Doctor(ops.DoctorRequest())


async def test_the_log_of_a_whole_run_holds_no_secret_token_key_or_phone(
    world: Sandbox, amqp_url: str, postgres_database: str, tmp_path: Path
) -> None:
    async with names_on(amqp_url) as names:
        settings = {"amqp_url": amqp_url, "database_url": postgres_database, **names.settings}
        settings |= {"log_level": "debug", "WECOM_ROBOT_KEY": "11111111-2222-4333-8444-555555555555"}
        environ = environment(world.url, tmp_path / "home", **settings)
        async with served(environ) as reach:
            await _a_whole_run(reach, world, amqp_url, names.exchange)
            assert reach.program is not None
            assert await asyncio.to_thread(reach.program.stop) == 0
            output = reach.program.output()
    lines = stream_lines(output)
    assert len(lines) > 30
    assert {"rpc", "parked"} <= {line.get("event") for line in lines}
    for secret in (
        SECRET,
        OTHER_SECRET,
        KEY,
        environ["WECOM_ROBOT_KEY"],
        PHONE,
        "s" * 43,
        "access_token=",
        "corpsecret=",
    ):
        at = output.find(secret)
        assert at < 0 or output[at : at + len(secret) + 3].endswith("***"), output[max(0, at - 200) : at + 80]
    assert "139****5678" in output


# --- Values ---------------------------------------------------------------------------------------------

HOSTILE = [
    "<@all>",
    "@all",
    "<a href='https://evil.example'>领奖</a>",
    "https://evil.example/x",
    "[领奖](https://evil.example)",
    "**大**",
    "{total.__class__.__mro__}",
    "{order_number}",
    "{{7*7}}",
    "%s%n",
    "a\nB：伪造的一行",
    "a\r\n【系统】",
    "a\u202egpj.exe",
    "a\u200b\u2066b",
    "x" * 256,
    "😀" * 50,
]


@pytest.mark.parametrize("form", ["app", "robot"])
async def test_what_a_guest_writes_mentions_links_and_formats_nothing(
    world: Sandbox, tmp_path: Path, form: str
) -> None:
    async with embedded(world.url, tmp_path / "home", default_store=STORE) as reach:
        await reach.ops.SetCredential(
            ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="front", secret=KEY)
        )
        target = robot("front") if form == "robot" else user("desk")
        await reach.notifier.SetRoleTargets(pb.SetRoleTargetsRequest(role="front_desk", targets=[target]))
        for at, value in enumerate(HOSTILE):
            data = {**EXAMPLES["reservation.confirmed"], "customer_name": value}
            taken = await reach.push("reservation.confirmed", data, event_id=f"h{at}")
            (delivery,) = taken.deliveries
            assert delivery.status == delivery_pb2.DELIVERY_STATUS_ACCEPTED, value
        for value, message in zip(HOSTILE, await world.messages(), strict=True):
            text = message["content"]["content"]
            lines = text.splitlines()
            assert message["mentions"] == [], value
            assert lines[0] == "【预订确认】"
            assert len(lines) == (5 if form == "robot" else 6), value
            shown = lines[1].removeprefix("客户：")
            assert shown, value
            assert not set(shown) & set("<>@\u202e\u200b\u2066"), value
            assert "://" not in shown, value
            if "{" in value or "%" in value:
                assert shown == value
            assert len(text.encode()) <= 2048
        assert not any(call["body"].get("text", {}).get("mentioned_list") for call in await world.sends())


async def test_the_same_characters_mean_something_from_an_operator_and_nothing_from_a_guest(
    world: Sandbox, tmp_path: Path
) -> None:
    async with embedded(world.url, tmp_path / "home", default_store=STORE) as reach:
        await reach.staff()
        await reach.notifier.SendMessage(
            pb.SendMessageRequest(targets=[user("front_desk")], markdown="**大** <@anna>", wait=seconds(5))
        )
        data = {**EXAMPLES["reservation.confirmed"], "customer_name": "**大** <@anna>"}
        await reach.push("reservation.confirmed", data)
        own, theirs = [message["content"]["content"] for message in await world.messages("front_desk")]
    assert "<@anna>" in own
    assert "<@anna>" not in theirs
    assert "＜＠anna＞" in theirs


async def test_a_phone_is_shown_to_people_with_its_middle_hidden(world: Sandbox, tmp_path: Path) -> None:
    async with embedded(world.url, tmp_path / "home", default_store=STORE) as reach:
        await reach.staff()
        await reach.push("reservation.confirmed", RESERVATION, event_id="r1")
        (message,) = await world.messages()
        assert "139****5678" in message["content"]["content"]
        told = await reach.explain("r1")
        assert PHONE not in str(message) + str(told)


async def test_one_tokens_run_leaves_no_token_in_the_log(world: Sandbox, tmp_path: Path) -> None:
    tokens = await create_tokens(tmp_path / "home", {"till": (SCOPES, ["*"])})
    environ = environment(world.url, tmp_path / "home", default_store=STORE, log_level="debug")
    async with served(environ, "up") as reach:
        caller = reach.bearing(tokens["till"])
        await caller.push()
        status, _ = await reach.post_event(
            {"event_type": "order.created", "event_data": EXAMPLES["order.created"]},
            {"authorization": f"Bearer {tokens['till']}"},
            id="h1",
        )
        assert status == 202
        assert reach.program is not None
        assert await asyncio.to_thread(reach.program.stop) == 0
        output = reach.program.output()
    assert "till" in output
    assert tokens["till"].rpartition("_")[2] not in output
    assert tokens["till"][-20:] not in output
