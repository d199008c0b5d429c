"""Profiles, intents and matches by gRPC: a real server, a real channel, both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from reach.kf_session.v1 import intent_pb2 as pb
from reach.kf_session.v1 import kf_session_service_pb2, kf_session_service_pb2_grpc

from services.kf_session.intent_service import SCOPES, IntentMethods
from services.kf_session.store.matching_tables import profile_term
from services.kf_session.store.tables import push
from shared.db.tables import audit_entry
from shared.rpc import client
from shared.rpc.guard import GuardRules
from shared.rpc.health import HealthBoard
from shared.rpc.paging import PageTokens
from shared.rpc.principal import Principal
from shared.rpc.server import RpcServer
from tests.e2e.harness import refused
from tests.kf_session.matching_support import CUSTOMER, KFID, STORE, Bench
from tests.rpc.conftest import Callers

SERVICE = "reach.kf_session.v1.KfSessionService"
CONTRACT = kf_session_service_pb2.DESCRIPTOR.services_by_name["KfSessionService"]


class _Servicer(IntentMethods):
    def __init__(self, bench: Bench) -> None:
        self._profiles, self._intents, self._clock = bench.profiles, bench.intents, bench.clock
        self._tokens, self._default_store = PageTokens(bytes(32)), STORE


class _Callers:
    """Who may call: the holder of everything, and a till of one store that may only read."""

    def __init__(self) -> None:
        self.inner = Callers()
        reader = frozenset({"kf.read"})
        self.inner.known["reader"] = Principal("till", "service", reader, frozenset({STORE}))

    async def authenticate(self, token: str | None) -> Principal:
        return await self.inner.authenticate(token)


@asynccontextmanager
async def _serve(bench: Bench, folder: Path, token: str | None = None) -> AsyncIterator[Any]:
    health = HealthBoard([SERVICE], period=0.05)
    add = partial(
        kf_session_service_pb2_grpc.add_KfSessionServiceServicer_to_server,
        _Servicer(bench),  # type: ignore[abstract]  # the other methods have rooms of their own
    )
    server = RpcServer(
        f"unix:{folder}/kf-{token}",
        [add],
        rules=GuardRules(SCOPES),
        authenticator=_Callers(),  # type: ignore[arg-type]
        health=health,
    )
    channel = client.channel(await server.start(), CONTRACT, token=token)
    try:
        yield kf_session_service_pb2_grpc.KfSessionServiceStub(channel)
    finally:
        await channel.close()
        await server.stop(0)


@pytest.fixture
async def kf(bench: Bench, tmp_path: Path) -> AsyncIterator[Any]:
    """The service, for who may do everything."""
    async with _serve(bench, tmp_path) as stub:
        yield stub


def _profile(profile_id: str, text: str = "懂AI", **fields: pb.FieldValue) -> pb.Profile:
    return pb.Profile(profile_id=profile_id, display_name=f"名{profile_id}", text=text, fields=fields)


def _spec(**more: Any) -> pb.IntentSpec:
    conditions = [
        pb.Condition(
            keywords=pb.KeywordCondition(keywords=["AI", "人工智能"], mode=pb.KEYWORD_MODE_ANY),
            weight=3,
            required=True,
        ),
        pb.Condition(field=pb.FieldCondition(field="城市", test=pb.FIELD_TEST_EQUALS, values=["北京"])),
        pb.Condition(number_range=pb.NumberRange(field="经验", at_least=3)),
        pb.Condition(day_range=pb.DayRange(field="入职", last=pb.Day(date="2026-01-01"))),
    ]
    given = {
        "display_name": "寻找AI合作伙伴",
        "conditions": conditions,
        "external_userid": CUSTOMER,
        "min_score": 0.5,
    }
    return pb.IntentSpec(**(given | more))


async def test_from_a_profile_to_a_push(kf: Any, bench: Bench) -> None:
    await bench.open_session()
    best = _profile(
        "p1",
        城市=pb.FieldValue(text="北京"),
        经验=pb.FieldValue(number=5),
        入职=pb.FieldValue(day=pb.Day(date="2025-06-30")),
    )
    written = await kf.UpsertProfile(
        pb.UpsertProfileRequest(profiles=[best, _profile("p2"), _profile("p3", "做AI教育")])
    )
    assert list(written.changed_profile_ids) == ["p1", "p2", "p3"]
    made = await kf.CreateIntent(pb.CreateIntentRequest(intent_id="i1", spec=_spec(manual_push=True)))
    assert (made.intent.version, made.intent.store_id) == (1, STORE)

    preview = await kf.MatchIntent(pb.MatchIntentRequest(intent_id="i1", preview_only=True))
    assert [(one.profile_id, one.score, one.match_id) for one in preview.matches] == [
        ("p1", 1.0, ""),
        ("p2", 0.5, ""),
        ("p3", 0.5, ""),
    ]
    found = await kf.MatchIntent(pb.MatchIntentRequest(intent_id="i1", max_matches=1))
    (match,) = found.matches
    assert match.explanation == (
        "4项条件中满足4项（匹配度100%）：提到“AI”；城市是“北京”；经验为5（经验不低于3）；"
        "入职为2025-06-30（入职不高于2026-01-01）。"
    )
    assert match.matched_conditions[0] == "提到“AI”、“人工智能”之一"
    assert not match.HasField("ai_score")
    assert await bench.pushes() == []

    request = pb.PushMatchesRequest(intent_id="i1", max_matches=2, idempotency_key="k1")
    told = await kf.PushMatches(request)
    assert [(one.profile_id, one.pushed) for one in told.matches] == [("p1", True), ("p2", True)]
    again = await kf.PushMatches(request)
    assert [one.push_id for one in again.matches] == [one.push_id for one in told.matches]
    rest = await kf.PushMatches(pb.PushMatchesRequest(external_userid=CUSTOMER))
    assert [one.profile_id for one in rest.matches] == ["p3"]
    assert {row.open_kfid for row in await bench.pushes()} == {KFID}
    assert len(await bench.pushes()) == 3


async def test_an_intent_is_versioned_and_says_again_what_it_was_told(kf: Any, bench: Bench) -> None:
    made = (
        await kf.CreateIntent(pb.CreateIntentRequest(intent_id="i1", spec=_spec(), idempotency_key="c"))
    ).intent
    repeated = await kf.CreateIntent(
        pb.CreateIntentRequest(intent_id="i1", spec=_spec(), idempotency_key="c")
    )
    assert repeated.intent == made
    changed = _spec(description="更多")
    second = await kf.UpdateIntent(
        pb.UpdateIntentRequest(intent_id="i1", spec=changed, expected_version=1, idempotency_key="u")
    )
    assert second.intent.version == 2
    same = await kf.UpdateIntent(
        pb.UpdateIntentRequest(intent_id="i1", spec=changed, expected_version=1, idempotency_key="u")
    )
    assert same.intent.version == 2
    code, error = await refused(
        kf.UpdateIntent(pb.UpdateIntentRequest(intent_id="i1", spec=changed, expected_version=1))
    )
    assert (code, error.reason) == (grpc.StatusCode.ABORTED, "VERSION_CONFLICT")
    (listed,) = (await kf.ListIntents(pb.ListIntentsRequest(external_userid=CUSTOMER))).intents
    wanted = _spec(description="更多")
    for one in wanted.conditions:
        one.weight = one.weight or 1
    assert listed.spec == wanted
    code, error = await refused(kf.CreateIntent(pb.CreateIntentRequest(intent_id="i1", spec=_spec())))
    assert error.reason == "STATE_INVALID"
    assert (
        await kf.CreateIntent(pb.CreateIntentRequest(intent_id="I1", spec=_spec()))
    ).intent.intent_id == "I1"


async def test_what_is_deleted_is_gone_and_its_id_stays_taken(kf: Any, bench: Bench) -> None:
    await kf.UpsertProfile(pb.UpsertProfileRequest(profiles=[_profile("p1")]))
    await kf.CreateIntent(pb.CreateIntentRequest(intent_id="i1", spec=_spec()))
    await bench.settle()
    assert len(await bench.matches()) == 1
    gone = pb.DeleteIntentRequest(intent_id="i1", idempotency_key="d")
    await kf.DeleteIntent(gone)
    await kf.DeleteIntent(gone)
    assert await bench.matches() == []
    for call in (
        kf.DeleteIntent(pb.DeleteIntentRequest(intent_id="i1")),
        kf.MatchIntent(pb.MatchIntentRequest(intent_id="i1")),
        kf.MatchIntent(pb.MatchIntentRequest(intent_id="i1", preview_only=True)),
        kf.PushMatches(pb.PushMatchesRequest(intent_id="i1")),
        kf.UpdateIntent(pb.UpdateIntentRequest(intent_id="i1", spec=_spec())),
    ):
        code, error = await refused(call)
        assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    _, error = await refused(kf.CreateIntent(pb.CreateIntentRequest(intent_id="i1", spec=_spec())))
    assert error.reason == "STATE_INVALID"


async def test_a_profile_that_is_deleted_matches_nothing_and_what_waits_to_tell_of_it_is_due(
    kf: Any, bench: Bench
) -> None:
    await bench.open_session()
    await kf.UpsertProfile(pb.UpsertProfileRequest(profiles=[_profile("p1"), _profile("p2")]))
    await kf.CreateIntent(pb.CreateIntentRequest(intent_id="i1", spec=_spec()))
    await bench.settle()
    assert len(await bench.matches()) == len(await bench.pushes()) == 2
    async with bench.database.write() as conn:
        await conn.execute(sa.update(push).values(status="deferred", hold_reason="quiet_hours"))
    gone = pb.DeleteProfileRequest(profile_id="p1", idempotency_key="d")
    await kf.DeleteProfile(gone)
    await kf.DeleteProfile(gone)
    await bench.settle()
    (left,) = await bench.matches()
    assert left.profile_id == "p2"
    waits = {one.id: one.status for one in await bench.pushes()}
    assert waits.pop(left.push_id) == "deferred"
    assert [*waits.values()] == ["pending"]  # to be judged at once, and suppressed: the match is withdrawn
    assert not await bench.rows(profile_term, profile_term.c.profile_id == "p1")
    code, error = await refused(kf.DeleteProfile(pb.DeleteProfileRequest(profile_id="p1")))
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    _, error = await refused(kf.DeleteProfile(pb.DeleteProfileRequest(profile_id="p2", idempotency_key="d")))
    assert error.reason == "IDEMPOTENCY_KEY_REUSED"
    (entry,) = await bench.rows(audit_entry, audit_entry.c.method == "DeleteProfile")
    assert (entry.object_id, entry.store_id) == ("p1", STORE)
    await kf.UpsertProfile(pb.UpsertProfileRequest(profiles=[_profile("p1", "懂AI和机器人")]))
    await bench.settle()
    assert {one.profile_id for one in await bench.matches()} == {"p1", "p2"}


async def test_lists_page_by_id(kf: Any) -> None:
    await kf.UpsertProfile(pb.UpsertProfileRequest(profiles=[_profile(f"p{n}") for n in range(5)]))
    seen: list[str] = []
    token = ""
    while True:
        page = await kf.ListProfiles(pb.ListProfilesRequest(page_size=2, page_token=token))
        seen += [one.profile_id for one in page.profiles]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"p{n}" for n in range(5)]


async def test_what_makes_no_sense_is_refused_by_its_field(kf: Any) -> None:
    absent = pb.Condition(keywords=pb.KeywordCondition(keywords=["AI"], mode=pb.KEYWORD_MODE_NONE))
    backwards = pb.Condition(number_range=pb.NumberRange(field="x", at_least=2, at_most=1))
    no_day = pb.Condition(day_range=pb.DayRange(field="x", first=pb.Day(date="2026-02-31")))
    for conditions in ([absent], [backwards], [no_day], [], [pb.Condition(weight=1)]):
        code, error = await refused(
            kf.CreateIntent(pb.CreateIntentRequest(spec=_spec(conditions=conditions)))
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT, conditions
        assert error.violations[0].field.startswith("spec.conditions")
    code, error = await refused(
        kf.UpsertProfile(pb.UpsertProfileRequest(profiles=[_profile("p1"), _profile("p1")]))
    )
    assert error.violations[0].field == "profiles[1].profile_id"


async def test_who_may_only_read_one_store_does_no_more(bench: Bench, tmp_path: Path) -> None:
    async with _serve(bench, tmp_path, "reader") as kf:
        await kf.ListProfiles(pb.ListProfilesRequest())
        _, error = await refused(kf.ListProfiles(pb.ListProfilesRequest(store_id="store-2")))
        assert error.reason == "STORE_FORBIDDEN"
        for call in (
            kf.UpsertProfile(pb.UpsertProfileRequest(profiles=[_profile("p1")])),
            kf.MatchIntent(pb.MatchIntentRequest(intent_id="i1", preview_only=True)),
            kf.PushMatches(pb.PushMatchesRequest(intent_id="i1")),
        ):
            _, error = await refused(call)
            assert error.reason == "SCOPE_MISSING"
