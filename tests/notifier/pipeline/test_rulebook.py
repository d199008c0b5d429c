"""The rules' rows, on both databases: versions that never change, one that acts, and one change at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from services.notifier.domain.rules import Rule
from services.notifier.store import rulebook
from services.notifier.store.rulebook import RuleVersion
from shared.db.engine import Database
from tests.notifier.domain.builders import rule

NOW = datetime(2026, 2, 20, 4, 30, tzinfo=UTC)


def _version(one: Rule, number: int, comment: str = "") -> RuleVersion:
    return RuleVersion(replace(one, version=number), comment, NOW, "li")


async def _add(database: Database, one: Rule, *, publish: bool = True) -> None:
    async with database.write() as conn:
        head = await rulebook.hold(conn, database.dialect, one.id)
        if head is None:
            await rulebook.add_rule(conn, _version(one, 1), publish=publish)
        else:
            await rulebook.add_version(conn, _version(one, head.latest + 1), publish=publish)


async def _acting(database: Database) -> dict[str, Rule]:
    async with database.read() as conn:
        return {one.id: one for one in (await rulebook.read_book(conn)).rules}


async def test_what_was_stored_comes_back_whole(database: Database) -> None:
    one = rule(condition="total > 1.0", stores=("s1", "s2"))
    await _add(database, one)
    assert (await _acting(database))["r1"] == one


async def test_a_draft_is_a_version_that_does_not_act(database: Database) -> None:
    await _add(database, rule(), publish=False)
    assert await _acting(database) == {}
    async with database.write() as conn:
        head = await rulebook.hold(conn, database.dialect, "r1")
        assert head is not None
        assert (head.version, head.latest) == (0, 1)
        await rulebook.set_acting(conn, "r1", 1)
    assert set(await _acting(database)) == {"r1"}


async def test_changes_at_once_get_numbers_of_their_own(database: Database) -> None:
    await _add(database, rule())
    await asyncio.gather(*(_add(database, rule(template=f"{n} {{order_number}}")) for n in range(8)))
    async with database.read() as conn:
        versions = await rulebook.read_versions(conn, "r1")
    assert [one.rule.version for one in versions] == list(range(9, 0, -1))
    assert (await _acting(database))["r1"] == versions[0].rule


async def test_every_change_turns_the_page(database: Database) -> None:
    async def page() -> int:
        async with database.read() as conn:
            return (await rulebook.read_book(conn)).version

    before = await page()
    await _add(database, rule())
    async with database.write() as conn:
        await rulebook.hold(conn, database.dialect, "r1")
        await rulebook.drop_rule(conn, "r1")
    assert await page() == before + 2
    assert await _acting(database) == {}
    async with database.read() as conn:
        assert len(await rulebook.read_versions(conn, "r1")) == 1


async def test_presets_are_brought_in_once_and_a_dropped_one_stays_dropped(database: Database) -> None:
    shipped = [rule("a", preset=True), rule("b", preset=True)]
    async with database.write() as conn:
        assert await rulebook.add_missing_presets(conn, database.dialect, shipped, NOW) == 2
    async with database.write() as conn:
        await rulebook.hold(conn, database.dialect, "a")
        await rulebook.drop_rule(conn, "a")
    async with database.write() as conn:
        assert await rulebook.add_missing_presets(conn, database.dialect, [*shipped, rule("c")], NOW) == 1
    assert set(await _acting(database)) == {"b", "c"}
