"""The figures of the finance windows, computed a second time by walking every visit's own calendar day."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from services.ai_orchestrator.domain.definitions import Subject
from services.ai_orchestrator.domain.facts.kinds import Item, Kind, StoreFact, VisitFact
from services.ai_orchestrator.domain.facts.stores import AREAS, TIME_DIMENSIONS
from services.ai_orchestrator.domain.facts.windows import windows
from services.ai_orchestrator.pipeline.materials import FactMaterials
from services.ai_orchestrator.store import facts
from shared.db.engine import Database
from shared.errors import Invalid
from shared.ids import new_id
from tests.ai_orchestrator.facts.support import SHANGHAI, apps, opened

# Two hemispheres, half hours, clocks that skip midnight (Beirut) and that show it twice (Havana), and the date line.
ZONES = ["Asia/Shanghai", "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "America/Havana",
         "Asia/Kathmandu", "Pacific/Kiritimati", "America/St_Johns"]  # fmt: skip
SPOKEN = {
    "hall": ["hall", "大厅", "台球大厅", "hallA", "A区", "大厅 A 区", "HALLB", "B", "大厅C"],
    "hallA": ["hallA", "A区", "大厅 A 区"],
    "hallB": ["HALLB", "B"],
    "hallC": ["大厅C"],
    "vip": ["VIP包厢", "ｖｉｐ"],
    "snooker": ["斯诺克"],
    "mahjong": ["棋牌室"],
    "ktv": ["团建房", "ktv"],
}
SAID = [None, "露台", *sorted({name for names in SPOKEN.values() for name in names})]


def month_of(day: date) -> int:
    return day.year * 12 + day.month


def quarter_of(day: date) -> int:
    return day.year * 4 + (day.month - 1) // 3


def week_of(day: date) -> int:
    return (day.toordinal() - 1) // 7  # day 1 of the calendar was a Monday


def place(unit: str, day: date) -> int:
    """How many days of its month, quarter or week were before it."""
    if unit == "week":
        return day.isoweekday() - 1
    months = 0 if unit == "month" else (day.month - 1) % 3
    return (day - date(day.year, day.month - months, 1)).days


def belongs(dimension: str, day: date, today: date, *, before: bool) -> bool:
    which, _, unit = dimension.partition("_")
    if unit.endswith("months"):
        many = int(unit[0])
        back = month_of(today) - month_of(day)
        return many < back <= 2 * many if before else 0 < back <= many
    number = {"month": month_of, "quarter": quarter_of, "week": week_of}[unit]
    back = number(today) - number(day) - (which == "last")
    if back != int(before):
        return False
    return which == "last" or place(unit, day) <= place(unit, today)


def daily(dimension: str, today: date) -> bool:
    """Whether the course of a window is told by days: it has no more than a month's. A quarter is as short at first."""
    if dimension == "this_quarter":
        return place("quarter", today) < 31
    return dimension.endswith(("week", "month"))


def yuan(cents: Decimal | int) -> str:
    return str((Decimal(cents) / 100).quantize(Decimal("0.01"), "ROUND_HALF_UP"))


def told(visits: Iterable[VisitFact]) -> dict[str, object]:
    paid, back = [], []
    for one in visits:
        (paid if one.cents >= 0 else back).append(one)
    gross = sum(one.cents for one in paid)
    return {
        "营业额": yuan(gross + sum(one.cents for one in back)),
        "消费单数": len(paid),
        "客单价": yuan(Decimal(gross) / len(paid)) if paid else None,
        "时长": str(
            (Decimal(sum(one.seconds or 0 for one in paid)) / 3600).quantize(Decimal("0.1"), "ROUND_HALF_UP")
        ),
        "到店会员数": len({one.member_id for one in paid} - {None}),
        "助教单": sum(one.assistant_id is not None for one in paid),
        "助教单金额": yuan(sum(one.cents for one in paid if one.assistant_id)),
        "退款单": len(back),
        "退款金额": yuan(-sum(one.cents for one in back)),
    }


