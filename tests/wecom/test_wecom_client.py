"""What became of a send, for every kind of answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from shared.clock import ManualClock
from shared.http import Caller
from shared.wecom.client import WeComClient
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import State
from shared.wecom.token_rows import StoredToken
from shared.wecom.tokens import TokenAuthority
from tests.http.wire import Peer, free_port, serve
from tests.wecom.fake import APP, ROBOT, FakeWeCom, fake_wecom

PAYLOAD = '{"touser":"a","text":{"content":"您好"}}'.encode()


class MemoryStore:
    """A token store for one process."""

    def __init__(self) -> None:
        self.row: StoredToken | None = None

    async def load(self, key: str) -> StoredToken | None:
        return self.row

    async def try_lease(self, key: str, owner: str, generation: int, now: datetime, until: datetime) -> bool:
        return True

    async def save(
        self, key: str, token: str, refresh_at: datetime, expires_at: datetime, generation: int, owner: str
    ) -> bool:
        self.row = StoredToken(token, expires_at, refresh_at, generation + 1)
        return True

    async def release(self, key: str, owner: str) -> None: ...

    async def refuse(self, key: str, owner: str, until: datetime, errcode: int, count: int) -> None:
        self.row = StoredToken(None, None, None, 0, until, errcode, count)

    async def drop(self, key: str, generation: int) -> bool:
        return True

    async def reopen(self, key: str) -> None: ...


@pytest.fixture
async def wecom() -> AsyncIterator[FakeWeCom]:
    async with fake_wecom() as fake:
        yield fake


def client_for(url: str, clock: ManualClock) -> tuple[WeComClient, Caller]:
    caller = Caller(url, allowed_hosts=["127.0.0.1"])
    return WeComClient(caller, TokenAuthority(caller, MemoryStore(), clock, owner="p"), clock), caller


@pytest.fixture
async def client(wecom: FakeWeCom, manual_clock: ManualClock) -> AsyncIterator[WeComClient]:
    made, caller = client_for(wecom.url, manual_clock)
    yield made
    await caller.close()


async def test_an_accepted_send_is_one_request_with_the_very_bytes(
    wecom: FakeWeCom, client: WeComClient
) -> None:
    outcome = await client.send_app(APP, PAYLOAD)
    assert (outcome.state, outcome.msgid, outcome.token_generation) == (State.ACCEPTED, "m1", 1)
    assert wecom.sends == [PAYLOAD]
    assert wecom.queries == [{"access_token": "token-1"}]


async def test_a_robot_needs_no_token(wecom: FakeWeCom, client: WeComClient) -> None:
    wecom.says({"errcode": 0, "errmsg": "ok"})
    outcome = await client.send_robot(ROBOT, PAYLOAD)
    assert (outcome.state, outcome.msgid, outcome.token_generation) == (State.ACCEPTED, None, None)
    assert wecom.queries == [{"key": ROBOT.key}]
    assert wecom.gettokens == 0


async def test_named_losses_make_it_partial(wecom: FakeWeCom, client: WeComClient) -> None:
    wecom.says({"errcode": 0, "invaliduser": "a|b", "invalidparty": "", "unlicenseduser": "c", "msgid": "m"})
    outcome = await client.send_app(APP, PAYLOAD)
    assert outcome.state is State.ACCEPTED_PARTIAL
    assert (outcome.invalid_users, outcome.invalid_parties, outcome.unlicensed_users) == (
        ("a", "b"),
        (),
        ("c",),
    )


@pytest.mark.parametrize(
    ("errcode", "state", "retry_class"),
    [
        (-1, State.REJECTED_RETRYABLE, RetryClass.RETRY),
        (45009, State.REJECTED_RETRYABLE, RetryClass.REST),
        (45033, State.REJECTED_RETRYABLE, RetryClass.REST),
        (41001, State.REJECTED_RETRYABLE, RetryClass.REFRESH),
        (40001, State.REJECTED_PERMANENT, RetryClass.PERM_CONFIG),
        (60020, State.REJECTED_PERMANENT, RetryClass.PERM_CONFIG),
        (93000, State.REJECTED_PERMANENT, RetryClass.PERM_CONFIG),
        (40058, State.REJECTED_PERMANENT, RetryClass.PERM_INPUT),
        (95018, State.REJECTED_PERMANENT, RetryClass.STATE),
        (81013, State.REJECTED_PERMANENT, RetryClass.PERM_TARGET),
        (999999, State.REJECTED_PERMANENT, RetryClass.PERM_INPUT),
    ],
)
async def test_an_errcode_decides(
    wecom: FakeWeCom, client: WeComClient, errcode: int, state: State, retry_class: RetryClass
) -> None:
    wecom.says({"errcode": errcode, "errmsg": "ok", "invaliduser": "a"})
    outcome = await client.send_app(APP, PAYLOAD)
    assert (outcome.state, outcome.errcode, outcome.retry_class) == (state, errcode, retry_class)
    assert outcome.invalid_users == ("a",)
    if retry_class is RetryClass.REST:
        assert outcome.retry_after is not None
        assert outcome.retry_after >= timedelta(seconds=60)
    assert len(wecom.sends) == 1


@pytest.mark.parametrize("errcode", [42001, 40014, 41001])
async def test_a_refused_token_is_replaced_for_the_next_attempt_only(
    wecom: FakeWeCom, client: WeComClient, errcode: int
) -> None:
    wecom.says({"errcode": errcode})
    outcome = await client.send_app(APP, PAYLOAD)
    assert (outcome.state, outcome.token_generation) == (State.REJECTED_RETRYABLE, 1)
    assert (len(wecom.sends), wecom.gettokens) == (1, 1)
    wecom.answer = None
    outcome = await client.send_app(APP, PAYLOAD)
    assert (outcome.state, outcome.token_generation) == (State.ACCEPTED, 2)
    assert wecom.sends == [PAYLOAD, PAYLOAD]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"<html>bad gateway</html>", "not_json"),
        (b"", "not_json"),
        (b'{"errcode":0', "not_json"),
        (b'{"errcode":0}{"errcode":0}', "not_json"),
        (b'{"errcode":0,"errcode":40001}', "not_json"),
        (b'{"errcode":NaN}', "not_json"),
        (b'{"errcode":1e999}', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"[0]", "not_an_object"),
        (b"0", "not_an_object"),
        (b'{"errmsg":"ok"}', "no_errcode"),
        (b'{"errcode":null}', "no_errcode"),
        (b'{"errcode":true}', "errcode_not_a_number"),
        (b'{"errcode":0.0}', "errcode_not_a_number"),
        (b'{"errcode":"zero"}', "errcode_not_a_number"),
        ('{"errcode":"٠"}'.encode(), "errcode_not_a_number"),
        (b'{"errcode":"1_0"}', "errcode_not_a_number"),
        ('{"errcode":0,"errmsg":"频率超限"}'.encode("gbk"), "not_utf8"),
        (b'\xef\xbb\xbf{"errcode":0}', "not_json"),
        (b'{"errcode":0,"msgid":7}', "msgid_malformed"),
        (b'{"errcode":0,"invaliduser":5}', "invaliduser_malformed"),
        (b'{"errcode":0,"a":' + b"[" * 40 + b"]" * 40 + b"}", "too_deep"),
    ],
)
async def test_an_answer_that_cannot_be_understood_is_unknown(
    wecom: FakeWeCom, client: WeComClient, body: bytes, cause: str
) -> None:
    wecom.says(body)
    outcome = await client.send_robot(ROBOT, PAYLOAD)
    assert (outcome.state, outcome.cause, outcome.errcode) == (State.UNKNOWN, cause, None)
    assert len(wecom.sends) == 1


@pytest.mark.parametrize(("text", "state"), [("0", State.ACCEPTED), ("-1", State.REJECTED_RETRYABLE)])
async def test_an_errcode_in_quotes_is_tolerated(
    wecom: FakeWeCom, client: WeComClient, text: str, state: State
) -> None:
    wecom.says({"errcode": text})
    assert (await client.send_robot(ROBOT, PAYLOAD)).state is state


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (500, State.UNKNOWN),
        (502, State.UNKNOWN),
        (503, State.UNKNOWN),
        (204, State.UNKNOWN),
        (302, State.REJECTED_PERMANENT),
        (400, State.REJECTED_PERMANENT),
        (404, State.REJECTED_PERMANENT),
    ],
)
async def test_a_status_other_than_200_decides_whatever_the_body_says(
    wecom: FakeWeCom, client: WeComClient, status: int, state: State
) -> None:
    wecom.says(b"" if status == 204 else b'{"errcode":0}', status)
    outcome = await client.send_robot(ROBOT, PAYLOAD)
    assert (outcome.state, outcome.http_status, outcome.cause) == (state, status, f"http_{status}")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("1", 5), ("", 5), ("soon", 5), ("99999999", 3600), ("Mon, 02 Mar 2026 04:02:00 GMT", 120)],
)
async def test_too_many_requests_waits_as_told_within_reason(
    wecom: FakeWeCom, client: WeComClient, header: str, seconds: int
) -> None:
    wecom.says(b"", 429, **{"Retry-After": header})
    outcome = await client.send_robot(ROBOT, PAYLOAD)
    assert outcome.state is State.REJECTED_RETRYABLE
    assert outcome.retry_after == timedelta(seconds=seconds)


async def test_the_platforms_text_is_kept_without_what_it_must_not_tell(
    wecom: FakeWeCom, client: WeComClient
) -> None:
    wecom.says(
        {
            "errcode": 60020,
            "errmsg": f"not allow, hint: [1234567890], from ip: 1.2.3.4, access_token=abc.def&x \x1b[31m\u202e"
            f"{APP.secret} token-1 " + "long " * 200,
        }
    )
    errmsg = (await client.send_app(APP, PAYLOAD)).errmsg
    assert "hint: [1234567890]" in errmsg
    assert "from ip: 1.2.3.4" in errmsg
    for bad in ("abc.def", APP.secret, "token-1", "\x1b", "\u202e"):
        assert bad not in errmsg
    assert len(errmsg) <= 300


async def test_the_robots_key_is_not_echoed(wecom: FakeWeCom, client: WeComClient) -> None:
    wecom.says({"errcode": 93000, "errmsg": f"invalid webhook url, key={ROBOT.key} ({ROBOT.key})"})
    outcome = await client.send_robot(ROBOT, PAYLOAD)
    assert ROBOT.key not in repr(outcome)


async def test_a_refused_secret_is_not_sent_and_a_matter_of_settings(
    wecom: FakeWeCom, client: WeComClient
) -> None:
    wecom.token_answer = {"errcode": 40001, "errmsg": "invalid credential"}
    outcome = await client.send_app(APP, PAYLOAD)
    assert (outcome.state, outcome.cause, outcome.errcode, outcome.retry_class) == (
        State.NOT_SENT,
        "token_denied",
        40001,
        RetryClass.PERM_CONFIG,
    )
    assert wecom.sends == []


async def test_an_unreachable_platform_is_not_sent(manual_clock: ManualClock) -> None:
    client, caller = client_for(f"http://127.0.0.1:{free_port()}", manual_clock)
    app, robot = await client.send_app(APP, PAYLOAD), await client.send_robot(ROBOT, PAYLOAD)
    await caller.close()
    assert (app.state, app.cause, app.errcode) == (State.NOT_SENT, "token_refused", None)
    assert (robot.state, robot.cause) == (State.NOT_SENT, "refused")
    assert ROBOT.key not in repr(robot)


async def test_a_send_read_and_dropped_is_unknown_and_not_repeated(manual_clock: ManualClock) -> None:
    async def drop(peer: Peer) -> None:
        await peer.request()

    async with serve(drop) as wire:
        client, caller = client_for(wire.url, manual_clock)
        outcome = await client.send_robot(ROBOT, PAYLOAD)
        await caller.close()
    assert (outcome.state, outcome.cause) == (State.UNKNOWN, "closed")
    assert len(wire.requests) == 1


async def test_a_file_is_uploaded_as_one_named_part(wecom: FakeWeCom, client: WeComClient) -> None:
    wecom.says({"errcode": 0, "errmsg": "", "type": "file", "media_id": "M", "created_at": "1380000000"})
    answer = await client.upload_media(ROBOT, "file", '报表"\r\n.csv', b"a,b\r\n1,2")
    assert answer.outcome.state is State.ACCEPTED
    assert answer.data["media_id"] == "M"
    assert wecom.queries == [{"key": ROBOT.key, "type": "file"}]
    body = wecom.sends[0]
    assert 'name="media"; filename="报表%22.csv"'.encode() in body
    assert b"\r\n\r\na,b\r\n1,2\r\n--" in body
    assert wecom.headers[0]["Content-Type"].startswith("multipart/form-data; boundary=")
    await client.upload_media(APP, "image", "a.png", b"12345")
    assert wecom.queries[1] == {"access_token": "token-1", "type": "image"}


async def test_a_read_gives_the_answers_data(wecom: FakeWeCom, client: WeComClient) -> None:
    wecom.says({"errcode": 0, "ip_list": ["1.2.3.4"]})
    answer = await client.get(APP, "/cgi-bin/getcallbackip", {"a": "b c"})
    assert answer.data["ip_list"] == ["1.2.3.4"]
    assert wecom.queries == [{"access_token": "token-1", "a": "b c"}]


def test_secrets_stay_out_of_reprs() -> None:
    assert APP.secret not in repr(APP)
    assert ROBOT.key not in repr(ROBOT)
    assert "t0k" not in repr(StoredToken("t0k", None, None, 1))
