"""The days of playbooks: on the calendar of a zone, across changed clocks and months, in one order, each once."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from services.campaign.domain import audience
from services.campaign.domain.audience import Facts
from services.campaign.domain.playbook import Anchor
from services.campaign.domain.playbook_calendar import Calendar
from services.campaign.domain.window import is_open
from services.campaign.playbook_files import playbook_of

DAY = timedelta(days=1)
ZONES = st.sampled_from(
    ["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
)
DAYS = st.dates(date(2025, 1, 1), date(2031, 12, 31))
INSTANTS = st.datetimes(datetime(2025, 1, 1), datetime(2031, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


def step(name: str, **day: object) -> dict[str, object]:
    return {"name": name, "title": name, "day": day, "hours": ["10:00", "18:00"], "text": "你好"}


def playbook(*steps: dict[str, object], days: int = 0, before: int = 1, event: bool = False):
    date_of = {"name": "event_date", "kind": "date", "title": "日", "help": "日"}
    return playbook_of(
        "test",
        {
            "title": "试",
            "summary": "试",
            "parameters": [date_of] if event else [],
            **({"event": "event_date"} if event else {}),
            "days": days,
            "draft": {"days_before": before, "at": "14:00" if before else "09:30"},
            "steps": list(steps),
        },
    )


def facts(created: datetime) -> Facts:
    return Facts("wr1", "ann", "群", 9, created, created, None)


@given(zone=ZONES, start=DAYS, ahead=st.integers(0, 180), before=st.integers(0, 14), hour=st.integers(0, 23))
def test_a_step_counted_from_an_event_falls_on_its_day_by_the_clocks_of_the_zone(
    zone: str, start: date, ahead: int, before: int, hour: int
) -> None:
    event = start + DAY * ahead
    book = playbook(
        step("week", **{"from": "event", "offset": -7}),
        step("month", **{"from": "event", "offset": -30}),
        step("day", **{"from": "event", "offset": 0}),
        event=True,
        before=before,
    )
    started_at = datetime.combine(start, time(hour), ZoneInfo(zone)).astimezone(UTC)
    calendar = Calendar(book, {"event_date": event}, zone, start, started_at)
    found = list(calendar.occurrences())
    for one in found:
        left = calendar.days_left(one.day)
        assert left == {0: 7, 1: 30, 2: 0}[one.step]
        assert one.opens_at.astimezone(ZoneInfo(zone)).date() == one.day
        assert is_open(calendar.window(book.steps[one.step], one.day), one.opens_at)
        assert started_at <= one.due_at <= max(one.opens_at, started_at)
        assert started_at <= one.opens_at < one.closes_at
        assert calendar.occurrence(one.place) == one
    planned = {(event - DAY * days, number) for number, days in ((1, 30), (0, 7), (2, 0))}
    for day, _ in planned - {one.place for one in found}:
        # What does not come is over before it begins, or is a day that the zone never had.
        shuts = datetime.combine(day, time(18), ZoneInfo(zone))
        assert day < start or shuts <= started_at or shuts.astimezone(UTC).astimezone(ZoneInfo(zone)) != shuts


@given(zone=ZONES, start=DAYS, days=st.integers(1, 60), hour=st.integers(0, 23))
@example(zone="Europe/Berlin", start=date(2026, 3, 20), days=20, hour=3)
@example(zone="Europe/Berlin", start=date(2026, 10, 20), days=20, hour=3)
def test_days_that_come_back_come_in_order_and_each_once(
    zone: str, start: date, days: int, hour: int
) -> None:
    book = playbook(
        step("young", **{"from": "created", "offset": 1}),
        step("silent", **{"from": "silent", "offset": 30, "weekdays": [2, 4]}),
        step("start", **{"from": "start", "offset": 3}),
        step("again", **{"from": "step", "step": "silent", "offset": 7}),
        days=days,
    )
    started_at = datetime.combine(start, time(hour), ZoneInfo(zone)).astimezone(UTC)
    calendar = Calendar(book, {}, zone, start, started_at)
    found = list(calendar.occurrences())
    assert len({one.place for one in found}) == len(found)
    for one, following in pairwise(found):
        assert one.place < following.place
        assert one.due_at <= following.due_at
        assert next(calendar.occurrences(one.place)) == following
    assert all(one.day.weekday() in (1, 3) for one in found if one.step == 1)
    assert all(one.day == start + DAY * 3 for one in found if one.step == 2)
    repeated = [one for one in found if book.steps[one.step].anchor.repeated]
    assert all(start <= one.day < start + DAY * days for one in repeated)
    if found:
        assert next(calendar.occurrences(found[-1].place), None) is None


@given(zone=ZONES, created=INSTANTS, offset=st.integers(0, 400), late=st.integers(0, 7))
@example(
    zone="Europe/Berlin", created=datetime(2026, 3, 28, 23, 30, tzinfo=UTC), offset=1, late=0
)  # the night of 29 March has 23 hours
@example(zone="America/New_York", created=datetime(2026, 11, 1, 5, 30, tzinfo=UTC), offset=0, late=0)
def test_every_instant_of_creation_belongs_to_as_many_days_as_a_group_may_be_told(
    zone: str, created: datetime, offset: int, late: int
) -> None:
    day = created.astimezone(ZoneInfo(zone)).date()
    own = {"from": "created", "offset": offset, "late": late}
    book = playbook(step("young", **own), days=1)
    calendar = Calendar(book, {}, zone, day, created)
    chosen = [
        at
        for at in range(offset - 2, offset + late + 3)
        if audience.read(calendar.audience(book.steps[0], day + DAY * at)).chooses(facts(created), created)
    ]
    assert chosen == list(range(offset, offset + late + 1))


@given(zone=ZONES, day=DAYS, clock=st.times(time(0), time(23, 59)))
def test_a_time_that_clocks_leave_out_is_the_one_they_show_instead(zone: str, day: date, clock: time) -> None:
    calendar = Calendar(
        playbook(step("a", **{"from": "start", "offset": 0})), {}, zone, day, datetime(2025, 1, 1, tzinfo=UTC)
    )
    at = calendar.at(day, clock.replace(microsecond=0))
    shown = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    wanted = datetime.combine(day, clock.replace(microsecond=0))
    assert timedelta(0) <= shown - wanted <= timedelta(days=1)
    assert calendar.at(day + DAY, time(0)) >= calendar.at(day, time(0))


def test_what_is_started_in_the_hours_of_a_day_is_due_at_once_and_behind_them_not_at_all() -> None:
    book = playbook(step("now", **{"from": "start", "offset": 0}))
    day = date(2026, 3, 2)

    def places(hour: int) -> list[datetime]:
        started_at = datetime(2026, 3, 2, hour, tzinfo=ZoneInfo("Asia/Shanghai")).astimezone(UTC)
        return [one.due_at for one in Calendar(book, {}, "Asia/Shanghai", day, started_at).occurrences()]

    assert places(17) == [datetime(2026, 3, 2, 9, tzinfo=UTC)]
    assert places(18) == []


def test_the_anchors_that_are_a_groups_own_come_back() -> None:
    assert {one for one in Anchor if one.repeated} == {Anchor.CREATED, Anchor.SILENT, Anchor.STEP}
