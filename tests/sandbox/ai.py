"""Calls to the sandbox's DashScope as any program makes them."""

from typing import Any

import orjson

from tests.sandbox.conftest import Client

KEY = "sk-0123456789abcdef"


def path_of(app_id: str) -> str:
    return f"/api/v1/apps/{app_id}/completion"


async def post(client: Client, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    """Status and body of a call; an event stream's body comes as it is."""
    bearer = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"} | headers
    async with client.session.post(client.url + path, data=orjson.dumps(body), headers=bearer) as answer:
        raw = await answer.read()
        streamed = "event-stream" in answer.headers.get("content-type", "")
        return answer.status, raw.decode() if streamed else orjson.loads(raw)


async def ask(client: Client, prompt: str = "你好", app_id: str = "app1", **more: Any) -> tuple[int, Any]:
    """Ask an application."""
    headers = more.pop("headers", {})
    parameters = more.pop("parameters", {})
    body = {"input": {"prompt": prompt, **more}, "parameters": parameters}
    return await post(client, path_of(app_id), body, **headers)


def text_of(answer: tuple[int, Any]) -> str:
    status, body = answer
    assert status == 200, body
    return str(body["output"]["text"])
