"""The migrations end where the tables say, and a template speaks from the rows of the matches."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import inspect

from services.kf_session.assembly import LOCATIONS
from services.kf_session.domain.push import Item
from services.kf_session.pipeline.templating import Templating
from services.kf_session.store import learning_tables as learned
from shared.db.engine import Database
from shared.db.migrate import migrate
from tests.kf_session.learning_support import STORE, add_match, opened

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
TABLES = (
    learned.template,
    learned.template_version,
    learned.experiment,
    learned.experiment_variant,
    learned.effect,
    learned.reply_hour,
    learned.summary_schedule,
    learned.summary_day,
    learned.picture,
)


async def test_a_migrated_database_has_the_tables_of_this_slice(database_url):
    migrate(database_url, "public", LOCATIONS)
    database = Database.open(database_url, schema="public")

    def columns(connection):
        return {
            table.name: {one["name"] for one in inspect(connection).get_columns(table.name)}
            for table in TABLES
        }

    async with database.read() as conn:
        found = await conn.run_sync(columns)
    await database.close()
    assert found == {table.name: set(table.c.keys()) for table in TABLES}


async def test_the_renderer_reads_what_it_says_of_a_match_from_its_row(database_url):
    async with opened(database_url) as database:
        async with database.write() as conn:
            await add_match(conn, "m1", "i1", NOON)
        async with database.read() as conn:
            rendered = await Templating(b"k" * 32).render(conn, STORE, [Item("m1", "line", "d", 0.85)])
    assert (
        "【张三】符合您的意图【寻找AI合作伙伴】\n匹配度：85%\n具有AI背景"
        in rendered.content["text"]["content"]
    )
