"""The bare two-phase loop: what the job costs with nothing around it.

    python -m bench.bare AMQP_URL QUEUE DATABASE_URL SINK_URL

A batch of events becomes inbox and pending rows in one transaction, one POST each, the outcomes in one more
transaction, and the acknowledgement. No rule, role, template, limit, trace, recipient or attempt; asyncpg and
aiormq, the leanest clients there are. The tables of ``SCHEMA`` must be there. Prints ``ready`` when it consumes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiohttp
import aiormq
import asyncpg  # type: ignore[import-untyped]  # ships no stubs
import orjson
import uvloop
from aiormq.abc import DeliveredMessage

BATCH = 100
SENDERS = 64

SCHEMA = """
CREATE TABLE bare_inbox (id text PRIMARY KEY, body text NOT NULL, received_at timestamptz DEFAULT now());
CREATE TABLE bare_delivery (
    id text PRIMARY KEY, status text NOT NULL, errcode int, updated_at timestamptz DEFAULT now());
"""


async def main(amqp: str, queue: str, database: str, sink: str) -> None:
    """Run until killed."""
    pool = await asyncpg.create_pool(database, min_size=2, max_size=4)
    connection = await aiormq.connect(amqp)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=3 * BATCH)
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=SENDERS)) as session:
        work: asyncio.Queue[tuple[str, bytes, Any]] = asyncio.Queue()
        done: asyncio.Queue[tuple[str, int, Any]] = asyncio.Queue()
        await channel.basic_consume(queue, arrived.put)
        print("ready bare", flush=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(_admit(pool, arrived, work))
            for _ in range(SENDERS):
                group.create_task(_send(session, sink, work, done))
            group.create_task(_record(pool, channel, done))


async def _take(queue: asyncio.Queue[Any]) -> list[Any]:
    items = [await queue.get()]
    while len(items) < BATCH and not queue.empty():
        items.append(queue.get_nowait())
    return items


async def _admit(pool: Any, arrived: asyncio.Queue[Any], work: asyncio.Queue[Any]) -> None:
    while True:
        batch = await _take(arrived)
        ids = [m.header.properties.message_id for m in batch]
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute(
                "INSERT INTO bare_inbox (id, body) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING",
                ids,
                [m.body.decode() for m in batch],
            )
            await conn.execute(
                "INSERT INTO bare_delivery (id, status) SELECT u, 'pending' FROM unnest($1::text[]) u"
                " ON CONFLICT DO NOTHING",
                ids,
            )
        for key, message in zip(ids, batch, strict=True):
            work.put_nowait((key, _payload(orjson.loads(message.body)), message.delivery_tag))


def _payload(data: dict[str, Any]) -> bytes:
    text = (
        f"【新订单】\n订单号：{data['order_number']}\n桌号：{data['table_number']}\n"
        f"金额：¥{data['total']}\n时间：{data['order_time']}"
    )
    return orjson.dumps({"touser": "chef", "msgtype": "text", "agentid": 1, "text": {"content": text}})


async def _send(
    session: aiohttp.ClientSession, sink: str, work: asyncio.Queue[Any], done: asyncio.Queue[Any]
) -> None:
    url = f"{sink}/cgi-bin/message/send?access_token=bench"
    while True:
        key, body, tag = await work.get()
        async with session.post(url, data=body, headers={"content-type": "application/json"}) as reply:
            answer = orjson.loads(await reply.read())
        done.put_nowait((key, answer["errcode"], tag))


async def _record(pool: Any, channel: Any, done: asyncio.Queue[Any]) -> None:
    finished: set[int] = set()
    acked = 0
    while True:
        batch = await _take(done)
        await pool.execute(
            "UPDATE bare_delivery d SET status = 'accepted', errcode = u.e, updated_at = now()"
            " FROM unnest($1::text[], $2::int[]) AS u(id, e) WHERE d.id = u.id",
            [key for key, _, _ in batch],
            [errcode for _, errcode, _ in batch],
        )
        finished.update(tag for _, _, tag in batch)
        upto = acked
        while upto + 1 in finished:
            upto += 1
            finished.discard(upto)
        if upto > acked:
            await channel.basic_ack(upto, multiple=True)
            acked = upto


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:5]))
