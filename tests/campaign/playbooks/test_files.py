"""Playbooks as files: those that ship can be read, and whatever is wrong with one is named by file and field."""

from __future__ import annotations

import asyncio
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from services.campaign import playbook_files
from services.campaign.domain import audience, linting
from services.campaign.domain.blockwords import BlockWords
from services.campaign.domain.links import LinkHosts
from services.campaign.domain.playbook_calendar import Calendar
from services.campaign.domain.playbook_drafts import draft_of, order_of
from services.campaign.domain.playbook_parameters import read
from services.campaign.store import playbook_tables
from services.campaign.store.tables import metadata
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.errors import Invalid
from tests.campaign.approval.house import LOCATIONS
from tests.campaign.playbooks.house import RECALL, WARM_UP, WELCOME

SHIPPED = {"silent_recall": RECALL, "warm_up": WARM_UP, "welcome": WELCOME}
FULL = {
    "gift": "第二杯半价",
    "link": "https://shop.example.com/a",
    "labels": "vip",
    "skip_labels": "员工群",
    "place": "二楼露台",
}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_what_ships_says_something_whole_on_every_day(name: str, full: bool) -> None:
    known = playbook_files.load()
    assert set(known) == set(SHIPPED)
    playbook = known[name]
    more = {one.name: FULL[one.name] for one in playbook.parameters if full and one.name in FULL}
    start = date(2026, 3, 2)
    values = read(playbook.parameters, {**SHIPPED[name], **more}, start)
    playbook.check(values)
    calendar = Calendar(playbook, values, "Asia/Shanghai", start, datetime(2026, 3, 1, tzinfo=UTC))
    found = list(calendar.occurrences())
    assert {one.step for one in found} == set(range(len(playbook.steps)))
    for one in found:
        step = playbook.steps[one.step]
        audience.read(calendar.audience(step, one.day))
        spec, order = draft_of(calendar, step, one.day, ["wr1"]), order_of(calendar, step, one.day)
        linting.check(spec.content)
        said = spec.content.text + (order.theme + order.audience if order else "")
        assert "{" not in said
        assert len(said) > 10
        hosts = LinkHosts(["shop.example.com"])
        assert not linting.findings(spec.content, BlockWords(["返现", "保本", "医疗治愈"]), hosts, {})
        assert bool(spec.content.attachments) == (full and step.card is not None)
        assert spec.window.zone == "Asia/Shanghai"


def test_a_playbook_is_read_again_from_what_a_run_keeps_of_it() -> None:
    for name, playbook in playbook_files.load().items():
        assert playbook_files.playbook_of(name, playbook.document) == playbook


GOOD = """
title = "好"
summary = "好"
event = "day"
days = "{n}"
draft = { days_before = 1, at = "{at}" }
parameters = [
  { name = "day", kind = "date", title = "日", help = "日" },
  { name = "n", kind = "number", title = "数", help = "数", default = "30", range = [1, 60] },
  { name = "at", kind = "time", title = "时", help = "时", default = "14:00" },
  { name = "who", kind = "words", title = "谁", help = "谁", optional = true },
]
[[steps]]
name = "one"
title = "一"
day = { from = "event", offset = -1 }
hours = ["10:00", "{at}"]
text = "还有{days_left}天"
[[steps]]
name = "two"
title = "二"
day = { from = "silent", offset = "{n}", weekdays = [2] }
where = { label = ["{who}"] }
hours = ["10:00", "18:00"]
write = { theme = "问候", rules = ["短"] }
"""


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('title = "好"', 'title = ""', "title"),
        ('summary = "好"', 'summry = "好"', "summary"),
        ('event = "day"', 'event = "n"', "event"),
        ('days = "{n}"', "days = 0", "days"),
        ('days = "{n}"', "days = 400", "days"),
        ('days = "{n}"', 'days = "{day}"', "days"),
        ("days_before = 1", "days_before = 99", "draft.days_before"),
        ('at = "{at}" }', 'at = "03:00" }', "draft.at"),
        ('kind = "date"', 'kind = "day"', "parameters[0].kind"),
        ('default = "30"', 'default = "90"', "parameters[1].default"),
        ("range = [1, 60]", "range = [60, 1]", "parameters[1].range"),
        ("range = [1, 60]", "range = [0, 60]", "steps[1].day.offset"),
        ('name = "n"', 'name = "day"', "parameters[1].name"),
        ('name = "n"', 'name = "N"', "parameters[1].name"),
        ('default = "14:00"', "optional = true", "parameters[2].optional"),
        ('from = "event"', 'from = "moon"', "steps[0].day.from"),
        ("offset = -1", 'offset = "{x}"', "steps[0].day.offset"),
        ("offset = -1", "offset = -1, weekdays = [1]", "steps[0].day.weekdays"),
        ("offset = -1", "offset = -1, late = 1", "steps[0].day.late"),
        ('"10:00", "{at}"', '"18:00", "10:00"', "steps[0].hours"),
        ('"10:00", "{at}"', '"10:00"', "steps[0].hours"),
        ('"10:00", "{at}"', '"15:00", "{at}"', "parameters.at"),
        ("days_before = 1", "days_before = 0", "parameters.at"),
        ("还有{days_left}天", "还有{days}天", "steps[0].text"),
        ('text = "还有{days_left}天"', "", "steps[0].text"),
        ('name = "two"', 'name = "one"', "steps[1].name"),
        ('from = "silent"', 'from = "step", step = "three"', "steps[1].day.step"),
        ("weekdays = [2]", "weekdays = [8]", "steps[1].day.weekdays"),
        ('label = ["{who}"]', 'label = ["{whom}"]', "steps[1].where.label[0]"),
        ('label = ["{who}"]', 'lable = ["{who}"]', "steps[1].where.lable"),
        ('label = ["{who}"]', 'silent_for_days = "{who}"', "steps[1].where.silent_for_days"),
        ("theme =", "topic =", "steps[1].write.theme"),
        ('rules = ["短"]', 'rules = [""]', "steps[1].write.rules"),
        ('rules = ["短"]', "colour = 1", "steps[1].write.colour"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, old: str, new: str, field: str) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    assert set(playbook_files.load(tmp_path)) == {"good"}
    assert old in GOOD
    (tmp_path / "good.toml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(Invalid) as caught:
        playbook_files.load(tmp_path)
    assert [one.field for one in caught.value.violations] == [f"good.toml {field}"]


def test_a_file_that_is_no_toml_and_a_name_that_is_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("title = ")
    with pytest.raises(Invalid, match=r"bad\.toml: is no TOML"):
        playbook_files.load(tmp_path)
    with pytest.raises(Invalid, match="Bad Name: is named by"):
        playbook_files.playbook_of("Bad Name", tomllib.loads(GOOD))


async def test_the_migrations_end_at_the_tables_of_playbooks(database_url: str) -> None:
    await asyncio.to_thread(migrate, database_url, "public", LOCATIONS)
    database = Database.open(database_url, schema="public")
    ours = {name for name in vars(playbook_tables) if name.startswith("playbook_")}

    def chosen(_item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        return name in ours if kind == "table" else True

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "include_object": chosen}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.read() as conn:
        assert await conn.run_sync(differences) == []
    await database.close()
