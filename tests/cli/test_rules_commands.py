"""Rules on the command line: put from a file, looked at, published, taken back, deleted, restored."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import rule_pb2

from cli import rule_changes
from services.notifier.rule_files import parse_rules
from shared.events.catalogue import EVENT_TYPES
from tests.cli.support import Reach

BIG = """
["{id}"]
event_type = "order.created"
name = "大单提醒"
priority = "urgent"
roles = ["manager", "cashier"]
condition = "total >= 1000.0"
template = "{words}"
"""
BOILER = """
["boiler.hot"]
name = "锅炉"
roles = ["tech_support"]
missing = "placeholder"
condition = "degrees > 90.0"
stores = ["s2", "s1"]
template = '''
锅炉 "东" {degrees} 度
{note|default:C:\\}'''
variables = { degrees = "quantity", note = "text" }
merging = { mode = "cooldown", length = "5m", key = ["note"], line = "{degrees} 度", top_lines = 20 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules.toml"


def put(up: Reach, file: Path, rule_id: str, words: str = "大单 {order_number}", *options: str) -> str:
    file.write_text(BIG.replace("{id}", rule_id).replace("{words}", words), encoding="utf-8")
    done = up("rules", "put", str(file), *options)
    assert done.code == 0, done.err
    return done.out


def shown(up: Reach, rule_id: str, *options: str) -> str:
    done = up("rules", "show", rule_id, *options)
    assert done.code == 0, done.err
    return done.out


def test_a_file_adds_a_rule_and_then_versions_of_it(up: Reach, file: Path) -> None:
    words = len("大单 ORD20260220001".encode())
    assert put(up, file, "added").startswith(f"added version 1 on, {words} of 20")
    assert put(up, file, "added", "改 {order_number}", "--comment", "店长要的").startswith(
        "added version 2 on, "
    )
    listed = up("rules", "versions", "added").out.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["2", "acts"], ["1", "-"]]
    assert "店长要的" in listed[1]
    assert "大单提醒" in next(line for line in up("rules", "list").out.splitlines() if "added" in line)


def test_a_draft_is_stored_shown_and_acts_once_it_is_published(up: Reach, file: Path) -> None:
    assert put(up, file, "drafted", "草稿", "--draft").startswith("drafted version 1 draft, ")
    absent = up("rules", "show", "drafted")
    assert (absent.code, len(absent.lines)) == (1, 1)
    assert "reach rules show drafted --version 1" in absent.err
    assert up("rules", "show", "never-there").lines == ["reach: there is no rule never-there (NOT_FOUND)"]
    assert "草稿" in shown(up, "drafted", "--version", "1")
    assert up("rules", "publish", "drafted").out == "drafted version 1 on\n"
    assert shown(up, "drafted").startswith("# version 1, on\n")


def test_a_version_is_taken_back_and_named_ones_are_published(up: Reach, file: Path) -> None:
    for words in ("甲", "乙", "丙"):
        put(up, file, "back", words)
    assert up("rules", "rollback", "back").out == "back version 2 on\n"
    assert "乙" in shown(up, "back")
    assert up("rules", "rollback", "back", "--version", "1").out == "back version 1 on\n"
    assert up("rules", "publish", "back", "--version", "3").out == "back version 3 on\n"
    for command in ("publish", "show"):
        assert up("rules", command, "back", "--version", "9").lines == [
            "reach: version: rule back has versions 1 to 3 (FIELD_INVALID)"
        ]


def test_a_new_version_says_when_the_rule_is_switched_off(up: Reach, file: Path) -> None:
    put(up, file, "muted")
    assert up("rules", "toggle", "muted", "off").code == 0
    assert put(up, file, "muted", "改").startswith("muted version 2 off, ")


def test_a_deleted_rule_is_gone_until_it_is_published(up: Reach, file: Path) -> None:
    put(up, file, "gone")
    assert "publish gone" in up("rules", "delete", "gone").out
    assert up("rules", "show", "gone").code == 1
    assert up("rules", "publish", "gone").out == "gone version 1 on\n"
    assert up("rules", "delete", "never-there").code == 1


