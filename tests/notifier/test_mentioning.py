"""Mobile numbers become userids where that spares a text; who cannot be called is said beforehand; both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import rule_pb2
from reach.ops.v1 import ops_service_pb2 as ops

from services.notifier.store.mobiles import MISSING_KEPT, Mobiles, purge
from services.notifier.store.tables import known_mobile, metadata
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.limits import Limit
from tests.e2e.harness import STORE, Reach, Sandbox, embedded, robot, seconds

KEY = "robot-key-1234567890"
ANNA, BOB, NOBODY = "13800138001", "13800138002", "13800138009"
ASK = "/cgi-bin/user/getuserid"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The setting for each of the two databases in turn."""
    if request.param == "sqlite":
        return {}
    return {"database_url": request.getfixturevalue("postgres_database")}


@pytest.fixture
async def desk(database: dict[str, str], world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    """With a robot, and two members with telephones."""
    await world.declare(
        users=[{"userid": "anna", "mobile": ANNA}, {"userid": "bob", "mobile": BOB}],
    )
    async with embedded(world.url, tmp_path / "home", default_store=STORE, **database) as reach:
        await reach.ops.SetCredential(
            ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="watch", secret=KEY)
        )
        yield reach


def _report(*mobiles: str, form: int = rule_pb2.FORMAT_MARKDOWN, **more: Any) -> pb.SendReportRequest:
    mentions = pb.Mentions(mobiles=mobiles, userids=more.pop("userids", []))
    return pb.SendReportRequest(
        store_id=STORE,
        targets=[robot("watch")],
        body="**日报**",
        format=form,
        mentions=mentions,
        wait=seconds(5),
        **more,
    )


async def _asked(world: Sandbox, path: str = ASK) -> int:
    return len([one for one in (await world.get("/sandbox/requests"))["requests"] if one["path"] == path])


async def test_numbers_become_names_in_markdown_and_are_asked_for_once(desk: Reach, world: Sandbox) -> None:
    shown = await desk.notifier.SendReport(_report(ANNA, BOB, preview_only=True))
    (call,) = shown.calls
    assert call.text == "**日报**\n\n<@anna> <@bob>"
    assert not shown.warnings
    sent = await desk.notifier.SendReport(_report(ANNA, BOB, userids=["ANNA"]))
    assert len(sent.deliveries) == 1
    (message,) = await world.messages(KEY)
    assert message["mentions"] == ["ANNA", "bob"]
    assert await _asked(world) == 2


async def test_where_one_is_not_found_all_are_mentioned_as_before(desk: Reach, world: Sandbox) -> None:
    shown = await desk.notifier.SendReport(_report(ANNA, NOBODY, preview_only=True))
    assert len(shown.calls) == 2
    (warning,) = shown.warnings
    assert warning.startswith("mentions.mobiles[1]: no member")
    assert NOBODY not in warning
    await desk.notifier.SendReport(_report(ANNA, NOBODY))
    messages = await world.messages(KEY)
    assert messages[-1]["content"]["mentioned_mobile_list"] == [ANNA, NOBODY]
    # A number that is nobody's is remembered, too: too many wrong questions and the platform stops answering.
    assert await _asked(world) == 2


@pytest.mark.parametrize("form", [rule_pb2.FORMAT_TEXT, rule_pb2.FORMAT_MARKDOWN_V2])
async def test_nobody_is_asked_where_it_spares_nothing(desk: Reach, world: Sandbox, form: int) -> None:
    await desk.notifier.SendReport(_report(ANNA, form=form))
    assert await _asked(world) == 0
    assert (await world.messages(KEY))[-1]["mentions"] == ["anna"]


async def test_a_platform_that_refuses_or_is_away_costs_a_text_and_nothing_else(
    desk: Reach, world: Sandbox
) -> None:
    await world.fault(path=ASK, errcode=48002, count=1)
    shown = await desk.notifier.SendReport(_report(ANNA, preview_only=True))
    assert "48002" in shown.warnings[0]
    await world.fault(path=ASK, http_status=502, count=1)
    sent = await desk.notifier.SendReport(_report(ANNA, idempotency_key="k"))
    assert [one.part for one in sent.deliveries] == [1, 0]
    # It answers again; the repeat is still the same request, and sends nothing.
    again = await desk.notifier.SendReport(_report(ANNA, idempotency_key="k"))
    assert again.message_id == sent.message_id
    assert len(await world.messages(KEY)) == 2


async def test_only_so_many_numbers_are_asked_for_in_a_day(
    desk: Reach, world: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = (Limit("day", 1, timedelta(days=1)),)
    monkeypatch.setattr("services.notifier.usecases.mentioning.LOOKUPS", few)
    shown = await desk.notifier.SendReport(_report(ANNA, BOB, preview_only=True))
    assert "1 a day" in shown.warnings[0]
    assert await _asked(world) == 1


async def test_a_preview_names_the_mentioned_who_are_no_members(desk: Reach, world: Sandbox) -> None:
    await world.declare(users=[{"userid": "gone", "status": "invalid"}])
    shown = await desk.notifier.SendReport(_report(userids=["anna", "gone"], preview_only=True))
    (warning,) = shown.warnings
    assert warning.startswith("mentions.userids[1]: no such member")
    await desk.notifier.SendReport(_report(userids=["anna", "gone"]))
    assert await _asked(world, "/cgi-bin/user/get") == 2


async def test_what_is_known_of_a_number_is_forgotten_and_never_the_number(
    database_url: str, manual_clock: ManualClock
) -> None:
    opened = Database.open(database_url, schema="public")
    try:
        async with opened.write() as conn:
            await conn.run_sync(metadata.create_all)
        mobiles, now = Mobiles(opened.dialect, b"k" * 32, "default"), manual_clock.now()
        await opened.transact(lambda conn: mobiles.write(conn, {ANNA: "anna", NOBODY: ""}, now))
        await opened.transact(lambda conn: mobiles.write(conn, {ANNA: "anna2"}, now))
        async with opened.read() as conn:
            assert await mobiles.read(conn, [ANNA, NOBODY, BOB], now) == {ANNA: "anna2", NOBODY: ""}
            assert await mobiles.read(conn, [ANNA, NOBODY], now + MISSING_KEPT) == {ANNA: "anna2"}
            other = Mobiles(opened.dialect, b"k" * 32, "second")
            assert await other.read(conn, [ANNA], now) == {}
            rows = (await conn.execute(sa.select(known_mobile))).all()
        assert not any(ANNA in str(row) for row in rows)
        await opened.transact(lambda conn: purge(conn, now + 8 * MISSING_KEPT))
        async with opened.read() as conn:
            assert not (await conn.execute(sa.select(known_mobile))).all()
    finally:
        await opened.close()
