from typing import Any

import pytest

from tests.sandbox.conftest import AGENT, Client, Open

DIRECTORY: dict[str, Any] = {
    "corp_id": "ww1",
    "departments": [{"id": 2, "name": "前厅"}, {"id": 3, "name": "包间", "parentid": 2}],
    "tags": [{"id": 9, "name": "店长"}],
    "users": [
        {"userid": "ZhangSan", "name": "张三", "departments": [3], "tags": [9]},
        {"userid": "lisi", "name": "李四", "departments": [1]},
        {"userid": "gone", "status": "invalid", "departments": [2]},
        {"userid": "unpaid", "status": "unlicensed", "departments": [2]},
    ],
    "apps": [
        {"agentid": AGENT, "name": "触达", "secret": "s1", "visible": {"departments": [2]}},
        {"agentid": 7, "name": "通讯录", "secret": "s2", "kind": "contacts"},
        {"agentid": 8, "name": "全员", "secret": "s3"},
    ],
    "robots": [{"key": "k1", "group": "前厅群"}, {"key": "k2", "disabled": True}],
}


@pytest.fixture
async def strict(open_sandbox: Open) -> Client:
    client = await open_sandbox(directory="strict")
    assert "error" not in await client.post("/sandbox/directory", DIRECTORY)
    return client


async def test_in_strict_mode_only_declared_things_exist(strict: Client) -> None:
    for corp, secret, errcode in (("other", "s1", 40013), ("ww1", "s9", 40001), ("ww1", "s1", 0)):
        assert (await strict.get("/cgi-bin/gettoken", corpid=corp, corpsecret=secret))["errcode"] == errcode
    assert (await strict.robot("k9"))["errcode"] == 93000
    assert (await strict.robot("k2"))["errcode"] == 93004
    assert (await strict.send(await strict.token("s3"), agentid=8, touser="stranger"))["errcode"] == 81013


async def test_a_department_reaches_those_below_it_and_names_the_unlicensed(strict: Client) -> None:
    answer = await strict.send(await strict.token(), touser="", toparty="2|77", totag="66")
    assert (answer["invalidparty"], answer["invalidtag"], answer["unlicenseduser"]) == ("77", "66", "unpaid")
    arrived = (await strict.get("/sandbox/messages"))["messages"]
    assert [(message["to"], message["name"], message["sender"]) for message in arrived] == [
        ("ZhangSan", "张三", "触达")
    ]


async def test_one_person_named_in_many_ways_gets_one_message(strict: Client) -> None:
    await strict.send(await strict.token(), touser="zhangsan|ZHANGSAN", toparty="2|3", totag="9")
    assert len(await strict.arrived("zhangsan")) == 1


async def test_a_person_outside_the_visible_range_is_invalid(strict: Client) -> None:
    answer = await strict.send(await strict.token(), touser="lisi|zhangsan")
    assert answer["invaliduser"] == "lisi"
    everyone = await strict.token("s3")
    assert "invaliduser" not in await strict.send(everyone, agentid=8, touser="lisi|zhangsan")


async def test_everyone_is_the_apps_visible_range(strict: Client) -> None:
    await strict.send(await strict.token(), touser="@all")
    assert [m["to"] for m in (await strict.get("/sandbox/messages"))["messages"]] == ["ZhangSan"]


async def test_an_undeclared_department_still_shows_its_message_in_open_mode(client: Client) -> None:
    await client.send(await client.token(), touser="", toparty="12")
    assert len(await client.arrived("party:12")) == 1
    await client.send(await client.token(), touser="@all")
    assert len(await client.arrived("@all")) == 1


async def test_a_doctor_can_read_the_app_and_its_people(strict: Client) -> None:
    token = await strict.token()
    agent = await strict.get("/cgi-bin/agent/get", agentid=AGENT, access_token=token)
    assert (agent["name"], agent["allow_partys"]) == ("触达", {"partyid": [2]})
    foreign = await strict.get("/cgi-bin/agent/get", agentid=8, access_token=token)
    assert foreign["errcode"] == 301002
    assert (await strict.get("/cgi-bin/user/get", userid="zhangsan", access_token=token))["name"] == "张三"
    for userid, errcode in (("gone", 60111), ("lisi", 60111), ("nobody", 60111), ("", 40003)):
        assert (await strict.get("/cgi-bin/user/get", userid=userid, access_token=token))[
            "errcode"
        ] == errcode
    departments = await strict.get("/cgi-bin/department/list", id=2, access_token=token)
    assert [row["id"] for row in departments["department"]] == [2, 3]
    assert (await strict.get("/cgi-bin/department/list", id=5, access_token=token))["errcode"] == 60123
    users = await strict.get("/cgi-bin/user/simplelist", department_id=2, fetch_child=1, access_token=token)
    assert [row["userid"] for row in users["userlist"]] == ["ZhangSan", "unpaid"]
    assert (await strict.get("/cgi-bin/user/simplelist", department_id=99, access_token=token))[
        "errcode"
    ] == 60123


