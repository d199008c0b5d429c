"""Publish one order to Reach with a plain AMQP client: ``python publish.py ORDER_NUMBER``.

Needs aio-pika and nothing of Reach. REACH_AMQP_URL and REACH_AMQP_EXCHANGE say where, as for Reach itself. Returns
once the broker has confirmed: from then on the event is safe. Twice with the same number sends one message.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import aio_pika

URL = os.environ.get("REACH_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
EXCHANGE = os.environ.get("REACH_AMQP_EXCHANGE", "reach.events")


async def publish(order_number: str) -> None:
    """Publish the order as a CloudEvent in structured mode."""
    event = {
        "specversion": "1.0",
        "id": f"till-8-{order_number}",
        "type": "order.created",
        "source": "till/8",
        "storeid": "s1",
        "data": {
            "order_number": order_number,
            "table_number": "A01",
            "total": "280.00",
            "order_time": "2026-02-20T12:30:00+08:00",
        },
    }
    connection = await aio_pika.connect(URL)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        exchange = await channel.get_exchange(EXCHANGE)  # fails when Reach has never run on this broker
        message = aio_pika.Message(
            json.dumps(event).encode(),
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await exchange.publish(message, routing_key="order.created")
    print(f"published {event['id']}")


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1] if len(sys.argv) > 1 else "A1001"))
