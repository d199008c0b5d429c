"""``reach rules test``: files run without a server, a line for what failed, and an exit code that a pipeline can trust."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import ROOT, Reach

EXAMPLES = ROOT / "examples/rules"
PRESETS = ROOT / "services/notifier/presets.test.toml"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The example's rule and its test, to be changed."""
    for name in ("big-order.toml", "big-order.test.toml"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text("utf-8"), encoding="utf-8")
    return tmp_path


def changed(file: Path, old: str, new: str) -> None:
    words = file.read_text("utf-8")
    assert old in words
    file.write_text(words.replace(old, new, 1), encoding="utf-8")


def test_the_presets_pass_their_own_tests(reach: Reach) -> None:
    done = reach("rules", "test", str(PRESETS))
    assert (done.code, done.out, done.err) == (0, "19 cases, 19 passed\n", "")


def test_a_directory_runs_every_test_file_under_it_once(reach: Reach, copied: Path) -> None:
    (copied / "deep").mkdir()
    (copied / "deep/presets.test.toml").write_text(PRESETS.read_text("utf-8"), encoding="utf-8")
    (copied / ".hidden").mkdir()
    (copied / ".hidden/broken.test.toml").write_text("x", encoding="utf-8")
    done = reach("rules", "test", str(copied), str(copied / "big-order.test.toml"))
    assert (done.code, done.out) == (0, "25 cases, 25 passed\n"), done.err
    assert reach("rules", "test", str(EXAMPLES)).out == "9 cases, 9 passed\n"


def test_a_changed_expectation_fails_with_expected_and_actual(reach: Reach, copied: Path) -> None:
    changed(copied / "big-order.test.toml", "1280.00", "1281.00")
    done = reach("rules", "test", str(copied))
    assert done.code == 1
    first, *middle, last = done.out.splitlines()
    assert first.endswith("big-order.test.toml: a big order is told to the manager, in these words")
    assert [line for line in middle if "金额" in line] == [
        "                 金额：¥1281.00",
        "                 金额：¥1280.00",
    ]
    assert last == "6 cases, 5 passed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("total >= 1000.0", "total > 1000.0"),
        ('startsWith("V")', 'startsWith("W")'),
        ('roles = ["manager"]', 'roles = ["cashier"]\nfallback = []'),
        ("【大单】", "【订单】"),
        ('"order.created"', '"order.completed"'),
    ],
)
def test_a_changed_rule_fails_its_tests(reach: Reach, copied: Path, old: str, new: str) -> None:
    changed(copied / "big-order.toml", old, new)
    done = reach("rules", "test", str(copied))
    assert done.code == 1, done.err
    assert done.out.splitlines()[-1] != "6 cases, 6 passed"


def test_it_needs_no_server_no_home_and_no_settings(reach: Reach) -> None:
    done = reach.process(
        "rules", "test", str(EXAMPLES), REACH_NOTIFIER_TARGET="127.0.0.1:1", REACH_HOME="/nowhere"
    )
    assert (done.code, done.out, done.err) == (0, "9 cases, 9 passed\n", "")


def test_a_failure_shows_what_went_out_when_and_what_was_kept_back(reach: Reach, tmp_path: Path) -> None:
    for name in ("busy-night.toml", "busy-night.test.toml"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text("utf-8"), encoding="utf-8")
    changed(tmp_path / "busy-night.test.toml", '"+70m", contains', '"+71m", contains')
    done = reach("rules", "test", str(tmp_path))
    assert (done.code, done.out.splitlines()[-1]) == (1, "3 cases, 2 passed")
    for line in (
        "  sends expected  2026-02-20 12:00:00 to somebody: 'ORD1'",
        "                  2026-02-20 13:11:00 to somebody: 'ORD4'",
        "  2026-02-20 12:02:00 event 3 dropped by budget:2/1h:user:zhangsan@default, for user:zhangsan",
    ):
        assert line in done.out.splitlines()
    assert "  2026-02-20 13:10:00 to user:zhangsan: 【订单完成】 / 订单号：ORD4" in done.out


@pytest.mark.parametrize(
    ("file", "words", "said"),
    [
        ("big-order.test.toml", "[[case]\n", "big-order.test.toml is no TOML: "),
        ("big-order.test.toml", "x = 1\n", "big-order.test.toml: x: is not known"),
        ("big-order.toml", "[big-order]\nnme = 1\n", "big-order.toml: [big-order] nme: is not known; write name"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_ends_everything_before_it_begins(
    reach: Reach, copied: Path, file: str, words: str, said: str
) -> None:
    (copied / file).write_text(words, encoding="utf-8")
    done = reach("rules", "test", str(PRESETS), str(copied))
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert said in done.err


def test_what_is_not_there_is_2(reach: Reach, copied: Path) -> None:
    (copied / "big-order.toml").unlink()
    missing = reach("rules", "test", str(copied))
    assert (missing.code, "cannot read" in missing.err) == (2, True)
    assert "big-order.toml: no such file" in missing.err
    (copied / "big-order.test.toml").unlink()
    empty = reach("rules", "test", str(copied))
    assert (empty.code, "has no *.test.toml" in empty.err) == (2, True)
    assert reach("rules", "test", str(copied / "no.test.toml")).code == 2
