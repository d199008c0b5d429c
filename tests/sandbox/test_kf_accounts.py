"""KF accounts, servicers and customers through the API."""

from typing import Any

import pytest

from tests.sandbox.conftest import Open
from tests.sandbox.kf import DECLARED, WK, WM, Kf


async def _names(kf: Kf, **page: Any) -> list[str]:
    return [row["name"] for row in (await kf.call("account/list", **page))["account_list"]]


async def test_accounts_are_added_renamed_listed_by_page_and_deleted(kf: Kf) -> None:
    image = await kf.image()
    added = (await kf.call("account/add", name="新店", media_id=image))["open_kfid"]
    assert await _names(kf) == ["门店客服", "客服 wk2", "新店"]
    assert await _names(kf, offset=1, limit=1) == ["客服 wk2"]
    assert (await kf.call("account/update", open_kfid=added, name="老店"))["errcode"] == 0
    assert (await _names(kf))[-1] == "老店"
    assert (await kf.call("account/del", open_kfid=added))["errcode"] == 0
    assert (await kf.call("account/update", open_kfid=added, name="x"))["errcode"] == 95004


@pytest.mark.parametrize(
    ("name", "body", "errcode"),
    [
        ("account/add", {"name": "十七个字" * 4 + "长", "media_id": "x"}, 95006),
        ("account/add", {"name": "店"}, 41006),
        ("account/add", {"name": "店", "media_id": "none"}, 40007),
        ("account/list", {"limit": 101}, 40058),
        ("account/del", {}, 60251),
        ("add_contact_way", {"open_kfid": WK, "scene": "a b"}, 40058),
        ("servicer/add", {"open_kfid": WK}, 40058),
        ("servicer/add", {"open_kfid": WK, "department_id_list": list(range(21))}, 40058),
        ("customer/batchget", {"external_userid_list": []}, 40058),
        ("customer/batchget", {"external_userid_list": ["x"] * 101}, 40058),
    ],
    ids=str,
)
async def test_what_is_wrong_is_refused(kf: Kf, name: str, body: dict[str, Any], errcode: int) -> None:
    assert (await kf.call(name, **body))["errcode"] == errcode


async def test_there_are_only_so_many_accounts(open_sandbox: Open) -> None:
    kf = await Kf.of(await open_sandbox(kf_accounts=2))
    image = await kf.image()
    assert (await kf.call("account/add", name="店", media_id=image))["errcode"] == 95005


async def test_a_way_in_names_its_account_and_scene(kf: Kf) -> None:
    plain = (await kf.call("add_contact_way", open_kfid=WK))["url"]
    assert WK in plain
    assert (await kf.call("add_contact_way", open_kfid=WK, scene="table"))[
        "url"
    ] == f"{plain}?enc_scene=ENCtable"


async def test_servicers_come_and_go_with_an_answer_for_each(kf: Kf) -> None:
    added = await kf.call(
        "servicer/add", open_kfid=WK, userid_list=["wangwu", "zhangsan", "nobody"], department_id_list=[3]
    )
    told = [
        (row.get("userid", row.get("department_id")), row["errcode"], row["errmsg"])
        for row in added["result_list"]
    ]
    assert told == [
        ("wangwu", 0, "success"),
        ("zhangsan", 0, "ignored"),
        ("nobody", 60111, "userid not found"),
        (3, 0, "success"),
    ]
    await kf.servicer("status", status="stopped")
    url = "/cgi-bin/kf/servicer/list"
    listed = (await kf.client.get(url, access_token=kf.token, open_kfid=WK))["servicer_list"]
    assert listed == [
        {"userid": "zhangsan", "status": 1, "stop_type": 0},
        {"userid": "wangwu", "status": 0},
        {"department_id": 2},
        {"department_id": 3},
    ]
    removed = await kf.call(
        "servicer/del", open_kfid=WK, userid_list=["wangwu", "zhaoliu"], department_id_list=[3]
    )
    assert [row["errcode"] for row in removed["result_list"]] == [0, 60253, 0]


async def test_customers_are_told_with_how_they_entered_and_the_unknown_apart(kf: Kf) -> None:
    await kf.enters(scene="table", scene_param="t=5")
    answer = await kf.call(
        "customer/batchget", external_userid_list=[WM, "wmwrong"], need_enter_session_context=1
    )
    (row,) = answer["customer_list"]
    assert (row["nickname"], row["gender"], row["enter_session_context"]["scene"]) == ("小王", 1, "table")
    assert answer["invalid_external_userid"] == ["wmwrong"]


async def test_in_open_mode_accounts_and_customers_need_no_declaration(open_sandbox: Open) -> None:
    client = await open_sandbox()
    kf = Kf(client, await client.token("kf-any"))
    await kf.writes()
    assert (await kf.send())["errcode"] == 0
    strict = Kf(client, kf.token)
    await client.post("/sandbox/profile", {"directory": "strict"})
    await client.post("/sandbox/directory", DECLARED)
    strict.token = await client.token("s-kf")
    assert (await strict.send(touser="wm9"))["errcode"] == 40096
    assert (await strict.send(open_kfid="wk9"))["errcode"] == 95004


async def test_an_account_that_is_not_handed_to_the_api_is_refused(kf: Kf) -> None:
    await kf.writes()
    await kf.play("accounts", open_kfid=WK, authorised=False)
    assert (await kf.send())["errcode"] == 48007
    rows = (await kf.call("account/list"))["account_list"]
    assert [row["manage_privilege"] for row in rows] == [False, True]
    await kf.play("accounts", open_kfid=WK, authorised=True)
    assert (await kf.send())["errcode"] == 0


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"acounts": []}, "acounts"),
        ({"servicers": [{"open_kfid": "wk9", "userid": "x"}]}, "wk9"),
        ({"servicers": [{}]}, "userid or a department_id"),
        ({"servicers": [{"userid": "x", "status": "asleep"}]}, "status"),
        ({"accounts": [{"name": "x"}]}, "open_kfid"),
        ({"customers": [{"external_userid": "wm1", "refuses": 1}]}, "refuses"),
    ],
    ids=str,
)
async def test_a_declaration_that_does_not_fit_changes_nothing(
    kf: Kf, declared: dict[str, Any], words: str
) -> None:
    before = await kf.client.get("/sandbox/directory")
    assert words in (await kf.client.post("/sandbox/directory", {"kf": declared}))["error"]
    assert words in (await kf.client.post("/sandbox/directory", {"replace": True, "kf": declared}))["error"]
    assert await kf.client.get("/sandbox/directory") == before


async def test_a_new_secret_ends_the_old_one(open_sandbox: Open) -> None:
    kf = await Kf.of(await open_sandbox(directory="strict"))
    assert (await kf.state())["errcode"] == 0
    await kf.client.post("/sandbox/directory", {"kf": {"secret": "s-new"}})
    assert (await kf.state())["errcode"] == 40001
    kf.token = await kf.client.token("s-new")
    assert (await kf.state())["errcode"] == 0


async def test_a_declaration_never_shows_its_secret(kf: Kf) -> None:
    assert "s-kf" not in str(await kf.client.get("/sandbox/directory"))
