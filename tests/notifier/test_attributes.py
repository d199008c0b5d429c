"""What is known of a role's holders, in the words they are told: set, shown, previewed, sent; on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import target_pb2

from tests.e2e.harness import STORE, Reach, Sandbox, embedded, refused, user


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The setting for each of the two databases in turn."""
    if request.param == "sqlite":
        return {}
    return {"database_url": request.getfixturevalue("postgres_database")}


@pytest.fixture
async def shop(database: dict[str, str], world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """In which a kitchen of three is told of orders by name and title."""
    async with embedded(world.url, tmp_path / "home", default_store=STORE, **database) as reach:
        await reach.notifier.SetRoleTargets(
            pb.SetRoleTargetsRequest(
                role="kitchen_staff",
                store_id=STORE,
                targets=[
                    known("anna", title="主厨", name="安娜"),
                    known("bob", title="帮厨", name="鲍勃"),
                    known("cy", title="帮厨", name="赛"),
                ],
            )
        )
        yield reach


def known(ident: str, **attributes: str) -> target_pb2.Target:
    return target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id=ident, attributes=attributes)


async def _words(reach: Reach, template: str) -> pb.UpdateTemplateResponse:
    request = pb.UpdateTemplateRequest(rule_id="order.created", template=template)
    answer: pb.UpdateTemplateResponse = await reach.notifier.UpdateTemplate(request)
    return answer


async def test_those_with_the_same_words_get_one_call_and_others_their_own(
    shop: Reach, world: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await _words(shop, "{to.title}：{order_number}")
    asked: dict[str, Any] = {"event_type": "order.created", "store_id": STORE}
    shown = await shop.notifier.PreviewPush(pb.PreviewPushRequest(**asked))
    assert [len(call.recipients) for call in shown.calls] == [1, 2]
    assert not any(one.target.attributes for call in shown.calls for one in call.recipients)
    await shop.push()
    await world.arrived(3)
    sends = [one["body"] for one in await world.sends()]
    assert sorted((one["touser"], one["text"]["content"].partition("：")[0]) for one in sends) == [
        ("anna", "主厨"),
        ("bob|cy", "帮厨"),
    ]
    assert "主厨" not in caplog.text


async def test_common_words_are_one_call(shop: Reach, world: Sandbox) -> None:
    await shop.push()
    await world.arrived(3)
    assert [one["body"]["touser"] for one in await world.sends()] == ["anna|bob|cy"]


async def test_they_are_read_back_where_they_were_set_and_survive(shop: Reach) -> None:
    for _ in range(2):
        roles = (await shop.notifier.ListRoles(pb.ListRolesRequest(store_id=STORE))).roles
        (kitchen,) = [one for one in roles if one.role == "kitchen_staff"]
        assert {one.id: dict(one.attributes) for one in kitchen.targets}["anna"] == {
            "title": "主厨",
            "name": "安娜",
        }
        # What was read can be set again as it is.
        again = pb.SetRoleTargetsRequest(role="kitchen_staff", store_id=STORE, targets=kitchen.targets)
        await shop.notifier.SetRoleTargets(again)


async def test_who_has_no_such_attribute_is_left_out_and_explained(shop: Reach, world: Sandbox) -> None:
    await shop.notifier.SetRoleTargets(
        pb.SetRoleTargetsRequest(
            role="kitchen_staff", store_id=STORE, targets=[known("anna", name="安娜"), user("dan")]
        )
    )
    await _words(shop, "{to.name}：{order_number}")
    pushed = await shop.push()
    (message,) = await world.arrived(1)
    assert message["to"] == "anna"
    told = await shop.explain(pushed.event_id)
    (step,) = [one for one in told.steps if one.code == "recipients_left_out"]
    assert (step.facts["targets"], step.facts["reason"]) == ("user:dan", "template_field_missing:to.name")


async def test_a_check_shows_the_words_for_somebody(shop: Reach) -> None:
    saved = await _words(shop, "{to.name}（{to.role}）：{order_number}")
    assert saved.check.example_text.startswith("〔to.name〕（后厨）：")
    request = pb.UpdateTemplateRequest(rule_id="order.created", template="{to.Name}")
    code, error = await refused(shop.notifier.UpdateTemplate(request))
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TEMPLATE_UNSAFE")
    assert "{to.name}" in error.violations[0].description


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"Name": "x"}, 'targets[0].attributes["Name"]'),
        ({"id": "x"}, "targets[0].attributes[id]"),
        ({"name": "x" * 257}, 'targets[0].attributes["name"]'),
        ({"name": "秘\n密"}, "targets[0].attributes[name]"),
        ({f"a{at}": "x" for at in range(17)}, "targets[0].attributes"),
    ],
)
async def test_what_cannot_be_one_is_refused_by_its_field(
    bare: Reach, attributes: dict[str, str], field: str
) -> None:
    request = pb.SetRoleTargetsRequest(role="manager", targets=[known("anna", **attributes)])
    code, error = await refused(bare.notifier.SetRoleTargets(request))
    assert (code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert "秘" not in str(error)


async def test_they_belong_to_roles_and_to_nothing_else(bare: Reach) -> None:
    one = known("anna", name="x")
    for call in (
        bare.notifier.SendMessage(pb.SendMessageRequest(store_id=STORE, targets=[one], text="x")),
        bare.notifier.SendReport(pb.SendReportRequest(store_id=STORE, targets=[one], body="x")),
    ):
        code, error = await refused(call)
        assert (code, error.violations[0].field) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "targets[0].attributes",
        )
