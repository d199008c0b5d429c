"""``reach demo``: what it shows, what it leaves, and that it would notice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from reach.ai_orchestrator.v1 import run_pb2
from reach.campaign.v1 import report_pb2

from cli.demo.campaign import judge_report
from cli.demo.cast import EVENING, PROFILES, STAFF, TACTIC
from cli.demo.club import judge_ledger, judge_run
from cli.demo.customer import BY_HAND, HELLO, LEAVE, VIEW, compare
from cli.demo.verdict import Arrival, Duty, attribute, complaints
from tests.cli.support import environment
from tests.support.process import until

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ORDER = Duty("order.created", "【新订单】\n桌号：A01", ["wangdachu", "liqiang"])

FORGETFUL = """
from cli.demo import evening

evening.PATIENCE = 1.0
fire = evening.Evening._fire

async def forget(self, moment):
    if moment.event_type == "member.upgraded":
        self._fired[moment.event_type] = evening.datetime.now(evening.UTC)
    else:
        await fire(self, moment)

evening.Evening._fire = forget
raise SystemExit(evening.run_demo())
"""

DEAF = """
from cli.demo import customer, evening, scenes

evening.PATIENCE = scenes.PATIENCE = 2.0
evening.SCENES = (customer.Customer,)
writes = customer.Customer._writes

async def mumble(self, text):
    await writes(self, "查看1" if text == customer.VIEW else text)

