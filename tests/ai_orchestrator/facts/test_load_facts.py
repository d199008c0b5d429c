"""LoadFacts over a real channel, and ``reach facts load`` over that: good rows stay, bad ones are told with their line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from reach.ai_orchestrator.v1 import fact_pb2 as pb
from reach.ai_orchestrator.v1.ai_orchestrator_service_pb2_grpc import AiOrchestratorServiceStub

from services.ai_orchestrator.assembly import NAME, build
from services.ai_orchestrator.store.fact_tables import note, visit
from shared.db.engine import Database
from tests.cli.support import Done
from tests.cli.support import Reach as Command
from tests.e2e.harness import STORE, Reach, embedded, refused, struct

NOWHERE = "http://127.0.0.1:1"


class Club:
    """A store of an ai_orchestrator in this process."""

    def __init__(self, reach: Reach, url: str) -> None:
        self.reach, self.url = reach, url
        self.stub: Any = AiOrchestratorServiceStub(reach.channel)

    async def load(self, *rows: Mapping[str, Any], kind: str = "VISIT", **more: Any) -> Any:
        request = pb.LoadFactsRequest(
            kind=pb.FactKind.Value(f"FACT_KIND_{kind}"), rows=[struct(row) for row in rows], **more
        )
        return await self.stub.LoadFacts(request)

    async def kept(self, column: Any) -> list[Any]:
        database = Database.open(self.url, schema=NAME)
        try:
            async with database.read() as conn:
                return list((await conn.execute(sa.select(column).order_by(column))).scalars())
        finally:
            await database.close()

    async def command(self, place: Path, *words: str) -> Done:
        command = Command(place, REACH_AI_ORCHESTRATOR_TARGET=self.reach.grpc, NO_COLOR="1")
        return await asyncio.to_thread(command, "facts", "load", *words)


@pytest.fixture
async def club(database_url: str, tmp_path: Path) -> AsyncIterator[Club]:
    home = tmp_path / "home"
    distant = {} if database_url.startswith("sqlite") else {"database_url": database_url}
    async with embedded(NOWHERE, home, builds=[build], default_store=STORE, **distant) as reach:
        yield Club(reach, database_url if distant else f"sqlite:///{home}/{NAME}.db")


def row(ident: str, **more: Any) -> dict[str, Any]:
    return {"visit_id": ident, "settled_time": "2026-11-20T21:30:00+08:00", "amount": "88.50", **more}


async def test_good_rows_are_kept_bad_ones_told_and_the_same_again_changes_nothing(
    club: Club, tmp_path: Path
) -> None:
    done = await club.load(row("v1"), row("v2", amount="viel"), row("v1"), row("v3"), idempotency_key="k")
    assert (done.loaded_count, done.new_count) == (2, 2)
    assert [(one.row, [wrong.column for wrong in one.columns]) for one in done.errors] == [
        (2, ["amount"]),
        (3, ["visit_id"]),
    ]
    again = await club.load(row("v1"), row("v2", amount="viel"), row("v1"), row("v3"), idempotency_key="k")
    assert again == done
    code, error = await refused(club.load(row("v1"), idempotency_key="k"))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IDEMPOTENCY_KEY_REUSED")
    assert (await club.load(row("v1"), row("v9"))).new_count == 1
    assert await club.kept(visit.c.visit_id) == ["v1", "v3", "v9"]
    for request in ({"kind": "UNSPECIFIED"}, {"store_id": "no store"}):
        assert (await refused(club.load(row("v1"), **request)))[1].reason == "FIELD_INVALID"

    # The command, over the same channel.
    table = tmp_path / "visits.csv"
    table.write_text(
        "\ufeffvisit_id,settled_time,amount,items\n"
        "c1,2026-11-20 21:30,12.5,可乐；台费\n"
        "c2,2026-11-20 21:30,zwölf,\n"
        '"c3",2026-11-20 21:30,3,"[{""name"": ""茶""}]"\n'
        "c4,2026-11-20 21:30,3,,x\n",
        encoding="utf-8",
    )
    home = tmp_path / "other"
    shown = await club.command(home, "visit", str(table), "--store", STORE)
    assert (shown.code, shown.out) == (1, "2 loaded (2 new), 2 bad\n")
    assert [line.partition(":")[2][1:7] for line in shown.lines] == ["line 5", "line 3"]

    lines = tmp_path / "notes.jsonl"
    lines.write_text(
        '{"note_id": 90071992547409931, "member_id": "m1", "content": "左手\\n常来", "noted_time": "2026-11-20"}\n'
        "\n"
        "{oops\n",
        encoding="utf-8",
    )
    shown = await club.command(home, "note", str(lines), "--store", STORE)
    assert (shown.code, shown.out) == (1, "1 loaded (1 new), 1 bad\n")
    assert "line 3" in shown.err
    assert await club.kept(note.c.note_id) == ["90071992547409931"]  # more digits than a double has
    assert (await club.command(home, "visitor", str(lines))).code == 2
    assert (await club.command(home, "visit", str(home / "none.csv"), "--store", STORE)).code == 2