async def test_declaring_adds_and_replaces(client: Client) -> None:
    await client.post("/sandbox/directory", DIRECTORY)
    await client.post("/sandbox/directory", {"users": [{"userid": "lisi", "status": "invalid"}]})
    shown = await client.get("/sandbox/directory")
    assert len(shown["users"]) == 4
    assert "secret" not in str(shown)
    await client.post("/sandbox/directory", {"replace": True, "users": [{"userid": "solo"}]})
    assert [user["userid"] for user in (await client.get("/sandbox/directory"))["users"]] == ["solo"]


async def test_a_declaration_counts_whole_or_not_at_all(client: Client) -> None:
    answer = await client.post("/sandbox/directory", {"users": [{"userid": "a"}, {"userid": 5}]})
    assert answer["error"] == "users[1].userid is a text and needed"
    assert (await client.get("/sandbox/directory"))["users"] == []


async def test_a_mobile_number_leads_to_a_member_the_app_sees(strict: Client) -> None:
    users = [{"userid": "ZhangSan", "mobile": "13800000001", "departments": [3]}]
    users += [{"userid": "lisi", "mobile": "13800000002", "departments": [1]}]
    await strict.post("/sandbox/directory", {"users": users})
    near, far = await strict.token("s1"), await strict.token("s3")

    async def who(token: str, mobile: str) -> Any:
        answer = await strict.post(f"/cgi-bin/user/getuserid?access_token={token}", {"mobile": mobile})
        return answer.get("userid") or answer["errcode"]

    assert await who(near, "13800000001") == "ZhangSan"
    assert await who(near, "13800000002") == 46004
    assert await who(far, "13800000002") == "lisi"
    assert await who(far, "13800000009") == 46004
    assert await who(far, "") == 46004


@pytest.mark.parametrize(
    ("how", "token", "agent"), [("gettoken", 40001, None), ("calls", 0, 50003), ("sends", 0, 0)]
)
async def test_a_disabled_app_shows_it_where_the_profile_says(
    strict: Client, how: str, token: int, agent: int | None
) -> None:
    await strict.post("/sandbox/profile", {"disabled_app": how})
    old = await strict.token()
    await strict.post(
        "/sandbox/directory", {"apps": [{"agentid": AGENT, "name": "触达", "secret": "s1", "disabled": True}]}
    )
    assert (await strict.get("/cgi-bin/gettoken", corpid="ww1", corpsecret="s1"))["errcode"] == token
    answer = await strict.get("/cgi-bin/agent/get", agentid=AGENT, access_token=old)
    assert answer["errcode"] == (40001 if agent is None else agent)
    assert answer.get("close", 1) == 1
    assert (await strict.send(old))["errcode"] == (40001 if agent is None else 50003)


async def test_a_secret_of_another_corp_is_told_from_a_wrong_one(client: Client) -> None:
    await client.post("/sandbox/directory", {"apps": [{"agentid": 5, "secret": "s5", "corp_id": "ww5"}]})
    answers = [
        (await client.get("/cgi-bin/gettoken", corpid=corp, corpsecret="s5"))["errcode"]
        for corp in ("ww1", "ww5")
    ]
    assert answers == [40091, 0]


async def test_what_lies_outside_an_apps_range_is_not_shown_to_it(strict: Client) -> None:
    token = await strict.token()
    listed = await strict.get("/cgi-bin/department/list", access_token=token)
    assert [row["id"] for row in listed["department"]] == [2, 3]
    outside = await strict.get("/cgi-bin/department/list", id=1, access_token=token)
    assert outside["errcode"] == 60011
    await strict.post("/sandbox/profile", {"unseen_user_errcode": 60011})
    for userid, errcode in (("lisi", 60011), ("nobody", 60111)):
        assert (await strict.get("/cgi-bin/user/get", userid=userid, access_token=token))[
            "errcode"
        ] == errcode


async def test_a_tag_names_those_whom_the_app_sees(strict: Client, open_sandbox: Open) -> None:
    token = await strict.token()
    worn = await strict.get("/cgi-bin/tag/get", tagid=9, access_token=token)
    assert (worn["tagname"], [user["userid"] for user in worn["userlist"]]) == ("店长", ["ZhangSan"])
    assert (await strict.get("/cgi-bin/tag/get", tagid=8, access_token=token))["errcode"] == 40068
    client = await open_sandbox()
    unknown = await client.get("/cgi-bin/tag/get", tagid=8, access_token=await client.token())
    assert unknown["partylist"] == [1]


async def test_a_robot_that_was_removed_is_as_if_it_never_was(client: Client) -> None:
    await client.post("/sandbox/directory", {"robots": [{"key": "k7", "removed": True}]})
    assert (await client.robot("k7"))["errcode"] == 93000


async def test_answers_bear_the_platforms_own_time(client: Client) -> None:
    await client.post("/sandbox/clock", {"set": "2030-01-02T03:04:05Z", "freeze": True})
    async with client.session.get(f"{client.url}/cgi-bin/gettoken") as answer:
        assert answer.headers.getall("Date") == ["Wed, 02 Jan 2030 03:04:05 GMT"]
    fault = {"http_status": 200, "headers": {"Date": "Thu, 03 Jan 2030 00:00:00 GMT"}, "text": "{}"}
    await client.post("/sandbox/faults", fault)
    async with client.session.get(f"{client.url}/cgi-bin/gettoken") as answer:
        assert answer.headers.getall("Date") == ["Thu, 03 Jan 2030 00:00:00 GMT"]
