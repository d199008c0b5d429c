"""A group that several robots serve, as operators set it up and readers see it."""

from __future__ import annotations

from collections import Counter

import pytest
from reach.notifier.v1 import delivery_pb2 as dv
from reach.ops.v1 import ops_service_pb2 as ops

from tests.e2e.harness import Reach, Sandbox, refused, robot
from tests.e2e.replicas import delivery, message, standing

ONE, TWO = "one1-0123456789abcdef", "two2-0123456789abcdef"


async def add(reach: Reach, name: str, key: str, pool: str = "") -> ops.Credential:
    request = ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name=name, secret=key, pool=pool)
    return (await reach.ops.SetCredential(request)).credential


async def test_posts_to_a_group_are_spread_over_its_robots_and_keep_their_order(
    bare: Reach, world: Sandbox
) -> None:
    await add(bare, "kitchen", ONE)
    assert (await add(bare, "kitchen-2", TWO, "kitchen")).pool == "kitchen"
    listed = (await bare.ops.ListCredentials(ops.ListCredentialsRequest())).credentials
    assert {one.name: one.pool for one in listed if one.kind == ops.CREDENTIAL_KIND_ROBOT} == {
        "kitchen": "",
        "kitchen-2": "kitchen",
    }
    sent = [await message(bare, f"no. {number}", robot("kitchen")) for number in range(25)]
    for one in sent:
        await standing(bare, one.deliveries[0].delivery_id, dv.DELIVERY_STATUS_ACCEPTED)
    posts = await world.requests("/cgi-bin/webhook/send")
    assert Counter(call["query"]["key"][:4] for call in posts) == {"one1": 19, "two2": 6}
    assert [call["body"]["text"]["content"] for call in posts] == [f"no. {number}" for number in range(25)]
    last = await delivery(bare, sent[-1].deliveries[0].delivery_id)
    assert (last.channel, last.attempts[0].member) == ("robot:kitchen", "robot:kitchen-2")
    told = await bare.explain(sent[-1].message_id)
    attempt = next(one for one in told.steps if one.code == "attempt")
    assert attempt.facts["member"] == "robot:kitchen-2"
    assert "由 robot:kitchen-2 发出" in attempt.text_zh
    limits = (await bare.ops.ListLimits(ops.ListLimitsRequest(key_prefix="robot:"))).limits
    assert {one.key: one.used for one in limits} == {"robot:kitchen": 19, "robot:kitchen-2": 6}


async def test_a_robot_that_was_removed_from_the_group_is_stood_in_for(bare: Reach, world: Sandbox) -> None:
    await add(bare, "left", ONE, "hall")
    await add(bare, "right", TWO, "hall")
    await world.fault(path="/cgi-bin/webhook/send", to=ONE, errcode=93000, errmsg="invalid webhook url")
    sent = await message(bare, "hello", robot("hall"), wait=8)
    found = await standing(bare, sent.deliveries[0].delivery_id, dv.DELIVERY_STATUS_ACCEPTED)
    assert [one.member for one in found.attempts] == ["robot:left", "robot:right"]


@pytest.mark.parametrize(
    "request_",
    [
        ops.SetCredentialRequest(
            kind=ops.CREDENTIAL_KIND_APP, name="a", corp_id="ww1", agent_id=1, secret="s" * 16, pool="hall"
        ),
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="hall", secret=ONE, pool="hall"),
    ],
)
async def test_a_pool_that_is_none_is_refused(bare: Reach, request_: ops.SetCredentialRequest) -> None:
    _, error = await refused(bare.ops.SetCredential(request_))
    assert [one.field for one in error.violations] == ["pool"]
