"""A kf_session beside a sandbox, with one account and one customer: what the tests of customers share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from reach.kf_session.v1 import session_pb2 as pb
from reach.kf_session.v1.kf_session_service_pb2_grpc import KfSessionServiceStub

from services.kf_session.assembly import NAME, build
from services.kf_session.store.tables import session
from services.kf_session.usecases.ringing import PATH
from shared.db.engine import Database
from shared.db.tables import outbox
from tests.e2e.harness import CORP, STORE, Reach, Sandbox, embedded, eventually

WK, WM = "wk1", "wm1"
SECRET = "kf-secret-0123456789"
TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
CALLBACK = {"WECOM_KF_CALLBACK_TOKEN": TOKEN, "WECOM_KF_CALLBACK_AES_KEY": AES_KEY}
DECLARED: Mapping[str, Any] = {
    "corp_id": CORP,
    "users": [{"userid": "ann", "name": "张三"}, {"userid": "ben", "name": "李四"}],
    "kf": {
        "secret": SECRET,
        "accounts": [{"open_kfid": WK, "name": "门店客服"}],
        "servicers": [{"userid": "ann"}, {"userid": "ben"}],
        "customers": [{"external_userid": WM, "nickname": "小王"}],
    },
}


class Shop:
    """One store and its customer."""

    def __init__(self, reach: Reach, world: Sandbox, database: Database) -> None:
        self.reach, self.world, self.database = reach, world, database
        self.stub: Any = KfSessionServiceStub(reach.channel)

    async def listen(self) -> None:
        """Let the platform call."""
        await self.world.post(
            "/sandbox/callbacks",
            url=f"http://{self.reach.http}{PATH}",
            token=TOKEN,
            aes_key=AES_KEY,
            corp_id=CORP,
            kind="kf",
        )

    async def writes(self, text: str = "在吗", **more: Any) -> str:
        """The customer writes; the msgid."""
        body = {"external_userid": WM, "open_kfid": WK, "text": text, **more}
        return str((await self.world.post("/sandbox/kf/messages", **body))["msgid"])

    async def enters(self, **more: Any) -> Any:
        """The customer opens the chat; the welcome code."""
        body = {"external_userid": WM, "open_kfid": WK, **more}
        return (await self.world.post("/sandbox/kf/enter", **body))["welcome_code"]

    async def servicer(self, action: str, userid: str = "ann", **more: Any) -> Any:
        """A servicer does something."""
        body = {"external_userid": WM, "open_kfid": WK, "userid": userid, **more}
        return await self.world.post("/sandbox/kf/servicer", action=action, **body)

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table, by its primary key."""
        query = sa.select(table).order_by(*table.primary_key.columns)
        async with self.database.read() as conn:
            return list(await conn.execute(query))

    async def announced(self) -> list[str]:
        """The types of what was announced, oldest first."""
        return [row.type for row in await self.rows(outbox)]

    async def session(self) -> pb.Session:
        """GetSession."""
        request = pb.GetSessionRequest(open_kfid=WK, external_userid=WM)
        found: pb.Session = (await self.stub.GetSession(request)).session
        return found

    async def until(self, table: sa.Table, count: int) -> list[Any]:
        """Wait until a table has *count* rows, and give them."""

        async def look() -> list[Any] | None:
            found = await self.rows(table)
            return found if len(found) >= count else None

        return await eventually(look) or []

    async def until_state(self, state: int) -> pb.Session:
        """Wait until the session is in a state."""

        async def look() -> pb.Session | None:
            async with self.database.read() as conn:
                found = (await conn.execute(sa.select(session.c.state))).scalar()
            return None if found is None or found + 1 != state else await self.session()

        found = await eventually(look)
        assert found is not None
        return found

    async def calls(self, name: str) -> list[dict[str, Any]]:
        """What kf/*name* was asked, as JSON."""
        return [one["body"] for one in await self.world.requests(f"/cgi-bin/kf/{name}")]


@asynccontextmanager
async def shop(world: Sandbox, home: Path, url: str | None = None, **more: str) -> AsyncIterator[Shop]:
    """A kf_session on the sandbox's clock, its account declared and its callback set up; *url* is its PostgreSQL."""
    await world.declare(**DECLARED)
    settings = {"default_store": STORE, "clock": "sandbox", "WECOM_KF_SECRET": SECRET, **CALLBACK, **more}
    settings |= {"database_url": url} if url else {}
    async with embedded(world.url, home, builds=[build], **settings) as reach:
        database = Database.open(url or f"sqlite:///{home}/{NAME}.db", schema=NAME)
        try:
            made = Shop(reach, world, database)
            if settings["WECOM_KF_CALLBACK_TOKEN"]:
                await made.listen()
            yield made
        finally:
            await database.close()
