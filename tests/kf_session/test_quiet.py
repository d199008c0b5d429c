"""Quiet from 22:00 to 08:00 and a window that ends at 03:00: a match at 23:00 does as the policy says, over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reach.kf_session.v1 import intent_pb2
from reach.kf_session.v1 import push_pb2 as pb

from services.kf_session.store.tables import push, session
from tests.e2e.harness import STORE, eventually
from tests.kf_session.shop import WK, WM, Shop

POLICIES: Mapping[str, Mapping[str, str]] = {
    f"{WM}-earlier": {"closing": "earlier"},  # and too late for that: kept for the next window
    f"{WM}-digest": {"closing": "digest"},
    f"{WM}-drop": {"closing": "drop"},
    f"{WM}-too-late": {"closing": "earlier", "too_late": "drop"},
}
KEPT = {f"{WM}-earlier", f"{WM}-digest"}


async def _at(kf: Shop, instant: str) -> None:
    await kf.world.post("/sandbox/clock", set=f"{instant}+08:00", freeze=True)


async def _writes(kf: Shop, who: str) -> None:
    await kf.world.post("/sandbox/kf/messages", external_userid=who, open_kfid=WK, text="在吗")


async def _match(kf: Shop, number: int) -> None:
    """A new profile, which all of them look for."""
    profile = intent_pb2.Profile(profile_id=f"p{number}", display_name=f"人物{number}", text="懂AI")
    await kf.stub.UpsertProfile(intent_pb2.UpsertProfileRequest(store_id=STORE, profiles=[profile]))


async def _sent(kf: Shop) -> list[tuple[str, str]]:
    """To whom, and what."""
    return [(one["touser"], one["text"]["content"]) for one in await kf.calls("send_msg")]


async def _stands(kf: Shop) -> dict[str, set[tuple[str, str]]]:
    """By customer: status and what for, of the pushes that have not gone."""
    found: dict[str, set[tuple[str, str]]] = {}
    for row in await kf.rows(push):
        if row.status != "accepted":
            found.setdefault(row.external_userid, set()).add((row.status, row.hold_reason or row.reason))
    return found


async def test_a_match_at_eleven_follows_the_policy_and_is_no_error_at_eight(kf: Shop) -> None:
    people = [{"external_userid": who, "nickname": who} for who in POLICIES]
    await kf.world.declare(kf={"customers": people})
    await _at(kf, "2026-03-02T03:00:00")
    for who, policy in POLICIES.items():
        spec: dict[str, Any] = {"quiet_from": "22:00", "quiet_to": "08:00", "summary_time": "12:00", **policy}
        await kf.stub.UpdatePreferences(
            pb.UpdatePreferencesRequest(
                store_id=STORE, external_userid=who, preferences=pb.Preferences(**spec)
            )
        )
        words = intent_pb2.KeywordCondition(keywords=["AI"], mode=intent_pb2.KEYWORD_MODE_ANY)
        wanted = intent_pb2.IntentSpec(
            display_name="找AI", external_userid=who, conditions=[intent_pb2.Condition(keywords=words)]
        )
        await kf.stub.CreateIntent(intent_pb2.CreateIntentRequest(store_id=STORE, intent_id=who, spec=wanted))
        await _writes(kf, who)
    await kf.until(session, 4)

    await _at(kf, "2026-03-03T21:30:00")  # before the quiet nothing waits on purpose
    await _match(kf, 1)

    async def all_told() -> bool:
        return {who for who, _ in await _sent(kf)} == set(POLICIES)

    await eventually(all_told)

    await _at(kf, "2026-03-03T23:00:00")
    await _match(kf, 2)
    await _match(kf, 3)
    held = {who: {("deferred", "quiet_digest")} for who in KEPT}
    dropped = {who: {("suppressed", "quiet_outlasts_window")} for who in POLICIES.keys() - KEPT}

    async def judged() -> bool:
        return len(await kf.rows(push)) == 12 and await _stands(kf) == held | dropped

    await eventually(judged)

    await _at(kf, "2026-03-04T08:00:01")  # the window has ended five hours ago

    async def looked_at_again() -> bool:
        return await _stands(kf) == {who: {("deferred", "next_window")} for who in KEPT} | dropped

    await eventually(looked_at_again)
    assert len(await _sent(kf)) == 4, "nothing was tried, so nothing was refused"

    await _at(kf, "2026-03-04T09:00:00")
    for who in POLICIES:
        await _writes(kf, who)

    async def kept_are_told() -> bool:
        later = (await _sent(kf))[4:]
        return {who for who, _ in later} == KEPT

    await eventually(kept_are_told)
    later = dict((await _sent(kf))[4:])
    assert len((await _sent(kf))[4:]) == 2, "the two of each are one list"
    assert all("人物2" in text and "人物3" in text for text in later.values())
    states = {(row.status, row.reason) for row in await kf.rows(push) if row.external_userid in KEPT}
    assert states <= {("accepted", ""), ("suppressed", "merged")}
