"""Reach itself: one ``reach serve notifier`` process, configured as an operator would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
import psycopg
from pamqp.commands import Basic
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import notifier_service_pb2_grpc as rpc
from reach.notifier.v1 import target_pb2

from bench.contenders import Contender, count
from bench.job import EVENT_TYPE, Message, Order
from bench.stage import Stage, on_stage
from shared.bus.topology import Topology
from tests.support.process import Program

ROLE = "kitchen_staff"
SCHEMA = "notifier"


class Reach(Contender):
    """Rule, role, template, inbox, delivery, recipient, attempt, outcome and limits on."""

    def __init__(
        self,
        stage: Stage,
        stores: Sequence[str],
        *,
        name: str = "reach",
        trace_ratio: float | None,
        announces: bool = False,
    ) -> None:
        """*trace_ratio*: the share of events that are traced to the collector; None switches tracing off.

        *announces*: every accepted delivery is announced on the exchange too, as it is by default.
        """
        self.name = name
        self.queue = Topology().queue("notifier")
        self.command = ["-m", "cli.main", "serve", "notifier"]
        self._trace_ratio = trace_ratio
        self._announces = announces
        super().__init__(stage)
        self._prepare(stores)

    def _prepare(self, stores: Sequence[str]) -> None:
        """Migrate, declare the queues and give every store its cook; each run starts from a copy of that."""
        self.database = self.stage.database(self._template)
        with on_stage(Program("migrate", ["-m", "cli.main", "migrate"], self._environment())) as migrating:
            if migrating.wait(60) != 0:
                raise RuntimeError(f"reach migrate failed:\n{migrating.output()}")
        with on_stage(self.program()) as program:
            address = program.ready(60).facts["grpc"]
            with grpc.insecure_channel(address) as channel:
                stub = rpc.NotifierServiceStub(channel)
                for store in stores:
                    stub.SetRoleTargets(_cook(store), timeout=10)

    @property
    def _template(self) -> str:
        return f"{self.name}_template"

    def reset(self) -> None:
        """A copy of the prepared database; the queue is empty, or the last run would have been reported."""
        self.database = self.stage.database(self.name, self._template)

    def message(self, order: Order) -> Message:
        """Plain JSON as any publisher writes it: the id and the store beside the payload."""
        properties = Basic.Properties(
            content_type="application/json",
            message_id=order.number,
            headers={"store_id": order.store_id},
            delivery_mode=2,
        )
        return Message(Topology().events, EVENT_TYPE, order.body, properties)

    def program(self) -> Program:
        """Start the process."""
        return Program(self.name, self.command, self._environment())

    def _environment(self) -> dict[str, str]:
        environment = {
            "REACH_HOME": str(self.stage.home / self.name),
            "REACH_AMQP_URL": self.amqp,
            "REACH_DATABASE_URL": self.database,
            "REACH_WECOM_BASE_URL": self.stage.sink.url,
            "REACH_GRPC_LISTEN": "127.0.0.1:0",
            "REACH_HTTP_LISTEN": "127.0.0.1:0",
            "WECOM_CORP_ID": "wwbench",
            "WECOM_AGENT_ID": "1000002",
            "WECOM_SECRET": "bench-secret",
            "REACH_ANNOUNCE_ACCEPTED": str(self._announces).lower(),
        }
        if self._trace_ratio is not None:
            environment |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": self.stage.collector.url,
                "OTEL_EXPORTER_OTLP_INSECURE": "true",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(self._trace_ratio),
            }
        return environment

    def recorded(self, conn: psycopg.Connection) -> int:
        """Deliveries with their outcome."""
        return count(conn, f"{SCHEMA}.delivery WHERE status = 'accepted'")

    def rows(self, conn: psycopg.Connection) -> Mapping[str, int]:
        """The rows of every step."""
        rows = {
            "inbox": count(conn, f"{SCHEMA}.inbox"),
            "delivery": self.recorded(conn),
            "recipient": count(conn, f"{SCHEMA}.recipient"),
            "attempt": count(conn, f"{SCHEMA}.attempt WHERE state = 'accepted'"),
        }
        if self._announces:
            rows["announcement"] = count(conn, f"{SCHEMA}.outbox WHERE state = 'published'")
        return rows

    def settled(self, conn: psycopg.Connection) -> bool:
        """Whether every announcement is on the broker."""
        return count(conn, f"{SCHEMA}.outbox WHERE state = 'pending'") == 0


def _cook(store: str) -> pb.SetRoleTargetsRequest:
    person = target_pb2.Target(kind=target_pb2.TARGET_KIND_USER, id=f"cook-{store}")
    return pb.SetRoleTargetsRequest(role=ROLE, store_id=store, targets=[person])
