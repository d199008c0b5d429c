"""``reach policy``: what is set is shown as it was written, and what cannot be meant is refused with its option."""

from __future__ import annotations

import pytest

from tests.cli.support import Reach
from tests.support.process import until

NIGHT = (
    "--quiet", "22:00-08:00", "--quiet", "12:30-14:00/6-7", "--days", "1-5", "--mode", "digest",
    "--zone", "Asia/Shanghai", "--budget", "30/1h", "--budget", "100/day", "--excess", "drop",
    "--merge", "window:60s:10",
)  # fmt: skip
SAID = (
    "quiet 22:00-08:00/1-5 12:30-14:00/6,7 digest; budget 30/1h/drop 100/day/drop; merge window:1m:10"
    " (Asia/Shanghai)"
)


def said(up: Reach, *arguments: str) -> str:
    done = up("policy", *arguments)
    assert done.code == 0, done.err
    return done.out


def test_a_policy_is_set_shown_listed_and_removed(up: Reach) -> None:
    whose = ("--store", "p1", "--role", "kitchen_staff")
    assert said(up, "set", *whose, *NIGHT) == f"role:kitchen_staff at p1: {SAID}\n"
    first, *rest = said(up, "get", *whose).splitlines()
    assert first == f"role:kitchen_staff at p1: {SAID}"
    assert [line.split()[0] for line in rest[1:]] == ["quiet", "budgets", "merging"]
    assert all("role:kitchen_staff at p1" in line and "local" in line for line in rest[1:])
    (line,) = [one for one in said(up, "list", "--store", "p1").splitlines() if "kitchen_staff" in one]
    assert "window:1m:10" in line
    assert "Asia/Shanghai" in line
    assert said(up, "remove", *whose) == "role:kitchen_staff at p1: no policy of its own\n"
    assert said(up, "list", "--store", "p1").startswith("there are no policies")
    gone = said(up, "get", *whose)
    assert gone.splitlines()[0] == "role:kitchen_staff at p1: no policy of its own"
    assert "messages go as they come" in gone


def test_what_was_shown_can_be_set_again(up: Reach) -> None:
    again = ("--quiet", "22:00-08:00/1-5", "--quiet", "12:30-14:00/6,7", "--mode", "digest")
    more = ("--budget", "30/1h/drop", "--budget", "100/day/drop", "--merge", "window:1m:10")
    for options in (NIGHT, (*again, *more, "--zone", "Asia/Shanghai")):
        assert said(up, "set", "--store", "p2", *options) == f"everybody at p2: {SAID}\n"


@pytest.mark.parametrize(
    ("whom", "name"),
    [
        (("--user", "ZhangSan"), "user:zhangsan"),
        (("--robot", "front"), "robot:front"),
        (("--party", "2"), "party:2"),
        (("--tag", "3"), "tag:3"),
        ((), "everybody"),
    ],
)
def test_a_policy_may_be_for_one_address_or_for_everybody(
    up: Reach, whom: tuple[str, ...], name: str
) -> None:
    assert said(up, "set", *whom, "--unlimited", "--merge", "off") == (
        f"{name} at all stores: budget unlimited; merge off\n"
    )
    assert f"{name} " in said(up, "list")
    assert said(up, "remove", *whom) == f"{name} at all stores: no policy of its own\n"


def test_get_says_which_policies_count_for_a_person_in_a_role(up: Reach) -> None:
    said(up, "set", "--store", "p3", "--role", "manager", "--budget", "5/1h")
    said(up, "set", "--store", "p3", "--merge", "cooldown:5m")
    said(up, "set", "--store", "p3", "--user", "anna", "--quiet", "23:00-6:00")
    alone = said(up, "get", "--store", "p3", "--user", "anna")
    assert "budgets" not in alone
    told = said(up, "get", "--store", "p3", "--user", "anna", "--role", "manager").splitlines()
    assert told[0] == "user:anna at p3: quiet 23:00-06:00 hold"
    rows = told[2:]
    assert [line[:11].strip() for line in rows] == ["quiet hours", "budgets", "merging"]
    for line, whose in zip(rows, ("user:anna", "role:manager", "everybody"), strict=True):
        assert f"{whose} at p3" in line


