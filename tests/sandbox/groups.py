"""Customer groups as an app uses them, and as tests play owners and customers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.sandbox.door import AES_KEY, TOKEN

if TYPE_CHECKING:
    from tests.sandbox.conftest import Client

SECRET = "customer-s1"
GROUP, OTHER = "wr1", "wr2"
DECLARED: dict[str, Any] = {
    "corp_id": "ww1",
    "users": [
        {"userid": "ZhangSan", "name": "张三"},
        {"userid": "lisi", "name": "李四"},
        {"userid": "wangwu"},
    ],
}


class Groups:
    """Two groups: one of ZhangSan with a customer, one of lisi."""

    def __init__(self, client: Client, token: str) -> None:
        self.client = client
        self.token = token

    @classmethod
    async def of(cls, client: Client) -> Groups:
        assert "error" not in await client.post("/sandbox/directory", DECLARED)
        made = cls(client, await client.token(SECRET))
        customer = {"external_userid": "wm1", "name": "小王", "scene": 3, "state": "poster", "unionid": "u1"}
        await made.declare(chat_id=GROUP, name="浦东老客", owner="zhangsan", members=[customer])
        await made.declare(chat_id=OTHER, name="徐汇老客", owner="lisi")
        return made

    async def call(self, name: str, /, **body: Any) -> Any:
        return await self.client.post(f"/cgi-bin/externalcontact/{name}", body, access_token=self.token)

    async def code(self, name: str, /, **body: Any) -> int:
        return int((await self.call(name, **body))["errcode"])

    async def play(self, what: str, /, **more: Any) -> Any:
        """Something that people do, or that is declared."""
        answer = await self.client.post(f"/sandbox/{what}", more)
        assert "error" not in answer, answer
        return answer

    async def declare(self, **more: Any) -> Any:
        return await self.play("groups", **more)

    async def change(self, chat_id: str = GROUP, /, **more: Any) -> Any:
        return await self.play(f"groups/{chat_id}", **more)

    async def get(self, chat_id: str = GROUP, **more: Any) -> Any:
        answer = await self.call("groupchat/get", chat_id=chat_id, **more)
        assert answer["errcode"] == 0, answer
        return answer["group_chat"]

    async def list_all(self, limit: int = 1000, **more: Any) -> list[Any]:
        """Every page of the list."""
        rows: list[Any] = []
        body: dict[str, Any] = {"limit": limit, **more}
        while True:
            answer = await self.call("groupchat/list", **body)
            assert answer["errcode"] == 0, answer
            rows += answer["group_chat_list"]
            if not answer.get("next_cursor"):
                return rows
            body["cursor"] = answer["next_cursor"]

    async def later(self, seconds: float) -> None:
        """Let time pass; the token is fetched anew, since it may have expired."""
        await self.client.post("/sandbox/clock", {"advance_seconds": seconds})
        self.token = await self.client.token(SECRET)

    async def door(self, url: str) -> Any:
        """Set up the callback of customer contact."""
        body = {"url": url, "token": TOKEN, "aes_key": AES_KEY, "corp_id": "ww1", "kind": "customer"}
        answer = await self.client.post("/sandbox/callbacks", body | {"verify": False})
        assert "error" not in answer, answer

    async def deliveries(self) -> list[Any]:
        """What became of every callback, once none is under way."""
        answer = await self.client.get("/sandbox/callbacks/deliveries", kind="customer", wait=5)
        assert answer["under_way"] == 0
        return list(answer["deliveries"])


async def mass_send(groups: Groups, **more: Any) -> str:
    """The msgid of a new task for ZhangSan and their group, unless a call says otherwise."""
    body = {
        "chat_type": "group",
        "sender": "zhangsan",
        "chat_id_list": [GROUP],
        "text": {"content": "周五上新"},
    }
    answer = await groups.call("add_msg_template", **(body | more))
    assert answer["errcode"] == 0, answer
    return str(answer["msgid"])
