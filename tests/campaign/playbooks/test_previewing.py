"""What a playbook would do, told beforehand: which groups on which days; and what it refuses to start with."""

from __future__ import annotations

import pytest

from services.campaign.domain.tone import Tone
from services.campaign.store import tones
from services.campaign.store.playbook_tables import playbook_run
from services.campaign.store.tones import KeptTone
from services.campaign.usecases.playbooks import Preview, Wish
from shared.errors import Invalid, NotFound
from tests.campaign.playbooks.house import DAY, HOUR, NOON, RECALL, STORE, WARM_UP, WELCOME, House
from tests.campaign.playbooks.test_running import WORDS


async def preview(
    house: House, playbook: str, said, *, days: int = 0, start: str = "", after: str = "", limit: int = 100
) -> Preview:
    wish = Wish(STORE, playbook, said, start)
    return await house.side.playbooks.preview(wish, days, after=after, limit=limit)


def told(found: Preview) -> dict[str, list[tuple[str, str, str]]]:
    steps = found.calendar.playbook.steps
    return {
        one.facts.chat_id: [
            (str(touch.occurrence.day), steps[touch.occurrence.step].name, touch.reason)
            for touch in one.touches
        ]
        for one in found.played.groups
    }


async def test_a_preview_names_groups_days_and_why_some_are_left_out(house: House):
    await house.group("wr1", created=NOON - DAY)
    await house.group("wr2", created=NOON + 5 * HOUR)
    await house.group("left", created=NOON - DAY, status="owner_left")
    await house.group("old")
    found = await preview(house, "welcome", WELCOME, days=14)
    assert told(found) == {
        "left": [
            ("2026-03-02", "hello", "owner_left"),
            ("2026-03-04", "guide", "owner_left"),
            ("2026-03-08", "gift", "owner_left"),
        ],
        "wr1": [("2026-03-02", "hello", ""), ("2026-03-04", "guide", ""), ("2026-03-08", "gift", "")],
        "wr2": [("2026-03-03", "hello", ""), ("2026-03-05", "guide", ""), ("2026-03-09", "gift", "")],
    }
    counts = found.played.counts
    assert counts is not None
    assert len(found.played.occurrences) == len(counts) == 42
    first = counts[found.played.occurrences[0].place]
    assert (first.groups, first.excluded) == (1, {"owner_left": 1})
    assert await house.rows(playbook_run) == []


async def test_what_was_previewed_is_what_comes(house: House):
    """For each playbook: the groups and days of the preview are those of the campaigns that are drafted."""
    for number in range(12):
        created = NOON - number * DAY
        await house.group(f"young{number:02}", created=created, members=1 + number % 4)
        stirred = NOON - (24 + number) * DAY
        await house.group(f"quiet{number:02}", stirred=stirred, members=1 + number % 4)
    await house.group("gone", stirred=NOON - 40 * DAY, gone_reason="dismissed", gone_at=NOON)
    for playbook, said in (("welcome", WELCOME), ("warm_up", WARM_UP), ("silent_recall", RECALL)):
        foreseen = told(await preview(house, playbook, said, days=20))
        run_id = await house.start(playbook, said)
        house.script.answers = [WORDS] * 40
        before = len(await house.campaigns())
        await house.until(house.clock.now() + 20 * DAY)
        come: dict[str, list[tuple[str, str, str]]] = {}
        steps = (await house.view(run_id)).run.definition["steps"]
        by_id = {one.id: one for one in await house.campaigns()}
        for one in await house.seen(run_id):
            if str(one.happened.day) > "2026-03-21" and playbook == "welcome":
                continue
            for draft in one.drafts:
                for chat_id in by_id[draft.campaign_id].spec.audience["chat_ids"]:
                    place = (str(one.happened.day), steps[one.happened.step]["name"], "")
                    come.setdefault(chat_id, []).append(place)
        assert come
        assert come == foreseen, playbook
        assert len(by_id) > before
        house.clock.advance(NOON - house.clock.now())


async def test_groups_come_in_pages_and_counts_on_the_first_alone(house: House):
    for number in range(5):
        await house.group(f"wr{number}")
    first = await preview(house, "warm_up", WARM_UP, limit=3)
    assert (list(told(first)), first.played.counts is not None) == (["wr0", "wr1", "wr2"], True)
    assert {one.groups for one in first.played.counts.values()} == {5}
    rest = await preview(house, "warm_up", WARM_UP, after="wr2", limit=3)
    assert (list(told(rest)), rest.played.counts) == (["wr3", "wr4"], None)


