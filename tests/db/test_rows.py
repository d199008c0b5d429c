"""Rows from one document: every type, on both databases, exactly as it went in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, MetaData, Table, Text, select, update

from shared.db.engine import Database
from shared.db.rows import insert_rows, pack, rows
from shared.db.types import Id, Instant, Json
from shared.errors import Invalid
from shared.text.instants import instant_text
from tests.db.conftest import create

metadata = MetaData()
thing = Table(
    "thing",
    metadata,
    Column("id", Id, primary_key=True),
    Column("note", Text),
    Column("count", Integer),
    Column("large", BigInteger),
    Column("share", Float),
    Column("yes", Boolean(create_constraint=False)),
    Column("at", Instant),
    Column("data", Json),
)
AT = datetime(2026, 3, 2, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
async def things(database: Database) -> Database:
    await create(database, metadata)
    return database


async def stored(database: Database, *new: dict[str, object]) -> list[dict[str, Any]]:
    insert = insert_rows(database.dialect, thing, "new")
    async with database.write() as connection:
        await connection.execute(insert, {"new": pack(new)})
    async with database.read() as connection:
        found = await connection.execute(select(thing).order_by(thing.c.id))
        return [dict(row) for row in found.mappings()]


async def test_every_type_comes_back_as_it_went_in(things: Database) -> None:
    row = {
        "id": "a",
        "note": "触达 “quotes” \\u0000 as text, 😀, tab\t, line\n, \u2028, rtl \u202e",
        "count": -7,
        "large": 2**62,
        "share": 0.1,
        "yes": True,
        "at": AT,
        "data": {"nested": [1, 2.5, None, True, {"深": "层"}], "empty": {}, "quote": '"', "null": None},
    }

    assert await stored(things, row) == [row]


async def test_what_is_none_and_what_is_missing_is_null(things: Database) -> None:
    nothing = dict.fromkeys(("note", "count", "large", "share", "yes", "at", "data"))

    assert await stored(things, {"id": "a", **nothing}, {"id": "b"}) == [
        {"id": "a", **nothing},
        {"id": "b", **nothing},
    ]


@pytest.mark.parametrize(
    "value", ["text", 'quo"ted', "null", "", 1, 1.5, True, False, [], {}, ["a", None], "触"]
)
async def test_any_json_value_keeps_its_type(things: Database, value: object) -> None:
    (row,) = await stored(things, {"id": "a", "data": value})

    assert row["data"] == value
    assert type(row["data"]) is type(value)


async def test_instants_compare_alike_whatever_zone_they_were_given_in(things: Database) -> None:
    shanghai = timezone(timedelta(hours=8))
    found = await stored(
        things,
        {"id": "a", "at": datetime(2026, 3, 2, 12, tzinfo=shanghai)},
        {"id": "b", "at": datetime(2026, 3, 2, 4, 0, 0, 1, tzinfo=UTC)},
    )

    assert [row["at"].tzinfo for row in found] == [UTC, UTC]
    async with things.read() as connection:
        later = select(thing.c.id).where(thing.c.at > datetime(2026, 3, 2, 4, tzinfo=UTC))
        assert list((await connection.execute(later)).scalars()) == ["b"]


async def test_a_bound_json_value_round_trips_too(things: Database) -> None:
    async with things.write() as connection:
        await connection.execute(thing.insert(), {"id": "a", "data": {"at": AT, "s": "x"}, "at": AT})
        (row,) = (await connection.execute(select(thing.c.data, thing.c.at))).all()

    assert row.data == {"at": instant_text(AT), "s": "x"}
    assert row.at == AT


async def test_a_hundred_rows_are_updated_by_one_statement(things: Database) -> None:
    await stored(things, *({"id": f"{n:03}", "count": n} for n in range(100)))
    changes = rows(things.dialect, "changes", id=Id, count=Integer(), data=Json())
    statement = (
        update(thing)
        .where(thing.c.id == changes.c.id)
        .values(count=thing.c.count + changes.c.count, data=changes.c.data)
        .returning(thing.c.id)
    )
    document = pack([{"id": f"{n:03}", "count": 1000, "data": {"n": n}} for n in range(0, 100, 2)])

    async with things.write() as connection:
        changed = set((await connection.execute(statement, {"changes": document})).scalars())
        after = (await connection.execute(select(thing).order_by(thing.c.id))).all()

    assert changed == {f"{n:03}" for n in range(0, 100, 2)}
    assert [row.count for row in after] == [n + 1000 * (n % 2 == 0) for n in range(100)]
    assert [row.data for row in after] == [{"n": n} if n % 2 == 0 else None for n in range(100)]


@pytest.mark.parametrize(
    "value",
    ["a\0b", {"deep": ["\0"]}, {"\0": 1}, "\ud800", 2**64, b"bytes", {1, 2}, datetime(2026, 1, 1)],  # noqa: DTZ001
)
def test_what_cannot_be_stored_is_refused_by_name(value: object) -> None:
    with pytest.raises(Invalid) as refused:
        pack([{"id": "fine", "note": "fine"}, {"id": "a", "note": value}])

    assert [violation.field for violation in refused.value.violations] == ["note"]


async def test_a_bound_nul_is_refused_with_a_meaning(things: Database) -> None:
    with pytest.raises(Invalid):
        async with things.write() as connection:
            await connection.execute(thing.insert(), {"id": "a", "data": {"x": "\0"}})
