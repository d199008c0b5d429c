"""A notifier whose urgent rule wants an answer, and people who press buttons: what the tests of escalation share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import rule_pb2

from tests.e2e.harness import AGENT, CORP, STORE, Reach, Sandbox, codes, embedded, eventually, user

TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
CALLBACK = {"WECOM_APP_CALLBACK_TOKEN": TOKEN, "WECOM_APP_CALLBACK_AES_KEY": AES_KEY}
AFTER = 300
RULE = "outage"
"""Tells tech_support; their deputies and then the manager come after them."""


def spec(**changes: Any) -> rule_pb2.RuleSpec:
    """The rule that escalates."""
    values: dict[str, Any] = {
        "event_type": "pos.down",
        "display_name": "收银系统中断",
        "priority": rule_pb2.PRIORITY_URGENT,
        "roles": ["tech_support"],
        "template": "收银系统中断：{what}",
        "variables": [rule_pb2.Variable(name="what", kind=rule_pb2.VARIABLE_KIND_TEXT)],
        "escalation": rule_pb2.Escalation(after=Duration(seconds=AFTER)),
    }
    return rule_pb2.RuleSpec(**{**values, **changes})


class Shop:
    """One store, its people and its outage."""

    def __init__(self, reach: Reach, world: Sandbox) -> None:
        self.reach, self.world = reach, world

    async def prepare(self) -> None:
        """Who holds what, the rule, and the callback as the admin page sets it up."""
        await self.world.declare(
            users=[{"userid": "tom", "name": "张三"}, {"userid": "boss", "name": "王经理"}]
        )
        await self.hold("tech_support", ["tom", "tim"], ["dora"])
        await self.hold("manager", ["boss"])
        await self.reach.notifier.CreateRule(pb.CreateRuleRequest(rule_id=RULE, spec=spec()))
        await self.listen(self.reach)

    async def listen(self, reach: Reach) -> None:
        """Let the platform call *reach*."""
        await self.world.post(
            "/sandbox/callbacks",
            url=f"http://{reach.http}/callback/app",
            token=TOKEN,
            aes_key=AES_KEY,
            corp_id=CORP,
            agentid=AGENT,
        )

    async def hold(self, role: str, holders: list[str], deputies: list[str] | None = None) -> None:
        """Set who holds a role."""
        await self.reach.notifier.SetRoleTargets(
            pb.SetRoleTargetsRequest(
                role=role,
                targets=[user(one) for one in holders],
                deputies=[user(one) for one in deputies or []],
            )
        )

    async def outage(self, event_id: str = "e1", **fields: Any) -> pb.TriggerPushResponse:
        """The event."""
        return await self.reach.push("pos.down", {"what": "三号机离线"}, event_id=event_id, **fields)

    async def card(self, userid: str, count: int = 1) -> dict[str, Any]:
        """The newest card of a person, once there are *count*."""
        return (await self.world.arrived(count, userid))[-1]

    async def press(self, userid: str, key: str, **more: Any) -> list[dict[str, Any]]:
        """What came of each try of the callback."""
        card = await self.card(userid)
        body = {"userid": userid, "msgid": card["msgid"], "key": key, **more}
        answer = await self.world.post("/sandbox/clicks", **body)
        tries: list[dict[str, Any]] = answer["clicks"][0]["tries"]
        return tries

    async def shows(self, userid: str) -> list[str]:
        """The words on the buttons of a person's newest card."""
        card = await self.card(userid)
        return [button["text"] for button in card["content"]["button_list"]]

    async def until_shown(self, userid: str, words: str) -> None:
        """Wait until a person's card says *words* alone."""

        async def look() -> bool:
            return await self.shows(userid) == [words]

        await eventually(look)

    async def pass_time(self, seconds: float = AFTER) -> None:
        """Let time pass."""
        await self.world.advance(seconds + 1)

    async def steps(self, event_id: str = "e1") -> list[str]:
        """The codes of the event's story that tell of its escalation."""
        told = codes(await self.reach.explain(event_id, STORE))
        return [code for code in told if code.startswith(("escalation", "card", "answered"))]

    async def until_told(self, code: str, event_id: str = "e1") -> None:
        """Wait for a step in the event's story."""

        async def look() -> bool:
            return code in await self.steps(event_id)

        await eventually(look)

    async def deliveries(self, event_id: str = "e1") -> list[Any]:
        """All deliveries of the event, oldest first."""
        answer = await self.reach.notifier.ListDeliveries(
            pb.ListDeliveriesRequest(event_id=event_id, store_id=STORE)
        )
        return list(reversed(answer.deliveries))

    async def told(self) -> set[str]:
        """Who has a message."""
        return {one["to"] for one in await self.world.messages()}

    async def acknowledge(self, delivery_id: str, **fields: Any) -> pb.AcknowledgeDeliveryResponse:
        """AcknowledgeDelivery."""
        request = pb.AcknowledgeDeliveryRequest(delivery_id=delivery_id, **fields)
        answer: pb.AcknowledgeDeliveryResponse = await self.reach.notifier.AcknowledgeDelivery(request)
        return answer


@asynccontextmanager
async def shop(world: Sandbox, home: Path, **more: str) -> AsyncIterator[Shop]:
    """A notifier on the sandbox's clock with everything prepared."""
    settings: Mapping[str, str] = {"default_store": STORE, "clock": "sandbox", **CALLBACK, **more}
    async with embedded(world.url, home, **settings) as reach:
        made = Shop(reach, world)
        await made.prepare()
        yield made
