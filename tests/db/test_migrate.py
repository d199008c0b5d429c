"""Migrations: repeatable, one at a time, all or nothing, and equal to the tables in use (I42)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, text

from shared.db.engine import Database
from shared.db.migrate import SHARED, Location, check, migrate
from shared.db.tables import shared_metadata
from shared.errors import Invalid, Unavailable
from tests.db.conftest import Opener, Place


def location(folder: Path, *bodies: str, name: str = "service") -> Location:
    """A location with one revision for each body of ``upgrade``."""
    folder.mkdir(exist_ok=True)
    for number, body in enumerate(bodies, 1):
        before = f'"{number - 1:04}"' if number > 1 else None
        source = f"""
            import sqlalchemy as sa
            from alembic import op
            revision, down_revision = "{number:04}", {before}
            def upgrade():
                {body}
        """
        (folder / f"{number:04}_step.py").write_text(dedent(source))
    return Location(name, folder)


def thing(name: str) -> str:
    return f'op.create_table("{name}", sa.Column("id", sa.String(), primary_key=True))'


async def tables(database: Database) -> set[str]:
    async with database.read() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


def differences(connection: Connection) -> Sequence[Any]:
    def ours(item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        return not (kind == "table" and str(name).startswith("revision_"))

    options = {"compare_type": True, "compare_server_default": True, "include_object": ours}
    return compare_metadata(MigrationContext.configure(connection, opts=options), shared_metadata)


def partial_indexes(connection: Connection, metadata: MetaData) -> dict[str, str]:
    """Name → condition, which compare_metadata does not look at."""
    found: dict[str, str] = {}
    dialect = connection.dialect.name
    for index in (
        index for table in metadata.sorted_tables for index in inspect(connection).get_indexes(table.name)
    ):
        condition = index.get("dialect_options", {}).get(f"{dialect}_where")
        if condition is not None:
            found[str(index["name"])] = (
                str(condition).replace("::text", "").strip("()").replace("(", "").replace(")", "")
            )
    return found


async def test_the_migrated_schema_is_the_one_the_code_uses(place: Place, opened: Opener) -> None:
    migrate(place.url, place.schema, [SHARED])

    database = await opened(place)
    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
        migrated = await connection.run_sync(partial_indexes, shared_metadata)
    wanted = {
        str(index.name): str(condition)
        for table in shared_metadata.sorted_tables
        for index in table.indexes
        if (condition := index.dialect_options["sqlite"].get("where")) is not None
    }
    assert {
        name: condition.replace("::character varying", "") for name, condition in migrated.items()
    } == wanted


async def test_a_difference_would_be_noticed(place: Place, opened: Opener) -> None:
    migrate(place.url, place.schema, [SHARED])
    database = await opened(place)
    async with database.write() as connection:
        await connection.execute(text("DROP INDEX ix_outbox_pending"))
        await connection.execute(text("ALTER TABLE meta ADD COLUMN more TEXT"))

    async with database.read() as connection:
        assert len(await connection.run_sync(differences)) == 2


async def test_migrating_twice_changes_nothing_the_second_time(place: Place, opened: Opener) -> None:
    migrate(place.url, place.schema, [SHARED])
    database = await opened(place)
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO meta (key, value) VALUES ('kept', 'yes')"))

    migrate(place.url, place.schema, [SHARED])

    async with database.read() as connection:
        assert (await connection.execute(text("SELECT value FROM meta"))).scalar_one() == "yes"


async def test_each_location_keeps_its_own_version(place: Place, opened: Opener, tmp_path: Path) -> None:
    service = location(tmp_path / "versions", thing("delivery"))
    migrate(place.url, place.schema, [SHARED, service])
    location(tmp_path / "versions", thing("delivery"), thing("attempt"))
    migrate(place.url, place.schema, [SHARED, service])

    database = await opened(place)
    assert {"inbox", "delivery", "attempt", "revision_shared", "revision_service"} <= await tables(database)
    await check(database, [SHARED, service])


async def test_a_migration_that_fails_leaves_nothing_behind_and_can_be_repeated(
    place: Place, opened: Opener, tmp_path: Path
) -> None:
    broken = location(
        tmp_path / "versions", thing("delivery"), f"{thing('attempt')}; raise RuntimeError('killed')"
    )
    with pytest.raises(RuntimeError, match="killed"):
        migrate(place.url, place.schema, [SHARED, broken])
    database = await opened(place)
    assert await tables(database) == set()

    repaired = location(tmp_path / "versions", thing("delivery"), thing("attempt"))
    migrate(place.url, place.schema, [SHARED, repaired])

    assert {"inbox", "delivery", "attempt"} <= await tables(database)


@pytest.mark.parametrize("missing", ["everything", "a location", "a revision"])
async def test_a_schema_that_is_behind_is_refused_in_one_line(
    place: Place, opened: Opener, tmp_path: Path, missing: str
) -> None:
    service = location(tmp_path / "versions", thing("delivery"))
    if missing != "everything":
        migrate(place.url, place.schema, [SHARED] if missing == "a location" else [SHARED, service])
    if missing == "a revision":
        location(tmp_path / "versions", thing("delivery"), thing("attempt"))

    with pytest.raises(Unavailable, match=r"schema is behind \(.*service\): run `reach migrate`") as refused:
        await check(await opened(place), [SHARED, service])
    assert refused.value.reason == "SCHEMA_BEHIND"


async def test_a_schema_that_a_newer_version_has_migrated_is_accepted(
    place: Place, opened: Opener, tmp_path: Path
) -> None:
    newer = location(tmp_path / "newer", thing("delivery"), thing("attempt"))
    migrate(place.url, place.schema, [SHARED, newer])

    await check(await opened(place), [SHARED, location(tmp_path / "older", thing("delivery"))])


async def test_processes_that_migrate_at_once_take_turns(place: Place, opened: Opener) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=migrate, args=(place.url, place.schema, [SHARED])) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    await check(await opened(place), [SHARED])


def test_a_server_that_is_not_there_is_named_in_one_line() -> None:
    with pytest.raises(Unavailable, match=r"^PostgreSQL at 127\.0\.0\.1:1: .*refused[^\n]*$") as refused:
        migrate("postgresql://user:hunter2@127.0.0.1:1/db", "reach", [SHARED])
    assert "hunter2" not in str(refused.value)


def test_a_schema_name_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(Invalid):
        migrate("postgresql://127.0.0.1:1/db", 'x"; DROP SCHEMA y', [SHARED])
