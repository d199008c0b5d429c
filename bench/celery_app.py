"""The way of the first of the systems Reach replaces: a Celery task an event, ``requests``, a row committed each."""

from __future__ import annotations

import os
from typing import Any

import psycopg
import requests
from celery import Celery  # type: ignore[import-untyped]  # ships no stubs
from celery.signals import worker_process_init, worker_ready  # type: ignore[import-untyped]

app = Celery("bench", broker=os.environ["BENCH_AMQP_URL"])
app.conf.update(
    task_acks_late=True,
    task_default_queue=os.environ["BENCH_QUEUE"],
    task_default_queue_type="quorum",
    task_ignore_result=True,
    worker_prefetch_multiplier=8,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
_state: dict[str, Any] = {}


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _open(**_: object) -> None:
    _state["db"] = psycopg.connect(os.environ["BENCH_DATABASE_URL"], autocommit=True)
    _state["http"] = requests.Session()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _announce(**_: object) -> None:
    print("ready celery", flush=True)


@app.task(  # type: ignore[untyped-decorator]
    name="bench.send_wechat_push", autoretry_for=(requests.RequestException,), max_retries=3
)
def send_wechat_push(event_id: str, data: dict[str, Any]) -> None:
    """Render, post, store the result."""
    text = (
        f"【新订单】\n订单号：{data['order_number']}\n桌号：{data['table_number']}\n"
        f"金额：¥{data['total']}\n时间：{data['order_time']}"
    )
    reply = _state["http"].post(
        f"{os.environ['BENCH_SINK_URL']}/cgi-bin/message/send?access_token=bench",
        json={"touser": "chef", "msgtype": "text", "agentid": 1, "text": {"content": text}},
        timeout=10,
    )
    _state["db"].execute(
        "INSERT INTO celery_result (id, errcode) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (event_id, reply.json()["errcode"]),
    )