def top(visits: Iterable[VisitFact]) -> list[dict[str, str]]:
    sums: dict[str, list[int]] = {}
    for one in visits:
        for item in one.items:
            mine = sums.setdefault(item.name, [0, 0])
            sign = 1 if one.cents >= 0 else -1
            mine[0] += sign * (item.cents or 0)
            mine[1] += sign * item.thousandths
    order = sorted(sums.items(), key=lambda one: (-one[1][0], -one[1][1], one[0].encode()))[:10]
    return [
        {"名称": name, "数量": f"{Decimal(many) / 1000:g}", "金额": yuan(cents)}
        for name, (cents, many) in order
    ]


def expected(
    visits: list[VisitFact], dimension: str, area: str, zone: ZoneInfo, now: datetime
) -> dict[str, object]:
    today = now.astimezone(zone).date()
    here = [one for one in visits if area == "all" or one.area in SPOKEN[area]]
    dated = [(one.settled_at.astimezone(zone).date(), one) for one in here]
    mine = [one for day, one in dated if belongs(dimension, day, today, before=False)]
    days = sorted({day for day, one in dated if one in mine})
    steps = sorted({day.isoformat() if daily(dimension, today) else f"{day:%Y-%m}" for day in days})
    return {
        "本期": told(mine),
        "上期": told(one for day, one in dated if belongs(dimension, day, today, before=True)),
        "热销项目": top(mine),
        "走势": [
            (
                step,
                yuan(
                    sum(one.cents for day, one in dated if one in mine and day.isoformat().startswith(step))
                ),
            )
            for step in steps
        ],
    }


def seen(view: dict[str, object], *, by_day: bool) -> dict[str, object]:
    def without_days(figures: object) -> dict[str, object]:
        assert isinstance(figures, dict)
        return {name: value for name, value in figures.items() if name != "起止"}

    trend = view["走势"]
    assert isinstance(trend, list)
    return {
        "本期": without_days(view["本期"]),
        "上期": without_days(view["上期"]),
        "热销项目": view["热销项目"],
        "走势": [(one["日期"][: 10 if by_day else 7], one["营业额"]) for one in trend],
    }


async def gathered(
    database: Database, store_id: str, dimension: str, area: str, now: datetime
) -> dict[str, object]:
    app = apps()["app2a_finance_area"]
    subject = Subject(store_id, time_dimension=dimension, area=area)
    async with database.read() as conn:
        (material,) = await FactMaterials(SHANGHAI).gather(conn, [(app, subject)], now)
    view: dict[str, object] = material.views["finance"]
    assert material.empty == (
        not view["本期"]["消费单数"]
        + view["本期"]["退款单"]
        + view["上期"]["消费单数"]
        + view["上期"]["退款单"]  # type: ignore[index]
    )
    return view


async def settle(database: Database, store_id: str, zone: ZoneInfo, visits: list[VisitFact]) -> None:
    async with database.write() as conn:
        await facts.save(conn, store_id, Kind.STORE, [StoreFact(zone=zone.key)], visits[0].settled_at)
        await facts.save(conn, store_id, Kind.VISIT, visits, visits[0].settled_at)


@pytest.fixture
async def database(database_url):
    async with opened(database_url) as made:
        yield made


ITEMS = st.builds(
    Item,
    st.sampled_from(["可乐", "台费", "Chips", "茶"]),
    st.sampled_from([1000, 2000, 1500]),
    st.sampled_from([None, 300, 1999, 12000]),
)


@st.composite
def shops(draw):
    """A zone, an instant, and visits near the borders of what that instant's windows are."""
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    now = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=30) * draw(st.integers(0, 4 * 365 * 48))
    dimension = draw(st.sampled_from(list(TIME_DIMENSIONS)))
    today = now.astimezone(zone).date()
    borders = [edge for window in windows(dimension, today) for edge in window.instants(zone)]
    near = st.builds(
        lambda border, seconds: border + timedelta(seconds=seconds),
        st.sampled_from(borders),
        st.one_of(
            st.integers(-7200, 7200), st.integers(-90 * 86400, 90 * 86400), st.sampled_from([-1, 0, 1])
        ),
    )
    visits = st.builds(
        VisitFact,
        st.uuids().map(str),
        near,
        st.one_of(st.integers(0, 10**6), st.integers(-5000, -1)),
        st.sampled_from([None, "m1", "m2", "m3"]),
        st.sampled_from([None, "a1"]),
        st.sampled_from(SAID),
        st.one_of(st.none(), st.integers(0, 40000)),
        st.lists(ITEMS, max_size=2).map(tuple),
    )
    return (
        zone,
        now,
        dimension,
        draw(st.sampled_from(["all", *SPOKEN])),
        draw(st.lists(visits, min_size=1, max_size=12, unique_by=lambda one: one.visit_id)),
    )


