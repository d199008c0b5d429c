"""Words by an application: asked for once, looked through, and an edit of whoever asked for them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from reach.campaign.v1 import campaign_pb2 as wire
from reach.campaign.v1 import candidate_pb2 as pb
from reach.campaign.v1 import tone_pb2, writing_pb2

from services.campaign.domain.candidates import LATEST, Answer, Written, window_said
from services.campaign.domain.window import Hours, SendWindow, default_window
from services.campaign.store import candidates as store
from services.campaign.store.campaign_tables import campaign
from tests.campaign.writing.room import Room, Script, refused, room, spec, tokens
from tests.e2e.harness import STORE, Sandbox, eventually


def answer(*texts: str, title: str = "") -> Answer:
    return Answer(
        candidates=tuple(Written(text, title, "利益", 50) for text in texts),
        run_id="run-1",
        app_version="v1",
        prompt_hash="ab" * 32,
        models=("qwen-plus",),
        input_tokens=300,
        output_tokens=100,
        total_tokens=400,
    )


async def generates(stub: Any, campaign_id: str, key: str = "", **more: Any) -> pb.CandidateSet:
    """GenerateContent."""
    asked = pb.GenerateContentRequest(campaign_id=campaign_id, idempotency_key=key, **more)
    made: pb.CandidateSet = (await stub.GenerateContent(asked)).candidate_set
    return made


async def over(stub: Any, set_id: str) -> pb.CandidateSet:
    """Wait until a set is over."""

    async def look() -> pb.CandidateSet | None:
        found = (await stub.GetCandidates(pb.GetCandidatesRequest(candidate_set_id=set_id))).candidate_set
        return found if found.status != pb.CANDIDATE_SET_STATUS_PENDING else None

    found = await eventually(look)
    assert found is not None
    return found


def use(set_id: str, number: int, **more: Any) -> pb.UseCandidateRequest:
    return pb.UseCandidateRequest(candidate_set_id=set_id, number=number, **more)


async def test_candidates_come_with_their_hits_and_where_they_come_from(desk: Room, script: Script) -> None:
    script.answers = [answer("全场返 現", "周五见", "看 evil.com")]
    tone = tone_pb2.Tone(
        name="warm",
        description="亲切",
        preferred_words=["鲜"],
        banned_words=["亲亲"],
        language_rules=["称呼用您"],
    )
    await desk.stub.SetTone(tone_pb2.SetToneRequest(tone=tone))
    made = await desk.creates(tone="warm", banned_words=["最低价"])
    asked = await generates(desk.stub, made.id, "k", candidate_count=3, language_rules=["不用表情"])
    assert (asked.status, list(asked.candidates)) == (pb.CANDIDATE_SET_STATUS_PENDING, [])
    assert (
        await generates(desk.stub, made.id, "k", candidate_count=3, language_rules=["不用表情"])
    ).id == asked.id
    found = await over(desk.stub, asked.id)
    assert found.status == pb.CANDIDATE_SET_STATUS_READY
    assert [(one.number, one.text) for one in found.candidates] == [
        (1, "周五见"),
        (2, "全场返 現"),
        (3, "看 evil.com"),
    ]
    (hit,) = found.candidates[1].hits
    assert (hit.field, hit.word, hit.start, hit.end, hit.found) == ("text", "返现", 2, 5, "返 現")
    assert found.candidates[2].hits[0].reason == "link"
    assert (found.run_id, found.app_version, found.prompt_hash, list(found.models)) == (
        "run-1",
        "v1",
        "ab" * 32,
        ["qwen-plus"],
    )
    assert (found.input_tokens, found.output_tokens, found.total_tokens) == (300, 100, 400)
    ((store_id, told, key),) = script.asked
    assert (store_id, key) == (STORE, f"campaign:{asked.id}:1")
    assert (told.theme, told.tone, told.count, told.max_chars) == ("新品到店", "亲切\n常用词：鲜", 3, 300)
    assert told.banned_words == ("最低价", "亲亲", "返现", "保本")
    assert told.language_rules == ("称呼用您", "不用表情")
    assert told.send_window == "每天 10:00–18:00"
    async with desk.database.read() as conn:
        assert await store.tokens_of(conn, made.id) == 400


async def test_a_candidate_that_is_used_is_an_edit_of_whoever_asked_and_whoever_uses_it(
    world: Sandbox, tmp_path: Path, postgres: str | None, script: Script
) -> None:
    bearers = await tokens(tmp_path / "home", postgres)
    async with room(world, tmp_path / "home", postgres, script) as desk:
        everyone, ann, ben, cat = (desk.bearing(bearers[name]) for name in ("all", "ann", "ben", "cat"))
        script.answers = [answer("周五见", "返现")]
        begin = writing_pb2.CreateCampaignRequest(store_id=STORE, spec=spec())
        made = (await everyone.CreateCampaign(begin)).campaign
        asked = await generates(ann, made.id)
        assert asked.asked_by == "ann"
        await over(ann, asked.id)
        one = pb.GetCandidatesRequest(candidate_set_id=asked.id)
        assert (await refused(cat.GetCandidates(one))).reason == "NOT_FOUND"
        assert (await refused(cat.UseCandidate(use(asked.id, 1)))).reason == "NOT_FOUND"
        assert (await refused(ben.UseCandidate(use(asked.id, 2)))).reason == "BLOCK_WORD"
        assert (await refused(ben.UseCandidate(use(asked.id, 3)))).reason == "NOT_FOUND"
        late = await refused(ben.UseCandidate(use(asked.id, 1, expected_version=7)))
        assert late.reason == "VERSION_CONFLICT"
        used = (await ben.UseCandidate(use(asked.id, 1, idempotency_key="k"))).campaign
        assert used.spec.content.text == "周五见"
        assert list(used.editors) == ["all", "ann", "ben"]
        assert (await ben.UseCandidate(use(asked.id, 1, idempotency_key="k"))).campaign == used
        got = await ann.GetCampaign(writing_pb2.GetCampaignRequest(campaign_id=made.id))
        assert {edit.kind for edit in got.edits if edit.version > 1} == {
            writing_pb2.CAMPAIGN_EDIT_KIND_AI_TEXT
        }
        (listed,) = (await ann.ListCandidates(pb.ListCandidatesRequest(campaign_id=made.id))).candidate_sets
        assert [one.used_version for one in listed.candidates] == [used.version, 0]
        assert (
            await refused(cat.ListCandidates(pb.ListCandidatesRequest(campaign_id=made.id)))
        ).reason == "NOT_FOUND"


async def test_a_card_becomes_title_and_description_of_the_link(desk: Room, script: Script) -> None:
    plain = await desk.creates()
    assert (await refused(generates(desk.stub, plain.id, form=pb.CANDIDATE_FORM_CARD))).violations[
        0
    ].field == "form"
    link = wire.Attachment(link=wire.LinkAttachment(title="旧", url="https://shop.example.com/a"))
    made = await desk.creates(content=wire.Content(text="看看", attachments=[link]))
    script.answers = [answer("尝鲜价", title="新品到店")]
    found = await over(desk.stub, (await generates(desk.stub, made.id, form=pb.CANDIDATE_FORM_CARD)).id)
    used = (await desk.stub.UseCandidate(use(found.id, 1))).campaign
    card = used.spec.content.attachments[0].link
    assert (card.title, card.description, used.spec.content.text) == ("新品到店", "尝鲜价", "看看")


async def test_a_shut_gate_is_asked_again_by_the_same_key_and_given_up_at_a_bound(
    desk: Room, script: Script
) -> None:
    made = await desk.creates()
    busy = Answer(reason="rate_limited", again=True, retry_after=timedelta(seconds=60))
    script.answers = [busy]
    asked = await generates(desk.stub, made.id)

    async def put_off() -> bool:
        request = pb.GetCandidatesRequest(candidate_set_id=asked.id)
        return bool((await desk.stub.GetCandidates(request)).candidate_set.reason == "rate_limited")

    assert await eventually(put_off)
    script.answers = [answer("周五见")]
    await desk.world.advance(61)
    assert (await over(desk.stub, asked.id)).status == pb.CANDIDATE_SET_STATUS_READY
    assert len({key for _, _, key in script.asked}) == 1

    script.answers = [busy]
    never = await generates(desk.stub, made.id)
    await eventually(lambda: _true(not script.answers))
    script.answers = [busy]
    await desk.world.advance(LATEST.total_seconds())
    ended = await over(desk.stub, never.id)
    assert (ended.status, ended.reason) == (pb.CANDIDATE_SET_STATUS_FAILED, "rate_limited")


async def _true(value: bool) -> bool:
    return value


async def test_what_gave_nothing_is_asked_anew_once_and_then_given_up(desk: Room, script: Script) -> None:
    made = await desk.creates()
    nothing = Answer(reason="copy_refused:no_candidate", anew=True, run_id="run-9")
    script.answers = [nothing, nothing]
    ended = await over(desk.stub, (await generates(desk.stub, made.id)).id)
    assert (ended.status, ended.reason, ended.run_id) == (
        pb.CANDIDATE_SET_STATUS_FAILED,
        "copy_refused:no_candidate",
        "run-9",
    )
    assert [key[-2:] for _, _, key in script.asked] == [":1", ":2"]
    failure = await refused(desk.stub.UseCandidate(use(ended.id, 1)))
    assert (failure.reason, failure.facts["state"]) == ("STATE_INVALID", "failed")


async def test_without_a_theme_nothing_is_asked_for(desk: Room) -> None:
    made = await desk.creates(theme="")
    assert (await refused(generates(desk.stub, made.id))).violations[0].field == "campaign_id"
    assert (await refused(generates(desk.stub, "nowhere"))).reason == "NOT_FOUND"
    assert len(await desk.rows(campaign)) == 1


def test_a_window_is_said_in_words() -> None:
    ten, six = Hours.read("10:00", "12:00", field="f"), Hours.read("18:00", "24:00", field="f")
    assert window_said(default_window("Asia/Shanghai")) == "每天 10:00–18:00"
    two = SendWindow("Asia/Shanghai", ((4, (ten, six)), (5, (ten, six)), (0, (ten,)), (1, ())))
    assert window_said(two) == "周五、周六 10:00–12:00、18:00–24:00；周一 10:00–12:00"
