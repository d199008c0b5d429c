"""Tables for spreadsheets, whatever the names in them are."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.campaign.domain import table
from services.campaign.domain.table import Line

AT = datetime(2026, 3, 2, 12, tzinfo=timezone(timedelta(hours=8)))


def one(**changes):
    known = {
        "campaign_id": "c1", "version": 1, "run_id": "r1", "dry": False, "chat_id": "wr1", "name": "群", "owner": "li",
        "labels": (), "status": "sent", "reason": "", "error": "", "updated_at": AT,
    }  # fmt: skip
    return Line(**{**known, **changes})


def read(text):
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_line_comes_back_as_it_was_and_is_never_a_formula(name, error):
    [cells] = read(table.line(one(name=name, error=error)))
    found = dict(zip(table.COLUMNS, cells, strict=True))
    for cell, text in ((found["name"], name), (found["error"], error)):
        assert cell in (text, f"'{text}")
        assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "＝1", "-2+3|cmd", "\n@x"]
)
def test_what_would_be_a_formula_begins_with_an_apostrophe(name):
    assert read(table.line(one(name=name)))[0][1] == f"'{name}"


@pytest.mark.parametrize("name", ["春日群", "a=b", "1-2", "'x", ""])
def test_everything_else_stays_as_it_is(name):
    assert read(table.line(one(name=name)))[0][1] == name


def test_numbers_instants_and_lists_are_written_for_machines():
    line = one(errcode=-1, raw_status=0, labels=("vip", "new"), sent_at=AT, dry=True)
    found = dict(zip(table.COLUMNS, read(table.line(line))[0], strict=True))
    assert (found["errcode"], found["raw_status"], found["labels"]) == ("-1", "0", "vip;new")
    assert (found["sent_at"], found["asked_at"], found["dry"]) == ("2026-03-02T04:00:00Z", "", "true")


def test_the_columns_are_all_that_is_known_of_a_group():
    assert set(table.COLUMNS) == set(Line.__dataclass_fields__)
    assert read(table.head()) == [list(table.COLUMNS)]
    assert table.line(one()).endswith("\r\n")
    assert AT.astimezone(UTC) == AT
