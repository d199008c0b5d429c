"""WeChat KF as an app uses it, and as tests play its customers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.sandbox.door import AES_KEY, TOKEN

if TYPE_CHECKING:
    from tests.sandbox.conftest import Client

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
WK, WM = "wk1", "wm1"
HOUR = 3600
DECLARED: dict[str, Any] = {
    "corp_id": "ww1",
    "users": [{"userid": "ZhangSan", "name": "张三"}, {"userid": "lisi", "departments": [2]}],
    "kf": {
        "secret": "s-kf",
        "accounts": [{"open_kfid": WK, "name": "门店客服"}, {"open_kfid": "wk2"}],
        "servicers": [{"userid": "zhangsan"}, {"department_id": 2, "open_kfid": WK}],
        "customers": [{"external_userid": WM, "nickname": "小王", "gender": 1}],
    },
}


class Kf:
    """One account and one customer, unless a call says otherwise."""

    def __init__(self, client: Client, token: str) -> None:
        self.client = client
        self.token = token

    @classmethod
    async def of(cls, client: Client) -> Kf:
        assert "error" not in await client.post("/sandbox/directory", DECLARED)
        return cls(client, await client.token("s-kf"))

    async def call(self, name: str, /, **body: Any) -> Any:
        return await self.client.post(f"/cgi-bin/kf/{name}", body, access_token=self.token)

    async def image(self) -> str:
        """The id of an uploaded picture."""
        path = "/cgi-bin/media/upload"
        answer = await self.client.upload(path, PNG, access_token=self.token, type="image")
        return str(answer["media_id"])

    async def send(self, content: str = "您好", **more: Any) -> Any:
        message = {"touser": WM, "open_kfid": WK, "msgtype": "text", "text": {"content": content}}
        return await self.call("send_msg", **(message | more))

    async def on_event(self, code: str | None, **more: Any) -> Any:
        return await self.call(
            "send_msg_on_event", code=code, **({"msgtype": "text", "text": {"content": "欢迎"}} | more)
        )

    async def sync(self, **more: Any) -> Any:
        return await self.call("sync_msg", **({"open_kfid": WK} | more))

    async def state(self, **more: Any) -> Any:
        return await self.call("service_state/get", **({"open_kfid": WK, "external_userid": WM} | more))

    async def trans(self, to: int, **more: Any) -> Any:
        body = {"open_kfid": WK, "external_userid": WM, "service_state": to}
        return await self.call("service_state/trans", **(body | more))

    async def play(self, what: str, **more: Any) -> Any:
        """Something that people do."""
        answer = await self.client.post(f"/sandbox/kf/{what}", more)
        assert "error" not in answer, answer
        return answer

    async def writes(self, text: str = "在吗", **more: Any) -> str:
        document = {"external_userid": WM, "open_kfid": WK, "text": text} | more
        return str((await self.play("messages", **document))["msgid"])

    async def enters(self, **more: Any) -> Any:
        return (await self.play("enter", **({"external_userid": WM, "open_kfid": WK} | more)))["welcome_code"]

    async def servicer(self, action: str, userid: str = "zhangsan", **more: Any) -> Any:
        pair = {} if action == "status" else {"external_userid": WM}
        return await self.play("servicer", action=action, userid=userid, open_kfid=WK, **pair, **more)

    async def later(self, seconds: float) -> None:
        """Let time pass; the token is fetched anew, since it may have expired."""
        await self.client.post("/sandbox/clock", {"advance_seconds": seconds})
        self.token = await self.client.token("s-kf")

    async def session(self, open_kfid: str = WK, external_userid: str = WM) -> Any:
        answer = await self.client.get(
            "/sandbox/kf/sessions", open_kfid=open_kfid, external_userid=external_userid
        )
        (found,) = answer["sessions"]
        return found

    async def phone(self, **more: Any) -> list[Any]:
        answer = await self.client.get("/sandbox/kf/messages", **({"external_userid": WM} | more))
        return list(answer["messages"])

    async def door(self, url: str, **more: Any) -> Any:
        """Set up the callback of WeChat KF."""
        body = {"url": url, "token": TOKEN, "aes_key": AES_KEY, "corp_id": "ww1", "kind": "kf"}
        return await self.client.post("/sandbox/callbacks", body | {"verify": False} | more)

    async def steer(self, **more: Any) -> Any:
        answer = await self.client.post("/sandbox/callbacks/deliveries", {"kind": "kf"} | more)
        assert "error" not in answer, answer
        return answer["released"]

    async def deliveries(self) -> list[Any]:
        """What became of every callback, once none is under way."""
        answer = await self.client.get("/sandbox/callbacks/deliveries", kind="kf", wait=5)
        assert answer["under_way"] == 0
        return list(answer["deliveries"])
