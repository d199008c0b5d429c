"""As much of WeCom as these tests need: tokens that die, and answers one dictates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from shared.wecom.credentials import App, Robot

APP = App("ww1", 1000002, "app-secret-0123456789", "orders")
ROBOT = Robot("kitchen", "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa")


@dataclass
class FakeWeCom:
    url: str = ""
    gettokens: int = 0
    sends: list[bytes] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    live: str | None = None
    expires_in: object = 7200
    token_answer: dict[str, object] | None = None
    token_status: int = 200
    token_gate: asyncio.Event | None = None
    answer: web.Response | None = None

    def expire(self) -> None:
        self.live = None

    def says(self, body: bytes | dict[str, object], status: int = 200, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        self.answer = web.Response(body=raw, status=status, headers=headers)

    async def gettoken(self, request: web.Request) -> web.Response:
        self.gettokens += 1
        number = self.gettokens
        if self.token_gate is not None:
            await self.token_gate.wait()
        if self.token_answer is not None or self.token_status != 200:
            return web.json_response(self.token_answer or {}, status=self.token_status)
        assert request.query["corpid"] == APP.corp_id
        self.live = f"token-{number}"
        return web.json_response({"errcode": 0, "access_token": self.live, "expires_in": self.expires_in})

    async def call(self, request: web.Request) -> web.Response:
        self.sends.append(await request.read())
        self.queries.append(dict(request.query))
        self.headers.append(dict(request.headers))
        if "access_token" in request.query and request.query["access_token"] != self.live:
            return web.json_response({"errcode": 42001, "errmsg": "access_token expired"})
        if self.answer is not None:
            answer = self.answer
            body = answer.body
            assert isinstance(body, bytes)
            return web.Response(body=body, status=answer.status, headers=answer.headers)
        return web.json_response({"errcode": 0, "errmsg": "ok", "msgid": "m1"})


@asynccontextmanager
async def fake_wecom() -> AsyncIterator[FakeWeCom]:
    fake = FakeWeCom()
    app = web.Application()
    app.router.add_get("/cgi-bin/gettoken", fake.gettoken)
    app.router.add_route("*", "/cgi-bin/{tail:.*}", fake.call)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