customer.Customer._writes = mumble
raise SystemExit(evening.run_demo())
"""


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """A demo in a session of its own, whose temporary files are in *place*."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(TMPDIR=str(place), REACH_TOKEN="reach_000000000000_nobodys", REACH_CLOCK="moon"),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(demo: subprocess.Popen[str]) -> str:
    """Everything it printed, once it is over with all its processes."""
    out, _ = demo.communicate(timeout=100)
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
    return out


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a demo prints that ends well and leaves nothing."""
    place = tmp_path_factory.mktemp("demo")
    demo = start(place, "-m", "cli.main", "demo")
    out = end(demo)
    assert demo.returncode == 0, out
    assert list(place.iterdir()) == []
    return out


def test_the_evening_shows_each_of_the_fourteen_events_with_its_people(shown: str) -> None:
    table = shown[shown.rindex("what arrived") :].splitlines()
    assert len({moment.event_type for moment in EVENING}) == 14
    for moment in EVENING:
        (row,) = [line for line in table if line.startswith(f"{moment.event_type} ")]
        assert "【" in row
        assert row.rstrip().endswith("ms")
    assert all(person.name in shown for holders in STAFF.values() for person in holders)


def test_the_evening_shows_what_else_reach_does(shown: str) -> None:
    for words in (
        "sent again after",
        "nothing sent twice",
        "disabled by suite",
        "in the group",
        "pages in order",
    ):
        assert words in shown
    assert "nowhere else" in shown


def test_the_evening_shows_the_customers_phone(shown: str) -> None:
    phone = [line.strip() for line in shown.splitlines() if line.lstrip().startswith(("›", "‹"))]
    begins = [
        HELLO,
        *BY_HAND[:3],
        "🎯 找到3位匹配的联系人",
        BY_HAND[3],
        VIEW,
        f"【{PROFILES[1][0]}】",
        LEAVE,
        "已为您退订",
    ]
    assert [line[2:].startswith(words) for line, words in zip(phone, begins, strict=True)] == [True] * 10
    assert BY_HAND[4] not in shown
    assert "refused with KF_WINDOW_FULL" in shown
    assert "credits: too few credits: merged into" in shown


def test_the_evening_shows_what_the_clubs_applications_found_out(shown: str) -> None:
    assert "visit: app3_clue > app8_consolidation > app7_customer" in shown
    assert "figures: 72 of 72 steps in " in shown
    assert f"文静 is told once, and reads: {TACTIC['tactics'][0]['script']}" in shown
    assert "80 requests at DashScope, as many attempts on record" in shown


def test_the_evening_shows_the_next_mornings_campaign(shown: str) -> None:
    for words in (
        "wrote to 5 customer groups",
        "refused with BLOCK_WORD",
        "was refused with FOUR_EYES",
        "dry run: 5 groups, nothing at the platform",
        "3 owners asked, 4 groups reached",
        "1 not reached: owner_never_confirmed",
        "a top-up for 1 is a draft that waits for approval",
    ):
        assert words in shown


def test_the_campaigns_report_is_compared_with_the_platforms_tasks() -> None:
    report = report_pb2.CampaignReport(funnel=report_pb2.CoverageFunnel(asked=2, sent=1), final=True)
    rows = [{"chat_id": "wr1", "outcome": "sent"}, {"chat_id": "wr2", "outcome": "unsent"}]
    assert judge_report(report, [{"outcomes": rows}]) == []
    assert judge_report(report, [{"outcomes": rows}, {"outcomes": rows[:1]}]) == [
        "1 groups were asked for twice",
        "the platform asked for 2 groups and sent to 2; the report says 2 and 1",
    ]
    report.final = False
    assert judge_report(report, [{"outcomes": rows}]) == ["the campaign's report is not final"]


@pytest.mark.parametrize(
    ("theirs", "ours", "complaints"),
    [
        ((79, 100), (79, 100), []),
        ((80, 100), (79, 100), ["DashScope saw 80 requests, and 79 attempts are recorded"]),
        ((79, 101), (79, 100), ["DashScope billed 101 tokens, and 100 are charged"]),
    ],
)
def test_dashscopes_ledger_is_compared_with_ours(
    theirs: tuple[int, int], ours: tuple[int, int], complaints: list[str]
) -> None:
    assert judge_ledger(theirs, ours) == complaints


def test_a_step_of_the_club_that_has_no_result_is_a_complaint() -> None:
    step = run_pb2.Step(name="app6_note", status=run_pb2.STEP_STATUS_FAILED, reason="timeout")
    assert judge_run("note", None, 2) == ["the club's note: no run was started"]
    assert judge_run("note", run_pb2.Run(steps=[step]), 1) == [
        "the club's note: 1 steps of 1; not completed: app6_note timeout"
    ]
    step.status = run_pb2.STEP_STATUS_COMPLETED
    assert judge_run("note", run_pb2.Run(steps=[step]), 1) == []


def test_a_demo_in_a_pipe_is_plain_text(shown: str) -> None:
    assert "\x1b" not in shown
    assert "\r" not in shown


def test_the_demo_notices_what_did_not_arrive(tmp_path: Path) -> None:
    demo = start(tmp_path, "-c", FORGETFUL)
    out = end(demo)
    assert demo.returncode == 1
    assert "✗ member.upgraded: nothing arrived at 吴芳 (wufang)" in out
    assert list(tmp_path.iterdir()) == []


def test_the_demo_notices_that_the_customer_was_shown_another_line(tmp_path: Path) -> None:
    demo = start(tmp_path, "-c", DEAF)
    out = end(demo)
    assert demo.returncode == 1
    assert "✗ the customer's phone: message 8 was to be '【马骁】' by api, and is '【周岚】" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("chat", "complaints"),
    [
        ([("customer", "查看2"), ("api", "【马骁】…")], []),
        ([("customer", "查看2")], ["message 2 was to be '【马骁】' by api, and is '' by nobody"]),
        ([("customer", "查看2"), ("api", "【马骁】…"), ("api", "【马骁】…")], ["1 too many"]),
    ],
)
def test_a_chat_is_compared_word_for_word(chat: list[tuple[str, str]], complaints: list[str]) -> None:
    wanted = [("customer", ("查看2",)), ("api", ("【马骁】",))]
    assert compare(chat, wanted) == [f"the customer's phone: {words}" for words in complaints]


def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    demo = start(tmp_path, "-m", "cli.main", "demo")
    until(lambda: any(tmp_path.iterdir()), timeout=60)
    demo.send_signal(signal.SIGINT)
    out = end(demo)
    assert demo.returncode == 1
    assert "Traceback" not in out
    assert list(tmp_path.iterdir()) == []


def test_what_arrives_as_the_rules_say_is_no_complaint() -> None:
    found, strangers = attribute([Arrival(who, f"{ORDER.says}\n#k3f9", NOW) for who in ORDER.people], [ORDER])
    assert strangers == []
    assert complaints([ORDER], found) == []


@pytest.mark.parametrize(
    ("who", "complaint"),
    [
        (["wangdachu"], "order.created: nothing arrived at 李强 (liqiang)"),
        (["wangdachu", "liqiang", "liqiang"], "order.created: 1 too many at 李强 (liqiang)"),
        (["wangdachu", "liqiang", "chenjing"], "order.created: 1 too many at 陈静 (chenjing)"),
    ],
)
def test_every_difference_is_a_complaint(who: list[str], complaint: str) -> None:
    found, _ = attribute([Arrival(one, ORDER.says, NOW) for one in who], [ORDER])
    assert complaints([ORDER], found) == [complaint]


def test_words_of_no_event_are_strangers() -> None:
    stranger = Arrival("wangdachu", "【新订单】\n桌号：B02", NOW)
    assert attribute([stranger], [ORDER]) == ({}, [stranger])