async def test_groups_that_have_no_room_on_the_day_are_foreseen(house: House):
    await house.group("wr1", created=NOON - DAY)
    await house.group("wr2", created=NOON - DAY)
    house.caps.known = {"wr1": "1 a day"}
    found = await preview(house, "welcome", WELCOME, days=1)
    assert found.played.counts is not None
    first = found.played.counts[found.played.occurrences[0].place]
    assert (first.groups, first.no_slot, first.excluded) == (2, 1, {})
    assert [[touch.no_slot for touch in one.touches] for one in found.played.groups] == [["1 a day"], [""]]


async def test_steps_whose_day_is_over_are_told(house: House):
    await house.group("wr1")
    found = await preview(house, "warm_up", {**WARM_UP, "event_date": "2026-03-05"})
    assert found.skipped == ["notice"]
    assert [str(one.day) for one in found.played.occurrences] == ["2026-03-02", "2026-03-04", "2026-03-05"]
    later = await preview(house, "warm_up", {**WARM_UP, "event_date": "2026-03-12"}, start="2026-03-10")
    assert later.skipped == ["notice", "highlight"]


async def test_a_step_behind_another_one_waits_for_its_days_and_its_weekday(house: House):
    await house.group("quiet", stirred=NOON - 40 * DAY)
    found = await preview(house, "silent_recall", {**RECALL, "second_after": "3"})
    assert told(found) == {"quiet": [("2026-03-03", "greeting", ""), ("2026-03-10", "reason", "")]}


@pytest.mark.parametrize(
    ("playbook", "more", "reason", "field"),
    [
        ("warm_up", {"event": "返 现节"}, "BLOCK_WORD", "parameters.event"),
        ("warm_up", {"link": "https://evil.example.com/a"}, "URL_NOT_ALLOWED", "parameters.link"),
        ("warm_up", {"highlight": "看 evil.com 有惊喜"}, "URL_NOT_ALLOWED", "parameters.highlight"),
        ("warm_up", {"tone": "nobody"}, "FIELD_INVALID", "parameters.tone"),
        ("warm_up", {"event_date": "2026-03-02"}, "FIELD_INVALID", "parameters.event_date"),
        ("warm_up", {"event_date": "soon"}, "FIELD_INVALID", "parameters.event_date"),
        ("warm_up", {"place": "x"}, "FIELD_INVALID", "parameters.place"),
        ("warm_up", {"rest_days": "0"}, "FIELD_INVALID", "parameters.rest_days"),
        ("warm_up", {"send_from": "19:00"}, "FIELD_INVALID", "parameters.send_until"),
        ("warm_up", {"colour": "red"}, "FIELD_INVALID", "parameters.colour"),
        ("welcome", {"draft_at": "11:00"}, "FIELD_INVALID", "parameters.draft_at"),
        ("welcome", {"brand": ""}, "FIELD_INVALID", "parameters.brand"),
    ],
)
async def test_what_may_not_be_said_is_named_before_anything_starts(
    house: House, playbook: str, more, reason: str, field: str
):
    said = {**(WARM_UP if playbook == "warm_up" else WELCOME), **more}
    for call in (house.start(playbook, said), preview(house, playbook, said)):
        with pytest.raises(Invalid) as caught:
            await call
        assert caught.value.reason == reason
        assert {one.field for one in caught.value.violations} == {field}
    assert await house.rows(playbook_run) == []


async def test_words_of_the_playbook_itself_are_named_by_its_step(house: House):
    tone = Tone("warm", "亲切", banned_words=("新品",))
    async with house.database.write() as conn:
        await tones.keep(conn, KeptTone(STORE, tone, "ann", NOON))
    with pytest.raises(Invalid) as caught:
        await house.start("welcome", {**WELCOME, "tone": "warm"})
    assert caught.value.reason == "BLOCK_WORD"
    assert [one.field for one in caught.value.violations] == ["steps[0].content.text"]


async def test_a_day_to_begin_on_is_named_where_it_is_none(house: House):
    for start in ("tomorrow", "2026-03-01", "2026-12-01"):
        with pytest.raises(Invalid) as caught:
            await house.start("welcome", WELCOME, start=start)
        assert caught.value.violations[0].field == "start_date"
    with pytest.raises(Invalid) as caught:
        await preview(house, "warm_up", {**WARM_UP, "event_date": "2026-03-13"}, start="2026-03-14")
    assert caught.value.violations[0].field == "parameters.event_date"
    with pytest.raises(NotFound):
        await house.start("nothing", {})
