"""``reach groups`` and ``reach campaign``: from the groups to the top-up, as people of a store drive a suite that sends."""

from __future__ import annotations

import csv
import json
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from reach.campaign.v1 import campaign_pb2, campaign_service_pb2_grpc, writing_pb2

from tests.cli.conftest import STORE
from tests.cli.support import PORTS, Done, Reach
from tests.support.process import Program, until

CORP = "wwdemo"
SCOPES = "campaign.read,campaign.write,campaign.approve,campaign.operate"
LI, WU = ("wr-li-0", "wr-li-1"), ("wr-wu-0",)


class People:
    """Two people of a store, the suite they use, and the sandbox beside it."""

    def __init__(self, reach: Reach, tokens: Mapping[str, str], facts: Mapping[str, str]) -> None:
        self.reach, self.tokens, self.facts = reach, tokens, facts
        self.synced = ""
        """What the first ``reach groups sync`` said."""

    def __call__(self, who: str, *arguments: str, stdin: str = "") -> Done:
        """What *who* does."""
        return self.reach(*arguments, stdin=stdin, REACH_TOKEN=self.tokens[who])

    def does(self, who: str, *arguments: str, stdin: str = "") -> str:
        """The same, which must go well; what it prints."""
        done = self(who, *arguments, stdin=stdin)
        assert done.code == 0, done.err
        return done.out

    def refused(self, who: str, *arguments: str, stdin: str = "", code: int = 1) -> str:
        """The same, which must not; what it says."""
        done = self(who, *arguments, stdin=stdin)
        assert done.code == code, done.out
        return done.err

    def world(self, path: str, **body: Any) -> Any:
        """Steer the sandbox."""
        request = urllib.request.Request(
            f"{self.facts['sandbox']}{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def writes(self, text: str, **spec: Any) -> str:
        """Ann writes a campaign; its id."""
        request = writing_pb2.CreateCampaignRequest(
            store_id=STORE,
            spec=campaign_pb2.CampaignSpec(
                name="春日",
                content=campaign_pb2.Content(text=text),
                audience={"every_group": True},
                window=campaign_pb2.SendWindow(time_zone=_where_it_is_noon()),
                **spec,
            ),
        )
        with grpc.insecure_channel(self.facts["grpc"]) as channel:
            stub = campaign_service_pb2_grpc.CampaignServiceStub(channel)
            bearing = (("authorization", f"Bearer {self.tokens['ann']}"),)
            made: str = stub.CreateCampaign(request, metadata=bearing, timeout=30).campaign.id
        return made

    def approved(self, text: str, **spec: Any) -> str:
        """A campaign that ann wrote and ben approved."""
        campaign_id = self.writes(text, **spec)
        self.does("ben", "campaign", "approve", campaign_id, "--hash", self.submitted(campaign_id))
        return campaign_id

    def submitted(self, campaign_id: str) -> str:
        """Ann submits a campaign; what is to be approved."""
        return self.does("ann", "campaign", "submit", campaign_id).split()[-1]


def _where_it_is_noon() -> str:
    """A zone whose clocks show about noon: nobody is asked at night."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """Ann and ben of a store whose groups are known."""
    place = tmp_path_factory.mktemp("campaign")
    home = {"REACH_HOME": str(place / "home"), "REACH_DEFAULT_STORE": STORE}
    reach, tokens = Reach(place, **home), {}
    for name in ("ann", "ben"):
        done = reach("token", "create", name, "--kind", "human", "--scopes", SCOPES, "--stores", STORE)
        assert done.code == 0, done.err
        tokens[name] = done.out.strip()
        reach("token", "login", REACH_TOKEN=tokens[name])
    sends = {"WECOM_CUSTOMER_DRY_RUN": "false", "WECOM_CUSTOMER_BLOCK_WORDS": "返现"}
    with Program("reach up", ["-m", "cli.main", "up"], {**home, **PORTS, **sends}) as program:
        facts = program.ready().facts
        made = People(reach.with_(REACH_NOTIFIER_TARGET=facts["grpc"]), tokens, facts)
        made.world("/sandbox/directory", corp_id=CORP, users=[{"userid": "li"}, {"userid": "wu"}])
        for chat_id in (*LI, *WU):
            made.world("/sandbox/groups", chat_id=chat_id, owner=chat_id.split("-")[1], name=f"群{chat_id}")
        made.world("/sandbox/owners/li/behaviour", behaviour="at_once", delay_seconds=0)
        made.world("/sandbox/owners/wu/behaviour", behaviour="never")
        made.synced = made.does("ann", "groups", "sync")
        yield made
        assert program.stop() == 0, program.output()


def test_groups_are_synchronised_and_listed(people: People) -> None:
    assert people.synced.startswith("finished: 3 listed, ")
    assert people.synced.endswith("0 gone, 0 denied, 0 failed\n")
    listed = people.does("ann", "groups", "list")
    assert all(chat_id in listed for chat_id in (*LI, *WU))
    of_wu = people.does("ann", "groups", "list", "--owner", "wu", "--store", STORE)
    assert WU[0] in of_wu
    assert LI[0] not in of_wu
    assert "no group is known" in people.does("ann", "groups", "list", "--label", "vip")
    again = people.does("ann", "groups", "sync", "--whole")
    assert "3 listed, 0 added" in again


def test_a_preview_shows_the_words_the_groups_and_what_is_in_the_way(people: People) -> None:
    campaign_id = people.writes("周三上新")
    shown = people.does("ann", "campaign", "preview", campaign_id)
    assert "周三上新" in shown
    assert "3 groups of 2 owners (as of now), 0 left out" in shown
    assert "in its way: not_submitted" in shown
    assert "there is no such campaign" in people.refused("ann", "campaign", "preview", "other")


def test_campaigns_are_listed_by_state(people: People) -> None:
    campaign_id = people.writes("周四上新")
    assert campaign_id in people.does("ann", "campaign", "list", "--status", "draft", "--store", STORE)
    assert "no campaign yet" in people.does("ann", "campaign", "list", "--status", "missed")
    said = people.refused("ann", "campaign", "list", "--status", "sleeping", code=2)
    assert "--status: there is no sleeping; there is: draft, pending_approval" in said


def test_an_approval_is_somebody_else_s_and_of_what_was_seen(people: People) -> None:
    campaign_id = people.writes("周五上新")
    seen = people.submitted(campaign_id)
    assert "FOUR_EYES" in people.refused("ann", "campaign", "approve", campaign_id, "--hash", seen)
    assert "APPROVAL_STALE" in people.refused("ben", "campaign", "approve", campaign_id, "--hash", "0" * 64)
    said = people.does("ben", "campaign", "reject", campaign_id, "--comment", "太早")
    assert "draft" in said
    people.submitted(campaign_id)
    people.refused("ben", "campaign", "approve", campaign_id, stdin="n\n", code=2)
    asked = people.does("ben", "campaign", "approve", campaign_id, "--comment", "好", stdin="y\n")
    assert "周五上新" in asked
    assert "approved, by ben; holds until" in asked
    told = people.does("ann", "campaign", "history", campaign_id)
    for word in ("created", "draft → pending_approval", "rejected", "太早", "approved", "好"):
        assert word in told


def test_without_being_told_twice_a_run_is_for_show(people: People) -> None:
    campaign_id = people.writes("周六上新")
    assert "it has not been run" in people.refused("ann", "campaign", "report", campaign_id)
    assert "dry run" in people.does("ann", "campaign", "run", campaign_id)

    def simulated() -> str:
        shown = people.does("ann", "campaign", "report", campaign_id)
        return shown if "3 simulated" in shown else ""

    shown = until(simulated)
    assert "3 groups → 3 included → 3 asked → 0 confirmed → 0 sent (0.0%)" in shown
    assert "final" in shown
    assert "STATE_INVALID" in people.refused("ann", "campaign", "run", campaign_id, "--live")


def test_a_campaign_runs_is_held_goes_on_is_stopped_and_topped_up(people: People, tmp_path: Path) -> None:
    canary = campaign_pb2.Canary(owners=1, wait={"seconds": 3600})
    campaign_id = people.approved("周日上新", canary=canary)
    assert "running; run " in people.does("ann", "campaign", "run", campaign_id, "--live")
    asked = ("campaign", "targets", campaign_id, "--status", "awaiting_owner")
    until(lambda: LI[1] in people.does("ann", *asked))
    assert WU[0] not in people.does("ann", *asked)
    waiting = people.does("ann", "campaign", "targets", campaign_id, "--owner", "wu")
    assert "planned" in waiting
    assert "canary" in waiting
    assert "paused (by_hand)" in people.does("ann", "campaign", "pause", campaign_id, "--comment", "等等")
    assert "running" in people.does("ann", "campaign", "resume", campaign_id)
    assert "TARGETS_OPEN" not in people.refused("ann", "campaign", "top-up", campaign_id)
    assert "cancelled" in people.does("ann", "campaign", "cancel", campaign_id)

    def final() -> dict[str, Any] | None:
        found = json.loads(people.does("ann", "campaign", "report", campaign_id, "--json"))
        return found if found.get("final") else None

    told = until(final)
    assert (told["funnel"]["included"], told["funnel"]["sent"]) == (3, 2)
    shown = people.does("ann", "campaign", "report", campaign_id)
    assert "2 sent, 1 cancelled" in shown
    assert "campaign_cancelled" in shown
    assert "AUDIENCE_EMPTY" in people.refused("ann", "campaign", "top-up", campaign_id)
    said = people.refused("ann", "campaign", "top-up", campaign_id, "--outcome", "lost", code=2)
    assert "--outcome: there is no lost" in said
    made = people.does("ann", "campaign", "top-up", campaign_id, "--outcome", "cancelled", "--name", "再来")
    assert "draft; 1 groups" in made
    child = made.split()[0]
    assert f"reach campaign submit {child}" in made
    assert "1 groups of 1 owners" in people.does("ann", "campaign", "preview", child)
    assert f"topped up by {child}: 1 groups, draft" in people.does("ann", "campaign", "report", campaign_id)
    _exported(people, campaign_id, tmp_path)
    _explained(people, campaign_id)


def _exported(people: People, campaign_id: str, place: Path) -> None:
    file = place / "report.csv"
    assert people.does("ann", "campaign", "report", campaign_id, "--csv", str(file)) == "3 groups\n"
    with file.open(encoding="utf-8", newline="") as table:
        found = {row["chat_id"]: row["status"] for row in csv.DictReader(table)}
    assert found == {LI[0]: "sent", LI[1]: "sent", WU[0]: "cancelled"}
    [head, *lines] = people.does("ann", "campaign", "report", campaign_id, "--csv", "-").splitlines()
    assert head.startswith("chat_id,name,owner,")
    assert [line.split(",")[0] for line in lines] == [*LI, *WU]
    people.refused("ann", "campaign", "report", "other", "--csv", str(file))
    assert file.stat().st_size > 0
    assert [one.name for one in place.iterdir()] == ["report.csv"]
    assert "cannot write" in people.refused(
        "ann", "campaign", "report", campaign_id, "--csv", str(place / "no" / "x")
    )


def _explained(people: People, campaign_id: str) -> None:
    story = people.does("ann", "explain", campaign_id, "--lang", "en")
    assert "ben approved it" in story
    assert "it is cancelled (ann): by hand" in story
    of_group = people.does("ann", "explain", LI[0], "--lang", "zh")
    assert "平台称已发送" in of_group
    [told] = [
        one for one in json.loads(people.does("ann", "explain", LI[0], "--json"))["campaigns"]
        if one["campaign_id"] == campaign_id
    ]  # fmt: skip
    assert told["verdict"] == "sent"


def test_what_more_there_is_than_is_shown_is_said(people: People) -> None:
    campaign_id = people.writes("周一上新")
    people.does("ann", "campaign", "run", campaign_id)
    done = people("ann", "campaign", "targets", campaign_id, "--most", "2")
    assert done.code == 0
    assert LI[1] in done.out
    assert WU[0] not in done.out
    assert "and more" in done.err
    assert "and more" not in people("ann", "campaign", "targets", campaign_id, "--most", "3").err