def test_presets_are_changed_by_a_file_and_restored(up: Reach, file: Path) -> None:
    assert put(up, file, "order.created", "改 {order_number}").startswith("order.created version 2 on, ")
    assert up("rules", "restore", "order.created").out == "order.created version 3 on\n"
    assert "【新订单】" in shown(up, "order.created")
    assert "nothing to restore" in up("rules", "restore").out
    unknown = up("rules", "restore", "pirate")
    assert (unknown.code, "pirate" in unknown.err) == (2, True)


def test_what_is_shown_can_be_put_again_as_it_is(up: Reach, file: Path) -> None:
    file.write_text(BOILER, encoding="utf-8")
    done = up("rules", "put", str(file))
    assert (done.code, "version 1 on, no example" in done.out) == (0, True), done.err
    first = shown(up, "boiler.hot")
    file.write_text(first, encoding="utf-8")
    assert up("rules", "put", str(file)).code == 0
    assert shown(up, "boiler.hot") == first.replace("version 1", "version 2")
    assert 'stores = ["s1", "s2"]' in first
    assert BOILER.splitlines()[-1] in first.splitlines()


def test_a_file_with_one_wrong_rule_stores_none(up: Reach, file: Path) -> None:
    right, wrong = (BIG.replace("{id}", name) for name in ("right", "wrong"))
    file.write_text(
        right.replace("{words}", "好") + wrong.replace("{words}", "{discount}").replace("total", "totl"),
        encoding="utf-8",
    )
    done = up("rules", "put", str(file))
    assert (done.code, done.out) == (2, "")
    assert [line.partition(": ")[2].split(":")[1:2] for line in done.lines] == [
        [" [wrong] template"],
        [" [wrong] condition"],
    ]
    assert "order_number" in done.err
    assert up("rules", "show", "right").code == 1


def test_a_change_that_somebody_makes_meanwhile_is_not_overwritten() -> None:
    """The moment between reading and writing is too short to hit from outside, so the stub is played."""
    asked: list[pb.UpdateRuleRequest] = []

    class Stub:
        async def ListRuleVersions(self, request: Any) -> Any:
            return pb.ListRuleVersionsResponse(
                versions=[rule_pb2.RuleVersion(rule=rule_pb2.Rule(rule_id="big", version=4))]
            )

        async def UpdateRule(self, request: Any) -> Any:
            asked.append(request)
            return pb.UpdateRuleResponse(rule=rule_pb2.Rule(rule_id="big", version=5))

    (rule,) = parse_rules(BIG.replace("{id}", "big").replace("{words}", "好"), EVENT_TYPES)
    asyncio.run(rule_changes._put_one(Stub(), rule, True, ""))
    assert [one.expected_version for one in asked] == [4]


def test_what_the_service_refuses_is_said_with_the_rule(up: Reach, file: Path) -> None:
    file.write_text(BIG.replace("{id}", "commented").replace("{words}", "好"), encoding="utf-8")
    done = up("rules", "put", str(file), "--comment", "长" * 100)
    assert (done.code, done.out) == (2, "")
    assert done.lines[0].startswith("reach: commented: comment")


def test_a_file_that_cannot_be_read_is_one_line(reach: Reach, file: Path) -> None:
    done = reach("rules", "put", str(file))
    assert (done.code, done.lines) == (2, [f"reach: cannot read {file}: no such file or directory"])
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in reach("rules", "put", str(file)).err
    file.write_text('["big"]\nname = x\n', encoding="utf-8")
    done = reach("rules", "put", str(file))
    assert (done.code, len(done.lines)) == (2, 1)
    assert "line 2, column 8" in done.err


@pytest.mark.parametrize("command", ["show", "versions", "publish", "rollback", "delete", "restore"])
def test_a_service_that_is_away_is_one_line(reach: Reach, command: str) -> None:
    done = reach("rules", command, "big", REACH_NOTIFIER_TARGET="127.0.0.1:1")
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
