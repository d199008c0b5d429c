"""The groups of a run as a table."""

from __future__ import annotations

import csv
import io
import tracemalloc

import sqlalchemy as sa
from reach.campaign.v1 import report_pb2

from services.campaign.domain.outcomes import TargetStatus
from services.campaign.pipeline.ports import Group, Selection
from services.campaign.store.campaign_tables import campaign_target
from services.campaign.store.group_tables import group_label
from tests.campaign.reporting.desk import Desk


def lines(content: bytes) -> list[dict[str, str]]:
    """The table, read as a spreadsheet reads it."""
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))


async def test_there_is_one_line_for_each_group_of_the_audience(desk: Desk) -> None:
    desk.has({"li": 2, "wu": 1}, left_out={"wr-z0": "silent"})
    campaign_id = await desk.running()
    await desk.asked("li")
    await desk.says("wr-li-00", TargetStatus.SENT)
    await desk.says(
        "wr-li-01", TargetStatus.REFUSED, reason="platform_refused", errcode=-1, error='bad, "chat"'
    )
    values = {"chat_id": "wr-li-00", "label": "vip", "by": "ann", "at": desk.clock.now()}
    await desk.execute(sa.insert(group_label).values(values))
    found = {one["chat_id"]: one for one in lines(await desk.exported(campaign_id))}
    assert {chat_id: one["status"] for chat_id, one in found.items()} == {
        "wr-li-00": "sent",
        "wr-li-01": "refused",
        "wr-wu-00": "planned",
        "wr-z0": "excluded",
    }
    assert (found["wr-li-00"]["labels"], found["wr-li-00"]["sent_at"]) == ("vip", "2026-03-02T04:00:00Z")
    assert (found["wr-li-01"]["errcode"], found["wr-li-01"]["error"]) == ("-1", 'bad, "chat"')
    assert (found["wr-z0"]["reason"], found["wr-z0"]["error"]) == ("silent", "because silent")
    assert {one["campaign_id"] for one in found.values()} == {campaign_id}


async def test_a_dry_run_is_exported_with_those_it_left_out(desk: Desk) -> None:
    desk.has({"li": 1}, left_out={"wr-z0": "silent"})
    campaign_id = await desk.write()
    await desk.run(campaign_id, live=False)
    desk.has({"li": 1}, left_out={"wr-other": "opted_out"})  # what changes later changes no report
    found = lines(await desk.exported(campaign_id))
    assert [(one["chat_id"], one["status"], one["dry"]) for one in found] == [
        ("wr-li-00", "planned", "true"),
        ("wr-z0", "excluded", "true"),
    ]


async def test_a_mark_stands_before_the_table_only_where_it_is_asked_for(desk: Desk) -> None:
    desk.has({"li": 1})
    campaign_id = await desk.running()
    assert (await desk.exported(campaign_id)).startswith(b"chat_id,")
    assert (await desk.exported(campaign_id, byte_order_mark=True)).startswith(b"\xef\xbb\xbfchat_id,")


async def test_a_name_is_no_formula(desk: Desk) -> None:
    desk.groups.chosen = Selection((Group("wr0", "li", '=HYPERLINK("http://x")', 3),), ())
    campaign_id = await desk.running()
    [found] = lines(await desk.exported(campaign_id))
    assert found["name"] == '\'=HYPERLINK("http://x")'


async def test_fifty_thousand_groups_are_exported_in_flat_memory(desk: Desk) -> None:
    groups = tuple(Group(f"wr{n:05d}", f"o{n % 500:03d}", f"群{n}", 9) for n in range(50_000))
    desk.groups.chosen = Selection(groups, ())
    campaign_id = await desk.write()
    await desk.run(campaign_id, live=False)
    desk.groups.chosen = Selection((), ())
    count = largest = 0
    with desk.by("ann"):
        request = report_pb2.ExportReportRequest(campaign_id=campaign_id)
        parts = desk.rpc.ExportReport(request, None)
        async for _ in parts:
            break  # the head: what it takes to begin with
        tracemalloc.start()
        async for part in parts:
            count += part.group_count
            largest = max(largest, len(part.content))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert count == 50_000
    assert largest < 512 * 1024
    assert peak < 8 * 1024 * 1024
    async with desk.database.read() as conn:
        assert await conn.scalar(sa.select(sa.func.count()).select_from(campaign_target)) == 50_000