def test_explain_says_which_policy_keeps_a_message_and_what_would_let_it_through(up: Reach) -> None:
    assert up("roles", "set", "cashier", "--store", "p4", "--user", "lili").code == 0
    said(up, "set", "--store", "p4", "--merge", "window:1h")
    data = '{"order_number": "A1", "amount": 5, "method": "cash", "paid_time": "2026-02-20T12:30:00"}'
    assert up("publish", "payment.completed", "--store", "p4", "--id", "kept", "--data", data).code == 0

    def told() -> str | None:
        shown = up("explain", "kept", "--store", "p4").out
        return shown if "merging (everybody@p4)" in shown else None

    assert "→ make it urgent, or switch off the merging (window 1h) of the policy of" in until(told)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "say what the policy is"),
        (("--role", "manager", "--user", "x", "--unlimited"), "one of --role, --user"),
        (("--user", "x", "--tag", "1", "--unlimited"), "one of --role, --user"),
        (("--days", "1-5", "--unlimited"), "--days is about quiet hours"),
        (("--mode", "drop", "--unlimited"), "--mode is about quiet hours"),
        (("--excess", "drop", "--merge", "off"), "--excess is about budgets"),
        (("--unlimited", "--budget", "1/1h"), "--unlimited means no budget"),
        (("--quiet", "22-8"), "--quiet 22-8: must be like 22:00-08:00"),
        (("--quiet", "22:00-24:00"), "--quiet 22:00-24:00: write two different times from 00:00 to 23:59"),
        (("--quiet", "22:00-22:00"), "two different times"),
        (("--quiet", "22:00-08:00", "--days", "5-1"), "--days 5-1: weekdays are 1 (Monday)"),
        (("--quiet", "22:00-08:00/8"), "weekdays are 1 (Monday)"),
        (("--quiet", "22:00-08:00", "--mode", "later"), "--mode later: must be one of hold, digest, drop"),
        (("--budget", "30"), "--budget 30: must be like 30/1h"),
        (("--budget", "30/1hour"), "--budget 30/1hour: must be like 30/1h"),
        (("--budget", "30/1h/refuse"), "with its excess 5/10m/drop"),
        (("--budget", "30/1h", "--excess", "refuse"), "--excess refuse: must be one of hold, drop"),
        (("--merge", "window"), "--merge window: must be like window:60s"),
        (("--merge", "window:60s:many"), "must be like window:60s"),
        (("--merge", "window:soon"), "with a unit"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(
    reach: Reach, options: tuple[str, ...], said: str
) -> None:
    done = reach("policy", "set", *options, REACH_NOTIFIER_TARGET="127.0.0.1:1")
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert said in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--quiet", "00:00-12:00", "--quiet", "12:00-00:00"), "--quiet: would never end"),
        (("--quiet", "22:00-08:00", "--zone", "Shanghai"), "--zone: Shanghai is no IANA time zone"),
        (("--budget", "30/1h", "--budget", "30/1h/drop"), "--budget: says the same twice"),
        (("--budget", "30/2d"), "--budget: must be from 1 minute to 24 hours"),
        (("--budget", "0/1h"), "--budget: "),
        (("--merge", "window:2d"), "--merge: must be from 1 second to 24 hours"),
        (("--role", "pirate", "--unlimited"), "kitchen_staff"),
        (("--party", "two", "--unlimited"), "by its number"),
    ],
)  # fmt: skip
def test_what_the_service_refuses_is_said_by_its_option(
    up: Reach, options: tuple[str, ...], said: str
) -> None:
    done = up("policy", "set", *options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize("command", [("get",), ("list",), ("remove",), ("set", "--unlimited")])
def test_a_service_that_is_away_is_one_line(reach: Reach, command: tuple[str, ...]) -> None:
    done = reach("policy", *command, REACH_NOTIFIER_TARGET="127.0.0.1:1")
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
