"""GetStats: what it says is what the platform's own log says, and what the rows say, on both databases."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from reach.notifier.v1 import notifier_service_pb2 as ns
from reach.notifier.v1 import rule_pb2
from reach.notifier.v1 import statistics_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops
from sqlalchemy import insert

from services.notifier.assembly import LOCATIONS
from services.notifier.domain.lifecycle import DeliveryStatus
from services.notifier.domain.statistics import MOST_ROWS
from services.notifier.store.tables import attempt, delivery, recipient
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.rpc.fields import to_timestamp
from shared.rpc.principal import SCOPES
from tests.e2e.harness import (
    STORE,
    Reach,
    Sandbox,
    create_tokens,
    embedded,
    eventually,
    refused,
    robot,
    seconds,
    user,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)  # a Monday, in Shanghai
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = "693a91f6-7d5e-4bc4-97a0-0ec2d1fa5aaa"
POSTS = "/cgi-bin/webhook/send"
STATUSES = [status.value for status in DeliveryStatus if status is not DeliveryStatus.PENDING]
"""Of rows that stay as they are: what is ready would be sent."""
OPTIONAL = ("event_type", "rule_id", "role", "priority", "channel", "store_id")


@dataclass
class Notifier:
    """One that runs, and the tables beneath it."""

    reach: Reach
    database: Database
    home: Path

    async def stats(self, start: datetime | None = None, end: datetime | None = None, **asked: Any) -> Any:
        """GetStats."""
        if start is not None:
            asked["start_time"] = to_timestamp(start)
        if end is not None:
            asked["end_time"] = to_timestamp(end)
        return await self.reach.notifier.GetStats(pb.GetStatsRequest(**asked))

    async def keep(self, rows: Iterable[Row]) -> None:
        """Insert what *rows* tell of."""
        listed = list(rows)
        async with self.database.write() as conn:
            for table, found in (
                (delivery, [row.delivery() for row in listed]),
                (recipient, [one for row in listed for one in row.recipients()]),
                (attempt, [one for row in listed for one in row.attempts()]),
            ):
                if found:
                    await conn.execute(insert(table), found)


@dataclass
class Row:
    """A delivery as it might stand there."""

    key: str
    at: datetime
    status: str = "accepted"
    store: str = STORE
    event_type: str = "order.created"
    rule: str = "order.created"
    channel: str = "app:default"
    priority: int = 2
    roles: tuple[str, ...] = ("manager",)
    refused: int = 0
    """How many of the recipients the platform named."""
    tries: int = 1
    held: timedelta = timedelta(0)
    took: timedelta = timedelta(seconds=1)
    """From when it might go to the end of its last attempt."""
    seen: bool = True
    """Whether the acceptance was seen; if not, a person told of it."""
    clicked: bool = False
    acknowledged: bool = False

    def delivery(self) -> dict[str, object]:
        return {
            "id": self.key,
            "store_id": self.store,
            "event_id": f"e-{self.key}",
            "event_type": self.event_type,
            "rule_id": self.rule,
            "rule_version": 1,
            "channel": self.channel,
            "part": 0,
            "content": {},
            "status": self.status,
            "priority": self.priority,
            "rank": self.at,
            # What waits must not be sent by the notifier that runs on these tables.
            "due_at": self.at + 3650 * DAY,
            "hold_reason": None,
            "attempt_no": self.tries,
            "lease_owner": None,
            "lease_epoch": 1,
            "lease_until": self.at + 3650 * DAY if self.status == "sending" else None,
            "lane": None,
            "retries": 0,
            "refreshes": 0,
            "resend_mark": False,
            "unclear_since": None,
            "reason": "",
            "traceparent": None,
            "created_at": self.at,
            "updated_at": self.at,
            "go_at": self.at + self.held,
            "clicked_at": self.at if self.clicked else None,
            "acknowledged_at": self.at if self.acknowledged else None,
            "acknowledged_by": "anna" if self.acknowledged else None,
        }

    def recipients(self) -> list[dict[str, object]]:
        return [
            {
                "event_id": f"e-{self.key}",
                "store_id": self.store,
                "channel": self.channel,
                "kind": "user",
                "target": f"u{at}",
                "part": 0,
                "delivery_id": self.key,
                "role": role,
                "status": "failed" if at < self.refused else None,
                "reason": "invalid_user" if at < self.refused else None,
            }
            for at, role in enumerate(self.roles)
        ]

    def attempts(self) -> list[dict[str, object]]:
        ended = self.at + self.held + self.took
        last = "accepted_partial" if self.refused else "accepted"
        return [
            {
                "delivery_id": self.key,
                "attempt_no": number,
                "epoch": number,
                "state": last
                if number == self.tries and self.status == "accepted" and self.seen
                else "unknown",
                "http_status": 200,
                "errcode": None,
                "detail": "",
                "vendor_msgid": "",
                "owner": "w",
                "started_at": self.at,
                # Earlier ones ended later than any: only the accepting one may be measured.
                "finished_at": ended if number == self.tries else ended + DAY,
            }
            for number in range(1, self.tries + 1)
        ]


@pytest.fixture
async def notifier(world: Sandbox, database_url: str, tmp_path: Path) -> AsyncIterator[Notifier]:
    home, more = tmp_path / "home", {}
    if database_url.startswith("sqlite"):
        url = f"sqlite:///{home}/notifier.db"
    else:
        url, more = database_url, {"database_url": database_url}
        await asyncio.to_thread(migrate, url, "notifier", LOCATIONS)
    async with embedded(world.url, home, default_store=STORE, **more) as reach:
        database = Database.open(url, schema="notifier")
        yield Notifier(reach, database, home)
        await database.close()


def figures(row: Any) -> dict[str, int]:
    """Every count of a row that is not 0, by its name without ``_count``."""
    return {
        field.name.removesuffix("_count"): value
        for field, value in row.ListFields()
        if field.name.endswith("_count")
    }


def milliseconds(latency: Any) -> list[int]:
    """p50, p90, p95, p99, max."""
    return [
        getattr(latency, name).ToTimedelta() // timedelta(milliseconds=1)
        for name in ("p50", "p90", "p95", "p99", "max")
    ]


def keys(rows: Sequence[Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(row, name) for name in names) for row in rows]


# --- The platform's own log -----------------------------------------------------------------------------


async def test_the_figures_agree_with_the_sandboxs_own_log(notifier: Notifier, world: Sandbox) -> None:
    """Accepted, refused, in part, after a retry, unknown: each as often as the platform saw it."""
    reach = notifier.reach
    await reach.ops.SetCredential(
        ops.SetCredentialRequest(kind=ops.CREDENTIAL_KIND_ROBOT, name="front", secret=KEY)
    )

    async def send(text: str, *targets: Any) -> Any:
        request = ns.SendMessageRequest(
            store_id=STORE, targets=targets, text=text, wait=seconds(10), priority=rule_pb2.PRIORITY_LOW
        )
        return (await reach.notifier.SendMessage(request)).deliveries

    await world.fault(path="/cgi-bin/message/send", body="refuse", errcode=81013)
    await world.fault(path="/cgi-bin/message/send", body="busy", errcode=-1, count=1)
    await world.fault(path=POSTS, body="lost", drop="after-accept", count=1)
    await asyncio.gather(
        *(send(f"well {at}", user(f"u{at}")) for at in range(5)),
        *(send(f"part {at}", user(f"p{at}"), user("nobody1"), user("unlicensed1")) for at in range(2)),
        *(send(f"refuse {at}", user(f"r{at}")) for at in range(3)),
        send("busy", user("b")),
        send("lost", robot("front")),
        send("said", robot("front")),
    )
    answer = await notifier.stats()
    (row,) = answer.rows
    calls = await world.sends()
    arrived = await world.messages()
    ends = Counter(call["errcode"] for call in calls)
    assert row.attempt_count == len(calls) == 5 + 2 + 3 + 2 + 2
    assert row.accepted_count + row.unknown_count == ends[0]
    assert row.failed_count == ends[81013] == 3
    assert row.retry_count == ends[-1] == 1
    # What was lost arrived, which the platform knows and Reach cannot: it is counted as unknown, not as accepted.
    assert row.recipient_accepted_count + row.unknown_count == len(arrived)
    assert figures(row) == {
        "delivery": 13,
        "accepted": 9,
        "failed": 3,
        "unknown": 1,
        "recipient": 17,
        "recipient_accepted": 9,
        "recipient_failed": 3 + 2 * 2,
        "attempt": 14,
        "retry": 1,
    }
    assert row.success_ratio == 9 / 13
    assert row.latency.count == row.total_latency.count == 9
    assert 0 < row.latency.p50.ToMicroseconds() <= row.latency.p90.ToMicroseconds()
    assert row.latency.max.ToTimedelta() >= timedelta(milliseconds=900)  # it came on its second try

    by_channel = await notifier.stats(group_by=[pb.STATS_GROUP_CHANNEL, pb.STATS_GROUP_PRIORITY])
    posts = [call for call in calls if call["path"] == POSTS]
    app, group = by_channel.rows
    assert (app.channel, group.channel) == ("app:default", "robot:front")
    assert app.priority == group.priority == rule_pb2.PRIORITY_LOW
    assert (app.attempt_count, group.attempt_count) == (len(calls) - len(posts), len(posts))
    assert figures(group) == {
        "delivery": 2,
        "accepted": 1,
        "unknown": 1,
        "recipient": 2,
        "recipient_accepted": 1,
        "attempt": 2,
    }


async def test_what_is_found_out_later_changes_the_figures_of_its_own_day(
    notifier: Notifier, world: Sandbox
) -> None:
    at = datetime.now(UTC) - 3 * DAY
    await notifier.keep([Row("1", at, status="unknown"), Row("2", at, took=timedelta(seconds=2))])
    (before,) = (await notifier.stats(at - HOUR, at + HOUR)).rows
    await notifier.reach.ops.ResolveUnknown(
        ops.ResolveUnknownRequest(id="1", resolution=ops.RESOLUTION_SENT, comment="asked")
    )
    (after,) = (await notifier.stats(at - HOUR, at + HOUR)).rows
    assert (before.accepted_count, before.unknown_count, before.success_ratio) == (1, 1, 0.5)
    assert (after.accepted_count, after.unknown_count, after.success_ratio) == (2, 0, 1.0)
    # Nobody knows when it arrived.
    assert after.latency == before.latency
    assert after.latency.count == 1


# --- Against the rows -----------------------------------------------------------------------------------


def made_up(chance: random.Random, count: int) -> list[Row]:
    """Deliveries of every kind over three days."""
    rows = []
    for at in range(count):
        roles = tuple(chance.choices(("manager", "cashier", ""), k=chance.randint(1, 3)))
        status = "accepted" if chance.random() < 0.5 else chance.choice(STATUSES)
        rows.append(
            Row(
                key=f"{at:05}",
                at=NOON + timedelta(microseconds=chance.randrange(3 * 86_400_000_000)),
                status=status,
                store=chance.choice(("s1", "s2", "s3")),
                event_type=chance.choice(("order.created", "payment.failed")),
                rule=chance.choice(("r1", "")),
                channel=chance.choice(("app:default", "robot:front")),
                priority=chance.randrange(4),
                roles=roles,
                refused=chance.randrange(len(roles) + 1) if chance.random() < 0.2 else 0,
                tries=chance.randint(0 if status in ("deferred", "sending") else 1, 3),
                held=timedelta(seconds=chance.choice((0, 0, 600))),
                took=timedelta(microseconds=chance.randrange(5_000_000)),
                seen=chance.random() < 0.9,
                clicked=chance.random() < 0.1,
                acknowledged=chance.random() < 0.1,
            )
        )
    return rows


def counted(rows: Sequence[Row], role: str | None) -> dict[str, int]:
    """The figures, counted in Python as the contract words them; of one *role* when it is given."""
    found: Counter[str] = Counter()
    for row in rows:
        found["delivery"] += 1
        found["waiting" if row.status in ("pending", "deferred", "sending") else row.status] += 1
        for at, one in enumerate(row.roles):
            if role is None or one == role:
                found["recipient"] += 1
                failed = at < row.refused or row.status == "failed"
                found["recipient_failed"] += failed
                found["recipient_accepted"] += row.status == "accepted" and not failed
        found["attempt"] += row.tries
        found["retry"] += max(row.tries - 1, 0)
        found["clicked"] += row.clicked
        found["acknowledged"] += row.acknowledged
    return {name: value for name, value in found.items() if value}


def percentiles(spans: Iterable[timedelta]) -> list[timedelta] | None:
    """By nearest rank, by definition: the least value that so many of 100 do not exceed."""
    values = sorted(spans)
    if not values:
        return None
    return [
        next(one for at, one in enumerate(values, 1) if at * 100 >= share * len(values))
        for share in (50, 90, 95, 99, 100)
    ]


def spans(latency: Any) -> list[timedelta] | None:
    names = ("p50", "p90", "p95", "p99", "max")
    return [getattr(latency, name).ToTimedelta() for name in names] if latency.HasField("max") else None


GROUPS: Mapping[str, tuple[int, ...]] = {
    "the whole": (),
    "by event type": (pb.STATS_GROUP_EVENT_TYPE,),
    "by role": (pb.STATS_GROUP_ROLE,),
    "by rule, priority and channel": (
        pb.STATS_GROUP_RULE,
        pb.STATS_GROUP_PRIORITY,
        pb.STATS_GROUP_CHANNEL,
    ),
    "by store and role": (pb.STATS_GROUP_STORE, pb.STATS_GROUP_ROLE),
}
FIELDS = {
    pb.STATS_GROUP_EVENT_TYPE: ("event_type", lambda row: {row.event_type}),
    pb.STATS_GROUP_RULE: ("rule_id", lambda row: {row.rule}),
    pb.STATS_GROUP_ROLE: ("role", lambda row: set(row.roles)),
    pb.STATS_GROUP_PRIORITY: ("priority", lambda row: {row.priority + 1}),  # the contract counts from 1
    pb.STATS_GROUP_CHANNEL: ("channel", lambda row: {row.channel}),
    pb.STATS_GROUP_STORE: ("store_id", lambda row: {row.store}),
}
BUCKETS = (pb.STATS_BUCKET_UNSPECIFIED, pb.STATS_BUCKET_HOUR, pb.STATS_BUCKET_DAY)


async def test_every_bucket_and_group_is_what_one_counts_by_hand(notifier: Notifier) -> None:
    rows = made_up(random.Random(5), 400)
    await notifier.keep(rows)
    start, end = NOON + timedelta(hours=2.5), NOON + timedelta(days=2, hours=7.25)
    inside = [row for row in rows if start <= row.at < end]
    for name, groups in GROUPS.items():
        for bucket in BUCKETS:
            answer = await notifier.stats(start, end, bucket=bucket, group_by=groups)
            seen = 0
            for found in answer.rows:
                told = f"{name}, {bucket}: {found}"
                began, ended = (
                    found.start_time.ToDatetime(tzinfo=UTC),
                    found.end_time.ToDatetime(tzinfo=UTC),
                )
                shown = {field for field in OPTIONAL if found.HasField(field)}
                assert shown == {FIELDS[group][0] for group in groups}, told
                of = [
                    row
                    for row in inside
                    if began <= row.at < ended
                    and all(getattr(found, FIELDS[group][0]) in FIELDS[group][1](row) for group in groups)
                ]
                by_role = pb.STATS_GROUP_ROLE in groups
                assert figures(found) == counted(of, found.role if by_role else None), told
                took = [row for row in of if row.status == "accepted" and row.seen]
                assert found.latency.count == found.total_latency.count == len(took), told
                assert spans(found.latency) == percentiles(row.took for row in took), told
                assert spans(found.total_latency) == percentiles(row.held + row.took for row in took), told
                ended_well = Counter(row.status for row in of)
                over = sum(ended_well[one] for one in ("accepted", "failed", "unknown", "expired"))
                assert found.HasField("success_ratio") == bool(over), told
                assert not over or found.success_ratio == ended_well["accepted"] / over, told
                seen += found.delivery_count
            times = [len(set(row.roles)) if pb.STATS_GROUP_ROLE in groups else 1 for row in inside]
            assert seen == sum(times), name
            order = [
                (row.start_time.ToMicroseconds(), *(getattr(row, FIELDS[group][0]) for group in groups))
                for row in answer.rows
            ]
            if bucket == pb.STATS_BUCKET_UNSPECIFIED or not groups:
                assert len(order) == len(set(order)), name
            assert [one[0] for one in order] == sorted(one[0] for one in order), name


async def test_filters_leave_the_rest_out(notifier: Notifier) -> None:
    rows = made_up(random.Random(6), 200)
    await notifier.keep(rows)
    cases: list[tuple[dict[str, Any], Any, str | None]] = [
        ({"event_types": ["payment.failed"]}, lambda row: row.event_type == "payment.failed", None),
        ({"rule_ids": ["r1", "r2"]}, lambda row: row.rule == "r1", None),
        ({"priorities": [rule_pb2.PRIORITY_URGENT]}, lambda row: row.priority == 0, None),
        ({"channels": ["robot:front"]}, lambda row: row.channel == "robot:front", None),
        ({"store_id": "s2"}, lambda row: row.store == "s2", None),
        ({"roles": ["cashier"]}, lambda row: "cashier" in row.roles, "cashier"),
    ]
    for asked, fits, role in cases:
        (found,) = (await notifier.stats(NOON, NOON + 3 * DAY, **asked)).rows
        of = [row for row in rows if fits(row)]
        assert figures(found) == counted(of, role), asked
        took = [row.took for row in of if row.status == "accepted" and row.seen]
        assert (found.latency.count, spans(found.latency)) == (len(took), percentiles(took)), asked


async def test_many_latencies_and_few_have_the_percentiles_one_ranks_by_hand(notifier: Notifier) -> None:
    chance = random.Random(8)
    counts = (1, 2, 9, 10, 11, 19, 20, 21, 99, 100, 101, 250)
    every: dict[int, list[timedelta]] = {}
    for hour, count in enumerate(counts):
        # Many of them alike: ties must not move a rank.
        every[hour] = [timedelta(milliseconds=chance.randrange(1, count + 1)) for _ in range(count)]
        at = NOON + hour * HOUR
        await notifier.keep(
            Row(f"{hour:02}-{n:03}", at + timedelta(seconds=n), took=took)
            for n, took in enumerate(every[hour])
        )
    answer = await notifier.stats(NOON, NOON + len(counts) * HOUR, bucket=pb.STATS_BUCKET_HOUR)
    assert [spans(row.latency) for row in answer.rows] == [percentiles(took) for took in every.values()]


# --- Buckets --------------------------------------------------------------------------------------------


async def test_a_day_begins_at_midnight_on_the_zones_clocks(notifier: Notifier) -> None:
    midnight = datetime(2026, 3, 3, tzinfo=SHANGHAI)
    almost = midnight - timedelta(microseconds=1)
    await notifier.keep([Row("1", almost), Row("2", midnight), Row("3", midnight + HOUR)])
    span = (midnight - 14 * HOUR, midnight + 10 * HOUR)
    answer = await notifier.stats(*span, bucket=pb.STATS_BUCKET_DAY)
    assert answer.zone == "Asia/Shanghai"
    assert [row.delivery_count for row in answer.rows] == [1, 2]
    assert [row.start_time.ToDatetime(tzinfo=UTC) for row in answer.rows] == [span[0], midnight]
    assert [row.end_time.ToDatetime(tzinfo=UTC) for row in answer.rows] == [midnight, span[1]]
    answer = await notifier.stats(*span, bucket=pb.STATS_BUCKET_DAY, zone="UTC")
    assert [row.delivery_count for row in answer.rows] == [3, 0]


@pytest.mark.parametrize(
    ("zone", "day", "hours", "hour_buckets"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23, 23),
        ("Europe/Berlin", date(2026, 10, 25), 25, 25),
        # By half an hour: one bucket is that long.
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5, 25),
        # The day that begins at one o'clock.
        ("Africa/Cairo", date(2026, 4, 24), 23, 23),
    ],
)
async def test_a_day_on_which_clocks_are_changed_is_as_long_as_it_is(
    notifier: Notifier, zone: str, day: date, hours: float, hour_buckets: int
) -> None:
    info = ZoneInfo(zone)
    begins, ends = (datetime.combine(one, time(), info).astimezone(UTC) for one in (day, day + DAY))
    assert ends - begins == timedelta(hours=hours)
    instants = [begins + at * timedelta(minutes=30) for at in range(int(hours * 2))]
    await notifier.keep(Row(f"{number:03}", at) for number, at in enumerate([begins - HOUR, *instants, ends]))
    span = (begins - 6 * HOUR, ends + 6 * HOUR)
    days = await notifier.stats(*span, bucket=pb.STATS_BUCKET_DAY, zone=zone)
    assert [row.delivery_count for row in days.rows] == [1, hours * 2, 1]
    assert days.rows[1].start_time.ToDatetime(tzinfo=UTC) == begins
    assert days.rows[1].end_time.ToDatetime(tzinfo=UTC) == ends
    found = await notifier.stats(begins, ends, bucket=pb.STATS_BUCKET_HOUR, zone=zone)
    assert len(found.rows) == hour_buckets
    assert sum(row.delivery_count for row in found.rows) == hours * 2
    assert {row.delivery_count for row in found.rows} <= {1, 2}
    for row, after in zip(found.rows, found.rows[1:], strict=False):
        assert row.end_time == after.start_time
        inside = [
            at
            for at in instants
            if row.start_time.ToDatetime(tzinfo=UTC) <= at < row.end_time.ToDatetime(tzinfo=UTC)
        ]
        assert row.delivery_count == len(inside)


async def test_an_empty_period_has_rows_of_nothing_and_groups_have_none(notifier: Notifier) -> None:
    (row,) = (await notifier.stats()).rows
    assert figures(row) == {}
    assert not row.HasField("success_ratio")
    assert not row.latency.HasField("p50")
    answer = await notifier.stats(bucket=pb.STATS_BUCKET_HOUR)
    assert 24 <= len(answer.rows) <= 25
    assert answer.end_time.ToDatetime() - answer.start_time.ToDatetime() == DAY
    assert not (await notifier.stats(group_by=[pb.STATS_GROUP_ROLE])).rows


# --- Refusals, and whose figures ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "field", "word"),
    [
        ({"start": NOON, "end": NOON}, "start_time", "before the end"),
        ({"start": NOON + DAY, "end": NOON}, "start_time", "before the end"),
        ({"start": NOON, "end": NOON + 94 * DAY}, "start_time", "93 days"),
        ({"zone": "Mars/Olympus"}, "zone", "Asia/Shanghai"),
        ({"zone": "../../etc/passwd"}, "zone", ""),
        ({"zone": "Asia"}, "zone", "Asia/Shanghai"),
        ({"roles": ["pirate"]}, "roles[0]", "kitchen_staff"),
        ({"bucket": 9}, "bucket", ""),
        ({"group_by": [pb.STATS_GROUP_ROLE, pb.STATS_GROUP_ROLE]}, "group_by", ""),
        ({"group_by": [0]}, "group_by[0]", ""),
        ({"priorities": [0]}, "priorities[0]", ""),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_the_field(
    bare: Reach, asked: dict[str, Any], field: str, word: str
) -> None:
    start, end = asked.pop("start", None), asked.pop("end", None)
    request = pb.GetStatsRequest(
        **asked,
        **({"start_time": to_timestamp(start)} if start else {}),
        **({"end_time": to_timestamp(end)} if end else {}),
    )
    code, error = await refused(bare.notifier.GetStats(request))
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert [one.field for one in error.violations] == [field], error.violations
    assert word in error.violations[0].description


async def test_more_rows_than_an_answer_has_are_refused_with_the_fix(notifier: Notifier) -> None:
    await notifier.keep(
        Row(f"{at:05}", NOON + at * timedelta(seconds=1), rule=f"r{at}", roles=())
        for at in range(MOST_ROWS + 1)
    )
    span = (NOON, NOON + DAY)
    code, error = await refused(
        notifier.stats(*span, bucket=pb.STATS_BUCKET_HOUR, group_by=[pb.STATS_GROUP_RULE])
    )
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert error.violations[0].field == "group_by"
    assert "5,000" in error.message
    assert "a shorter period" in error.message
    one_less = (NOON + timedelta(seconds=1), NOON + DAY)
    answer = await notifier.stats(*one_less, group_by=[pb.STATS_GROUP_RULE])
    assert len(answer.rows) == MOST_ROWS


async def test_the_figures_of_other_stores_are_not_there(world: Sandbox, tmp_path: Path) -> None:
    grants = {"root": (SCOPES, ["*"]), "b": (SCOPES, ["B"]), "both": (SCOPES, ["A", "B"])}
    tokens = await create_tokens(tmp_path / "home", grants)
    by_store = pb.GetStatsRequest(group_by=[pb.STATS_GROUP_STORE])
    async with embedded(world.url, tmp_path / "home") as reach:
        root, b, both = (reach.bearing(tokens[name]) for name in grants)
        await root.staff()
        for store, times in (("A", 3), ("B", 2), ("C", 1)):
            for _ in range(times):
                await root.push(store=store)
        for who, seen in ((root, [("A", 3), ("B", 2), ("C", 1)]), (both, [("A", 3), ("B", 2)])):
            answer = await who.notifier.GetStats(by_store)
            assert keys(answer.rows, "store_id", "accepted_count") == seen
        (row,) = (await b.notifier.GetStats(pb.GetStatsRequest())).rows
        assert (row.delivery_count, row.latency.count) == (2, 2)
        (row,) = (await both.notifier.GetStats(pb.GetStatsRequest(store_id="A"))).rows
        assert row.delivery_count == 3
        code, error = await refused(b.notifier.GetStats(pb.GetStatsRequest(store_id="A")))
        assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_FORBIDDEN")
        await reach.close()


async def test_an_event_that_tells_two_roles_counts_for_both(notifier: Notifier, world: Sandbox) -> None:
    await notifier.reach.staff()
    await notifier.reach.push("guest.arrived")

    async def counted_for_both() -> Any:
        answer = await notifier.stats(group_by=[pb.STATS_GROUP_ROLE])
        return answer.rows if all(row.accepted_count for row in answer.rows) else None

    rows = await eventually(counted_for_both)
    assert keys(rows, "role", "recipient_accepted_count") == [("front_desk", 1), ("service_staff", 1)]
    (whole,) = (await notifier.stats()).rows
    assert (whole.delivery_count, whole.recipient_count) == (len(await world.sends()), 2)