def in_january(day: int) -> VisitFact:
    return VisitFact(f"v{day}", datetime(2026, 1, day, 4, tzinfo=UTC), 1000)


@given(shop=shops())
@example(  # a quarter of twenty days
    (SHANGHAI, datetime(2026, 1, 20, 4, tzinfo=UTC), "this_quarter", "all", [in_january(3), in_january(19)])
)
@example(  # its first day after a month
    (SHANGHAI, datetime(2026, 2, 1, 4, tzinfo=UTC), "this_quarter", "all", [in_january(3), in_january(19)])
)
@settings(  # without shrinking, whose every step is a database's work: the examples are small
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_every_window_counts_the_visits_of_its_own_days(database, shop):
    zone, now, dimension, area, visits = shop
    store_id = new_id()
    await settle(database, store_id, zone, visits)
    view = await gathered(database, store_id, dimension, area, now)
    by_day = daily(dimension, now.astimezone(zone).date())
    assert seen(view, by_day=by_day) == expected(visits, dimension, area, zone, now)


async def test_all_72_windows_of_a_year_are_right(database):
    chance = random.Random(7)
    zone, now = (
        ZoneInfo("America/New_York"),
        datetime(2026, 11, 1, 5, 30, tzinfo=UTC),
    )  # in the hour that is there twice
    visits = [
        VisitFact(
            f"v{number}",
            now - timedelta(seconds=chance.randrange(380 * 86400)),
            chance.randrange(-500, 50000),
            chance.choice([None, "m1", "m2"]),
            chance.choice([None, "a1"]),
            chance.choice(SAID),
            chance.randrange(20000),
            (Item(chance.choice("甲乙丙"), 1000, chance.randrange(900)),),
        )
        for number in range(120)
    ]
    await settle(database, "club", zone, visits)
    for dimension in TIME_DIMENSIONS:
        for area in ["all", *SPOKEN]:
            view = await gathered(database, "club", dimension, area, now)
            by_day = daily(dimension, now.astimezone(zone).date())
            found = seen(view, by_day=by_day)
            assert found == expected(visits, dimension, area, zone, now), (dimension, area)


async def test_areas_hold_those_within_them_and_what_no_list_knows_is_shown_apart(database):
    at = datetime(2026, 11, 20, tzinfo=UTC)
    said = ["A区", "大厅", "露台", None]
    visits = [VisitFact(f"v{n}", at, 1000, area=area) for n, area in enumerate(said)]
    await settle(database, "club", SHANGHAI, visits)
    view = await gathered(database, "club", "this_month", "all", at)
    assert view["区域构成"] == [
        {"区域": "大厅", "营业额": "20.00", "消费单数": 2},
        {"区域": "A区", "营业额": "10.00", "消费单数": 1},
        {"区域": "未登记区域", "营业额": "20.00", "消费单数": 2},
    ]


async def test_an_area_or_a_time_dimension_that_is_none_is_refused_by_name(database):
    await settle(database, "club", SHANGHAI, [VisitFact("v", datetime(2026, 11, 20, tzinfo=UTC), 1000)])
    for dimension, area, field in (("this_month", "roof", "area"), ("this_year", "vip", "time_dimension")):
        with pytest.raises(Invalid) as caught:
            await gathered(database, "club", dimension, area, datetime(2026, 11, 22, tzinfo=UTC))
        assert [one.field for one in caught.value.violations] == [field]


def test_a_window_that_is_not_over_is_compared_with_as_many_days_before_it():
    current, before = windows("this_month", date(2026, 3, 31))
    assert (str(current.first), str(current.last)) == ("2026-03-01", "2026-03-31")
    assert (str(before.first), str(before.last)) == ("2026-02-01", "2026-02-28")
    current, before = windows("this_quarter", date(2026, 11, 22))
    assert (str(current.first), str(before.first), current.days, before.days) == (
        "2026-10-01",
        "2026-07-01",
        53,
        53,
    )


def test_the_areas_that_ship_are_the_eight_beside_the_whole():
    assert [one.key for one in AREAS] == list(SPOKEN)
