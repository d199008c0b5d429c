"""A model is asked about matches from rows: once for each state, outside transactions, and nothing depends on an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from services.kf_session.domain.asking import TRIES, Answer, Kind
from services.kf_session.pipeline.asking import LEASE, Asking
from services.kf_session.store import questions
from services.kf_session.store.matching_tables import match, question
from services.kf_session.store.tables import push, push_note
from services.kf_session.usecases.stories import Stories
from shared.clock import ManualClock
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from shared.telemetry.metrics import Metrics
from tests.kf_session.matching_support import STORE, Bench, ai_intent, ai_profile

OPINION = Answer({"score": 0.4, "reason": "正在学，还不懂"})


@dataclass
class Told:
    """Answers as it is told, and remembers what it was asked."""

    answer: Answer = OPINION
    asked: list[tuple[Kind, Mapping[str, Any], str]] = field(default_factory=list)
    meanwhile: Any = None

    async def ask(
        self, kind: Kind, store_id: str, given: Mapping[str, Any], key: str, deadline: float
    ) -> Answer:
        assert (store_id, deadline > 0) == (STORE, True)
        self.asked.append((kind, given, key))
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.answer


def _asking(bench: Bench, model: Told) -> Asking:
    return Asking(bench.database, model, bench.clock, Metrics(), "a")


async def _story(bench: Bench, ident: str) -> list[str]:
    return [step.en for step in await Stories(bench.database).of(ident, None)]


async def test_an_opinion_stands_beside_the_score_and_is_asked_for_once_for_each_state(bench: Bench) -> None:
    model = Told()
    asking = _asking(bench, model)
    await bench.open_session()
    await bench.write_profiles(ai_profile(1))
    await bench.create(ai_score=True, auto=False)
    await bench.settle()
    (one,) = await bench.matches()
    assert "an AI score is asked for" in await _story(bench, one.id)
    assert await asking.once() == 1
    (one,) = await bench.matches()
    assert (one.score, one.ai_score, one.ai_reason) == (1.0, 0.4, "正在学，还不懂")
    assert "AI score 40%: 正在学，还不懂" in await _story(bench, one.id)
    ((kind, given, key),) = model.asked
    assert (kind, key.startswith(f"{Kind.SCORE.value}:{one.id}:"), "张1" in str(given)) == (
        Kind.SCORE,
        True,
        False,
    )

    await bench.write_profiles(ai_profile(1))  # as it was
    await bench.settle()
    assert await asking.once() == 0
    await bench.write_profiles(ai_profile(1, "懂AI，做过三年"))
    await bench.settle()
    (one,) = await bench.matches()
    assert (one.ai_score, one.ai_reason) == (None, "")  # the old one is of another profile
    assert await asking.once() == 1
    assert len({key for _, _, key in model.asked}) == 2
    off = ai_intent(auto=False, now=bench.clock.now())
    with acting_as(LOCAL_OPERATOR):
        await bench.intents.update(off, 0, once=bench.once("UpdateIntent"))
    await bench.settle()
    (one,) = await bench.matches()
    assert (one.ai_score, await bench.rows(question)) == (None, [])


async def test_no_answer_leaves_the_match_as_it_is_after_a_bounded_number_of_tries(
    bench: Bench, manual_clock: ManualClock
) -> None:
    model = Told(Answer(reason="deadline_exceeded", again=True))
    asking = _asking(bench, model)
    await bench.open_session()
    await bench.write_profiles(ai_profile(1))
    await bench.create(ai_score=True)
    await bench.settle()
    assert len(await bench.pushes()) == 1  # nothing waited for it
    for _ in range(TRIES + 2):
        await asking.once()
        manual_clock.advance(timedelta(minutes=1))
    assert len(model.asked) == TRIES
    assert len({key for _, _, key in model.asked}) == 1
    (one,) = await bench.matches()
    assert one.ai_score is None
    assert "no AI score: deadline_exceeded" in await _story(bench, one.id)


async def test_an_answer_about_what_has_changed_meanwhile_counts_for_nothing(
    bench: Bench, manual_clock: ManualClock
) -> None:
    async def change() -> None:
        model.meanwhile = None
        await bench.write_profiles(ai_profile(1, "不懂AI"))
        await bench.settle()

    model = Told(meanwhile=change)
    asking = _asking(bench, model)
    await bench.write_profiles(ai_profile(1))
    await bench.create(ai_score=True, auto=False)
    await bench.settle()
    assert await asking.once() == 1
    (one,) = await bench.matches()
    assert one.ai_score is None
    model.answer = Answer({"score": 0.1, "reason": "不懂"})
    assert await asking.once() == 1
    (one,) = await bench.matches()
    assert one.ai_score == 0.1

    # Who died with a question in hand is followed when the lease is over.
    await bench.write_profiles(ai_profile(2))
    await bench.settle()

    await bench.database.transact(
        lambda conn: _claim(conn, bench)  # claimed, and never settled
    )
    assert await asking.once() == 0
    manual_clock.advance(LEASE + timedelta(seconds=1))
    assert await asking.once() == 1


async def _claim(conn: Any, bench: Bench) -> None:
    assert await questions.claim(conn, "dead", bench.clock.now(), LEASE, 5)


async def test_the_words_of_a_model_take_the_templates_place_only_where_the_facts_bear_them(
    bench: Bench, manual_clock: ManualClock
) -> None:
    good = "为您找到合适的人：张1，懂AI，匹配度100%。回复“查看1”了解详情，回复“退订”不再接收"
    model = Told(Answer({"text": good}))
    asking = _asking(bench, model)
    await bench.open_session()
    await bench.create(ai_text=True)
    await bench.write_profiles(ai_profile(1))
    await bench.settle()
    assert await asking.once() == 1
    (one,) = await bench.pushes()
    assert one.content == {"msgtype": "text", "text": {"content": good}}
    assert (await _notes(bench, one.id)) == [("words", "ai_text_used", {})]
    assert model.asked[0][1]["联系人"] == "张1"

    model.answer = Answer({"text": good.replace("张1", "张2") + "电话13800138000"})
    await bench.write_profiles(ai_profile(2))
    await bench.settle()
    assert await asking.once() == 1
    (two,) = [row for row in await bench.pushes() if row.id != one.id]
    assert "13800138000" not in str(two.content)
    assert "张2" in str(two.content)
    why = {"why": "refused_number_not_in_facts"}
    assert await _notes(bench, two.id) == [("words", "ai_text_not_used", why)]
    told = "words: it goes with the template's words, not a model's: refused_number_not_in_facts"
    assert told in await _story(bench, two.id)

    # What has been sent meanwhile keeps what was sent.
    async def send() -> None:
        async with bench.database.write() as conn:
            await conn.execute(sa.update(push).values(status="accepted"))

    model.answer, model.meanwhile = Answer({"text": good.replace("张1", "张3")}), send
    await bench.write_profiles(ai_profile(3))
    await bench.settle()
    assert await asking.once() == 1
    (three,) = [row for row in await bench.pushes() if row.id not in (one.id, two.id)]
    assert "合适的人" not in str(three.content)
    assert await _notes(bench, three.id) == [("words", "ai_text_not_used", {"why": "too_late"})]
    manual_clock.advance(timedelta(seconds=1))
    assert {row.ai_score for row in await bench.rows(match)} == {None}


async def _notes(bench: Bench, push_id: str) -> list[tuple[str, str, Any]]:
    found = await bench.rows(push_note, push_note.c.push_id == push_id)
    return [(row.gate, row.reason, row.facts) for row in found]
