"""A sandbox on a real socket, and a client that speaks to it as any program would."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from sandbox.profile import Profile
from sandbox.server import Running, start
from tests.sandbox.door import App
from tests.sandbox.groups import Groups
from tests.sandbox.kf import Kf

AGENT = 1000002


class Client:
    """Calls to one sandbox; answers are parsed JSON."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def get(self, path: str, /, **query: Any) -> Any:
        async with self.session.get(self.url + path, params=query) as answer:
            return orjson.loads(await answer.read())

    async def post(self, path: str, body: Any = None, /, **query: Any) -> Any:
        data = io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body if body is not None else {}))
        async with self.session.post(self.url + path, data=data, params=query) as answer:
            return orjson.loads(await answer.read())

    async def delete(self, path: str) -> Any:
        async with self.session.delete(self.url + path) as answer:
            return orjson.loads(await answer.read())

    async def token(self, secret: str = "s1", corp: str = "ww1") -> str:
        answer = await self.get("/cgi-bin/gettoken", corpid=corp, corpsecret=secret)
        assert answer["errcode"] == 0, answer
        return str(answer["access_token"])

    async def send(self, token: str, **body: Any) -> Any:
        message = {
            "touser": "zhangsan",
            "msgtype": "text",
            "agentid": AGENT,
            "text": {"content": "你好"},
        } | body
        return await self.post("/cgi-bin/message/send", message, access_token=token)

    async def robot(self, key: str = "k1", **body: Any) -> Any:
        message = {"msgtype": "text", "text": {"content": "你好"}} | body
        return await self.post("/cgi-bin/webhook/send", message, key=key)

    async def arrived(self, to: str, **query: Any) -> list[Any]:
        answer = await self.get("/sandbox/messages", to=to, **query)
        return list(answer["messages"])

    async def called(self, path: str) -> Any:
        """The first call of this path that the sandbox has seen, answered or not; at most five seconds' patience."""
        async with asyncio.timeout(5):
            while True:
                if found := (await self.get("/sandbox/requests", path=path, limit=1))["requests"]:
                    return found[0]

    async def upload(self, path: str, content: bytes, name: str = "a.png", **query: Any) -> Any:
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("media", io.BytesIO(content), filename=name, content_type="application/octet-stream")
        async with self.session.post(self.url + path, data=form, params=query) as answer:
            return orjson.loads(await answer.read())


Open = Callable[..., Awaitable[Client]]


@pytest.fixture
async def open_sandbox() -> AsyncIterator[Open]:
    """Start sandboxes with given settings; all are stopped afterwards."""
    running: list[Running] = []
    async with aiohttp.ClientSession() as session:

        async def opened(**settings: Any) -> Client:
            server = await start("127.0.0.1:0", Profile.from_mapping(settings))
            running.append(server)
            return Client(server.url, session)

        yield opened
        for server in running:
            await server.stop()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    made = App()
    served = web.Application()
    served.router.add_route("*", "/cb", made.serve)
    runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/cb"
    yield made
    await runner.cleanup()


@pytest.fixture
async def client(open_sandbox: Open) -> Client:
    """A sandbox as it comes."""
    return await open_sandbox()


@pytest.fixture
async def kf(client: Client) -> Kf:
    """WeChat KF with an account, servicers and a customer."""
    return await Kf.of(client)


@pytest.fixture
async def groups(client: Client) -> Groups:
    """Two customer groups and their owners."""
    return await Groups.of(client)
