"""Who races: how each gets its fresh ground, its messages, its process, and how its work is counted."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import orjson
import psycopg
from pamqp.commands import Basic

from bench.bare import SCHEMA
from bench.job import Message, Order, fresh_queue
from bench.stage import Stage
from tests.support.process import Program


def count(conn: psycopg.Connection, what: str) -> int:
    """Rows of *what*: a table, with a condition behind it or not."""
    row = conn.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
    assert row is not None
    number: int = row[0]
    return number


class Contender(ABC):
    """One way to do the job; what it keeps is in a database and a virtual host of its own."""

    name: str
    queue: str

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.amqp = stage.vhost(self.name)
        self.database = ""

    @abstractmethod
    def reset(self) -> None:
        """Give the next run a fresh database and an empty queue."""

    @abstractmethod
    def message(self, order: Order) -> Message:
        """The order as this contender takes it from the broker."""

    @abstractmethod
    def program(self) -> Program:
        """Start the process."""

    @abstractmethod
    def recorded(self, conn: psycopg.Connection) -> int:
        """How many orders have their last row."""

    @abstractmethod
    def rows(self, conn: psycopg.Connection) -> Mapping[str, int]:
        """Rows by table: one for every order in each, when all is done."""

    def settled(self, conn: psycopg.Connection) -> bool:
        """Whether what follows the last row is done too."""
        return True


class Bare(Contender):
    """``bench.bare``: the two phases and nothing else."""

    name = "bare"
    queue = "bench.bare"

    def reset(self) -> None:
        """Make it all anew."""
        self.database = self.stage.database("bare")
        with psycopg.connect(self.database) as conn:
            conn.execute(SCHEMA)
        asyncio.run(fresh_queue(self.amqp, self.queue))

    def message(self, order: Order) -> Message:
        """The plain body."""
        properties = Basic.Properties(
            content_type="application/json", message_id=order.number, delivery_mode=2
        )
        return Message("", self.queue, order.body, properties)

    def program(self) -> Program:
        """Start the loop."""
        arguments = [self.amqp, self.queue, self.database, self.stage.sink.url]
        return Program(self.name, ["-m", "bench.bare", *arguments], {})

    def recorded(self, conn: psycopg.Connection) -> int:
        """Outcomes."""
        return count(conn, "bare_delivery WHERE status = 'accepted'")

    def rows(self, conn: psycopg.Connection) -> Mapping[str, int]:
        """Two tables."""
        return {"inbox": count(conn, "bare_inbox"), "delivery": self.recorded(conn)}


class CeleryPrefork(Contender):
    """``bench.celery_app`` with a stated number of worker processes."""

    queue = "bench.celery"

    def __init__(self, stage: Stage, processes: int) -> None:
        self._processes = processes
        self.name = f"celery-{processes}"
        super().__init__(stage)

    def reset(self) -> None:
        """Make it all anew."""
        self.database = self.stage.database(self.name)
        with psycopg.connect(self.database) as conn:
            conn.execute("CREATE TABLE celery_result (id text PRIMARY KEY, errcode int)")
        asyncio.run(fresh_queue(self.amqp, self.queue))

    def message(self, order: Order) -> Message:
        """A task in Celery's message protocol 2."""
        task = str(uuid.uuid4())
        headers: dict[str, Any] = {
            "lang": "py",
            "task": "bench.send_wechat_push",
            "id": task,
            "root_id": task,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "argsrepr": "",
            "kwargsrepr": "",
            "origin": "bench",
            "ignore_result": True,
        }
        properties = Basic.Properties(
            content_type="application/json",
            content_encoding="utf-8",
            correlation_id=task,
            headers=headers,
            delivery_mode=2,
        )
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        return Message(
            "", self.queue, orjson.dumps([[order.number, dict(order.data)], {}, embed]), properties
        )

    def program(self) -> Program:
        """Start the worker."""
        arguments = [
            "-m",
            "celery",
            "-A",
            "bench.celery_app",
            "worker",
            "--concurrency",
            str(self._processes),
        ]
        quiet = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        environment = {
            "BENCH_AMQP_URL": self.amqp,
            "BENCH_QUEUE": self.queue,
            "BENCH_DATABASE_URL": self.database,
            "BENCH_SINK_URL": self.stage.sink.url,
        }
        return Program(self.name, [*arguments, *quiet], environment)

    def recorded(self, conn: psycopg.Connection) -> int:
        """Results."""
        return count(conn, "celery_result WHERE errcode = 0")

    def rows(self, conn: psycopg.Connection) -> Mapping[str, int]:
        """One table."""
        return {"result": self.recorded(conn)}
