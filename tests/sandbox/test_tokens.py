import pytest

from tests.sandbox.conftest import AGENT, Client, Open


async def test_an_answer_of_failure_ends_with_hint_address_and_help(client: Client) -> None:
    answer = await client.send("")
    assert answer["errcode"] == 41001
    assert answer["errmsg"].startswith("access_token missing, hint: [")
    assert answer["errmsg"].endswith("more info at https://open.work.weixin.qq.com/devtool/query?e=41001")
    assert ", from ip: 127.0.0.1," in answer["errmsg"]


@pytest.mark.parametrize(
    ("corp", "secret", "errcode"),
    [("", "s", 41002), ("c", "", 41004), ("wrong-corp", "s", 40013), ("c", "wrong-secret", 40001)],
)
async def test_gettoken_says_what_is_wrong(client: Client, corp: str, secret: str, errcode: int) -> None:
    assert (await client.get("/cgi-bin/gettoken", corpid=corp, corpsecret=secret))["errcode"] == errcode


async def test_a_token_expires_against_the_sandbox_clock(client: Client) -> None:
    token = await client.token()
    await client.post("/sandbox/clock", {"advance_seconds": 7201})
    assert (await client.send(token))["errcode"] == 42001
    assert (await client.send(await client.token()))["errcode"] == 0


async def test_fetching_again_gives_the_same_token_with_the_seconds_left(client: Client) -> None:
    await client.post("/sandbox/clock", {"freeze": True})
    first = await client.get("/cgi-bin/gettoken", corpid="c", corpsecret="s")
    await client.post("/sandbox/clock", {"advance_seconds": 200})
    again = await client.get("/cgi-bin/gettoken", corpid="c", corpsecret="s")
    assert again["access_token"] == first["access_token"]
    assert (first["expires_in"], again["expires_in"]) == (7200, 7000)


@pytest.mark.parametrize(("setting", "old"), [("new_old_alive", 0), ("new_old_dead", 40014)])
async def test_fetching_again_may_give_a_new_token(open_sandbox: Open, setting: str, old: int) -> None:
    client = await open_sandbox(token_refetch=setting)
    first, second = await client.token(), await client.token()
    assert first != second
    assert (await client.send(first))["errcode"] == old
    assert (await client.send(second))["errcode"] == 0


@pytest.mark.parametrize(("mode", "errcode"), [("expire", 42001), ("invalidate", 40014)])
async def test_tokens_end_early_on_demand_and_only_the_ones_meant(
    client: Client, mode: str, errcode: int
) -> None:
    mine, other = await client.token("s1"), await client.token("s2")
    assert (await client.post("/sandbox/tokens/expire", {"mode": mode, "secret": "s1"}))["ended"] == 1
    assert (await client.send(mine))["errcode"] == errcode
    assert (await client.send(other))["errcode"] == 0
    assert (await client.send(await client.token("s1"), agentid=AGENT))["errcode"] == 0


async def test_an_unknown_token_is_invalid(client: Client) -> None:
    assert (await client.send("made-up"))["errcode"] == 40014


async def test_a_wrong_secret_in_a_loop_bans_the_address_for_an_hour(open_sandbox: Open) -> None:
    client = await open_sandbox(wrong_secret_ban_after=3)
    for _ in range(3):
        assert (await client.get("/cgi-bin/gettoken", corpid="c", corpsecret="wrong"))["errcode"] == 40001
    assert (await client.get("/cgi-bin/gettoken", corpid="c", corpsecret="right"))["errcode"] == 45009
    await client.post("/sandbox/clock", {"advance_seconds": 3601})
    assert (await client.get("/cgi-bin/gettoken", corpid="c", corpsecret="right"))["errcode"] == 0


async def test_another_apps_agentid_is_refused(client: Client) -> None:
    token = await client.token()
    assert (await client.send(token, agentid=AGENT))["errcode"] == 0
    assert (await client.send(token, agentid=AGENT + 1))["errcode"] == 301002


@pytest.mark.parametrize(("agentid", "errcode"), [(None, 41011), ("app", 40056), (-3, 40056), (True, 40056)])
async def test_an_agentid_that_is_none_is_refused(client: Client, agentid: object, errcode: int) -> None:
    assert (await client.send(await client.token(), agentid=agentid))["errcode"] == errcode


async def test_the_contact_sync_secret_may_not_send(client: Client) -> None:
    token = await client.token("contacts-sync")
    assert (await client.send(token))["errcode"] == 48002
    assert (await client.get("/cgi-bin/department/list", access_token=token))["errcode"] == 0


@pytest.mark.parametrize("at_gettoken", [False, True])
async def test_an_address_off_the_allowlist_is_refused(open_sandbox: Open, at_gettoken: bool) -> None:
    client = await open_sandbox(allowlist_on_gettoken=at_gettoken)
    app = {"agentid": AGENT, "secret": "s1", "ip_allowlist": ["10.0.0.0/8"]}
    await client.post("/sandbox/directory", {"apps": [app]})
    answer = await client.get("/cgi-bin/gettoken", corpid="c", corpsecret="s1")
    assert answer["errcode"] == (60020 if at_gettoken else 0)
    if not at_gettoken:
        refused = await client.send(answer["access_token"])
        assert refused["errcode"] == 60020
        assert "from ip: 127.0.0.1" in refused["errmsg"]
    app["ip_allowlist"] = ["127.0.0.0/8"]
    await client.post("/sandbox/directory", {"apps": [app]})
    assert (await client.send(await client.token()))["errcode"] == 0


async def test_callback_and_api_addresses_need_a_token(client: Client) -> None:
    for path in ("/cgi-bin/getcallbackip", "/cgi-bin/get_api_domain_ip"):
        assert (await client.get(path))["errcode"] == 41001
        assert (await client.get(path, access_token=await client.token()))["ip_list"] == ["127.0.0.1"]


async def test_the_endpoint_frequency_does_not_count_sending(open_sandbox: Open) -> None:
    client = await open_sandbox(endpoint_per_minute=2)
    token = await client.token()
    assert [(await client.send(token))["errcode"] for _ in range(4)] == [0, 0, 0, 0]
    codes = [(await client.get("/cgi-bin/getcallbackip", access_token=token))["errcode"] for _ in range(3)]
    assert codes == [0, 0, 45009]
