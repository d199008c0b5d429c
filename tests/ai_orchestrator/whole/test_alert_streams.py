"""WatchAlerts over two replicas on one PostgreSQL: who is thrown off goes on behind the last cursor, at either of them."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path

from reach.ai_orchestrator.v1 import alert_pb2
from reach.ai_orchestrator.v1.ai_orchestrator_service_pb2_grpc import AiOrchestratorServiceStub

from services.ai_orchestrator.assembly import NAME, build
from services.ai_orchestrator.pipeline.alerting import Alerting
from shared.clock import SystemClock
from shared.db.engine import Database
from shared.secrets import SecretKey
from tests.e2e.harness import STORE, embedded

WRITERS, EACH = 6, 12


async def _write(database: Database, writer: int) -> None:
    """A writer's alerts, in pairs of transactions: what is begun first is committed last."""
    alerting, clock = Alerting(database), SystemClock()
    for at in range(0, EACH, 2):
        async with database.write() as slow:
            for conn_of, step in ((slow, at), (None, at + 1), (None, at + 1)):
                told = {
                    "store_id": STORE,
                    "app_type": "app3_clue",
                    "kind": "failed",
                    "message": "for the test",
                    "run_id": f"r{writer}",
                    "step": f"{writer}-{step}",
                    "now": clock.now(),
                }
                if conn_of is not None:
                    await alerting.tell(conn_of, **told)  # type: ignore[arg-type]  # one dict for both
                else:  # told twice, as by a takeover: it is one
                    async with database.write() as quick:
                        await alerting.tell(quick, **told)  # type: ignore[arg-type]  # one dict for both
            await asyncio.sleep(0.01 * (writer % 3))


async def test_who_reconnects_here_and_there_sees_every_alert_once_though_writers_commit_out_of_order(
    postgres_database: str, tmp_path: Path
) -> None:
    SecretKey.create(tmp_path / "secret.key")
    settings = {"database_url": postgres_database, "secret_key_file": str(tmp_path / "secret.key")}
    async with AsyncExitStack() as stack:
        stubs = []
        for name in ("one", "two"):
            home = tmp_path / name
            reach = await stack.enter_async_context(
                embedded("http://127.0.0.1:9", home, builds=[build], **settings)
            )
            stubs.append(AiOrchestratorServiceStub(reach.channel))  # type: ignore[no-untyped-call]
        database = Database.open(postgres_database, schema=NAME, pool_size=2 * WRITERS)
        stack.push_async_callback(database.close)

        seen: list[str] = []
        cursor = 0
        wanted = {f"{writer}-{at}" for writer in range(WRITERS) for at in range(EACH)}
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(_write(database, writer))
            for stub, pieces in zip(itertools.cycle(stubs), itertools.cycle([1, 2, 7, 20])):
                stream = stub.WatchAlerts(alert_pb2.WatchAlertsRequest(after_cursor=cursor))
                async for one in stream:
                    assert one.cursor >= cursor
                    cursor = one.cursor
                    if one.HasField("alert"):
                        seen.append(one.alert.step)
                        pieces -= 1
                    if not pieces or len(seen) == len(wanted):
                        break
                stream.cancel()
                if len(seen) >= len(wanted):
                    break
        assert sorted(seen) == sorted(wanted)
