"""Templates, experiments and effects as callers have them: over a real channel, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import grpc
import pytest
import sqlalchemy as sa
from reach.kf_session.v1 import (
    effect_pb2,
    kf_session_service_pb2,
    kf_session_service_pb2_grpc,
    template_pb2,
)

from services.kf_session.domain.daily import Wish
from services.kf_session.domain.experiment import assign
from services.kf_session.domain.push import Item
from services.kf_session.learning import Learning
from services.kf_session.service import SCOPES, SERVICE, KfSessionServicer
from services.kf_session.store import experiments
from services.kf_session.store.learning_tables import effect
from services.kf_session.store.tables import push
from shared.audit import AuditLog
from shared.clock import ManualClock
from shared.rpc import client
from shared.rpc.guard import GuardRules
from shared.rpc.health import HealthBoard
from shared.rpc.paging import PageTokens
from shared.rpc.principal import Principal
from shared.rpc.server import RpcServer
from shared.secrets import SecretKey
from shared.settings import Limits
from tests.kf_session.learning_support import STORE, add_push, admit, opened
from tests.rpc.conftest import Callers

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
TEXT = template_pb2.TEMPLATE_TYPE_TEXT
KEY = SecretKey(bytes(32))
DESCRIPTOR = kf_session_service_pb2.DESCRIPTOR.services_by_name["KfSessionService"]
BRANCH = Principal("branch", "service", frozenset({"kf.read", "kf.write", "kf.send"}), frozenset({"store-2"}))


def spec(single="【{profile_name}】{score}%", **other):
    words = {"line": "{position}. {profile_name}", **other}
    return template_pb2.TemplateSpec(type=TEXT, single=single, **words)


class Bench:
    def __init__(self, database, learning, stub, branch, clock):
        self.database = database
        self.learning = learning
        self.stub = stub
        self.branch = branch
        self.clock = clock

    async def create(self, text="v1 {profile_name}", template_id="default", store_id=STORE, **other):
        request = template_pb2.CreateTemplateRequest(
            store_id=store_id, template_id=template_id, spec=spec(text), **other
        )
        return (await self.stub.CreateTemplate(request)).template

    async def update(self, text="v2 {profile_name}", **other):
        return (await self.stub.UpdateTemplate(updating(spec=spec(text), **other))).template

    async def listed(self, **other):
        request = template_pb2.ListTemplatesRequest(**{"store_id": STORE, **other})
        return await self.stub.ListTemplates(request)

    async def start(self, **other):
        request = template_pb2.StartExperimentRequest(
            **{
                "store_id": STORE,
                "template_id": "default",
                "variants": [
                    {"name": "a", "version": 1, "share": 1},
                    {"name": "b", "version": 2, "share": 1},
                ],
                **other,
            }
        )
        return (await self.stub.StartExperiment(request)).experiment

    async def say(self, customer):
        item = Item("m1", "line", "d", 0.85, {"profile_name": "张三", "intent_name": "x"})
        async with self.database.read() as conn:
            return await self.learning.templating.say(conn, STORE, customer, [item])

    async def pushed(self, at, *, variant, engaged, customer, kind="reply", fail_type=None):
        async with self.database.write() as conn:
            ident = f"p-{customer}"
            await add_push(
                conn,
                ident,
                at,
                accepted_at=at,
                status="accepted",
                variant=variant,
                external_userid=customer,
                fail_type=fail_type,
            )
            if engaged:
                await conn.execute(sa.insert(effect).values(push_id=ident, kind=kind, at=at, recorded_at=at))


def updating(**other):
    return template_pb2.UpdateTemplateRequest(**{"store_id": STORE, "template_id": "default", **other})


async def code_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()


@pytest.fixture
async def bench(database_url, tmp_path):
    async def wishes(conn, store_id, customer):
        return Wish(ZoneInfo("Asia/Shanghai"))

    async with opened(database_url) as database:
        clock = ManualClock(NOON)
        audit = AuditLog(database.dialect, KEY)
        learning = Learning(database, clock, KEY, audit, Limits(), wishes=wishes, admit=admit)
        servicer = KfSessionServicer(*[None] * 7, learning, PageTokens(b"k" * 32), clock, None)
        callers = Callers()
        callers.known["branch"] = BRANCH
        server = RpcServer(
            f"unix:{tmp_path}/kf",
            [partial(kf_session_service_pb2_grpc.add_KfSessionServiceServicer_to_server, servicer)],
            rules=GuardRules(SCOPES),
            authenticator=callers,
            health=HealthBoard([SERVICE], period=0.05),
        )
        address = await server.start()
        channels = [client.channel(address, DESCRIPTOR, token=token) for token in (None, "branch")]
        stubs = [kf_session_service_pb2_grpc.KfSessionServiceStub(channel) for channel in channels]
        yield Bench(database, learning, *stubs, clock)
        for channel in channels:
            await channel.close()
        await server.stop(0)


async def test_what_ships_acts_until_a_store_writes_its_own(bench):
    (shipped,) = (await bench.listed()).templates
    assert (shipped.template_id, shipped.version, shipped.acting) == ("default", 0, True)
    assert "🎯 找到匹配的联系人" in (await bench.say("wm-1")).content["text"]["content"]
    made = await bench.create()
    assert (made.version, made.acting, made.created_by) == (1, True, "local")
    rendered = await bench.say("wm-1")
    assert (rendered.content["text"]["content"], rendered.template_version) == ("v1 张三", 1)


async def test_versions_never_change_and_one_acts(bench):
    await bench.create()
    assert (await bench.update()).version == 2
    assert (await bench.update("v3 {profile_name}", draft=True)).acting is False
    assert (await bench.say("wm-1")).template_version == 2
    back = (await bench.stub.UpdateTemplate(updating(act_version=1))).template
    assert (back.version, back.acting) == (1, True)
    every = (await bench.listed(every_version=True)).templates
    assert [(one.version, one.spec.single) for one in every if one.version] == [
        (3, "v3 {profile_name}"),
        (2, "v2 {profile_name}"),
        (1, "v1 {profile_name}"),
    ]


async def test_a_template_for_every_store_serves_where_there_is_no_own(bench):
    await bench.create("all {profile_name}", store_id="")
    assert (await bench.say("wm-1")).content["text"]["content"] == "all 张三"
    await bench.create()
    assert (await bench.say("wm-1")).content["text"]["content"] == "v1 张三"
    await bench.stub.DeleteTemplate(template_pb2.DeleteTemplateRequest(store_id=STORE, template_id="default"))
    assert (await bench.say("wm-1")).content["text"]["content"] == "all 张三"


async def test_refusals_have_their_codes(bench):
    code = grpc.StatusCode
    assert await code_of(bench.create("{nobody}")) is code.INVALID_ARGUMENT
    assert await code_of(bench.create("长" * 700)) is code.INVALID_ARGUMENT
    assert await code_of(bench.update()) is code.NOT_FOUND
    await bench.create()
    assert await code_of(bench.create()) is code.FAILED_PRECONDITION
    assert await code_of(bench.update(expected_version=7)) is code.ABORTED
    assert await code_of(bench.stub.UpdateTemplate(updating())) is code.INVALID_ARGUMENT
    assert await code_of(bench.stub.UpdateTemplate(updating(act_version=9))) is code.NOT_FOUND
    assert await code_of(bench.branch.UpdateTemplate(updating(act_version=1))) is code.PERMISSION_DENIED
    everywhere = template_pb2.CreateTemplateRequest(template_id="t", spec=spec())
    assert await code_of(bench.branch.CreateTemplate(everywhere)) is code.PERMISSION_DENIED


async def test_a_repeat_with_the_same_key_changes_nothing(bench):
    first = await bench.create(idempotency_key="k1")
    assert await bench.create(idempotency_key="k1") == first
    assert (await bench.update(idempotency_key="k2")).version == 2
    assert (await bench.update(idempotency_key="k2")).version == 2


async def test_lists_page(bench):
    for name in ("a", "b", "c"):
        await bench.create(template_id=name)
    found, token = [], ""
    while True:
        page = await bench.listed(page_size=2, page_token=token)
        found += [one.template_id for one in page.templates]
        token = page.next_page_token
        if not token:
            break
    assert found == ["a", "b", "c", "default"]


async def test_a_preview_stores_nothing_and_says_what_would_be_cut(bench):
    request = template_pb2.PreviewTemplateRequest(store_id=STORE, spec=spec("长" * 700), matches=1)
    shown = await bench.stub.PreviewTemplate(request)
    assert (shown.bytes <= shown.byte_limit, [one.field for one in shown.findings]) == (True, ["spec.single"])
    request = template_pb2.PreviewTemplateRequest(store_id=STORE)
    request.values.update({"profile_name": "张三", "score": 90})
    content = (await bench.stub.PreviewTemplate(request)).content["text"]["content"]
    assert "【张三】" in content
    assert "匹配度：90%" in content
    assert len((await bench.listed()).templates) == 1


async def test_each_customer_keeps_a_version_while_an_experiment_runs(bench):
    await bench.create()
    await bench.update(draft=True)
    begun = await bench.start()
    given = {f"wm-{at}": await bench.say(f"wm-{at}") for at in range(20)}
    assert {one.template_version for one in given.values()} == {1, 2}
    assert {one.variant for one in given.values()} == {f"{begun.experiment_id}/{name}" for name in "ab"}
    for customer, before in given.items():
        assert await bench.say(customer) == before
    assert await code_of(bench.start()) is grpc.StatusCode.FAILED_PRECONDITION
    stop = template_pb2.StopExperimentRequest(store_id=STORE, template_id="default")
    ended = (await bench.stub.StopExperiment(stop)).experiment
    assert (ended.state, ended.reason) == (template_pb2.EXPERIMENT_STATE_STOPPED, "stopped_by_hand")
    assert {(await bench.say(customer)).template_version for customer in given} == {1}


async def test_a_winner_ends_the_experiment_and_acts(bench):
    await bench.create()
    await bench.update(draft=True)
    begun = await bench.start(adopt_winner=True)
    for at in range(120):
        name = "b" if at % 2 else "a"
        variant = f"{begun.experiment_id}/{name}"
        engaged = name == "b" if at % 10 else True
        await bench.pushed(NOON, variant=variant, engaged=engaged, customer=f"wm-{at}")
    await bench.learning.experimenting.look_at_all()
    acts = next(one for one in (await bench.listed()).templates if one.acting)
    assert (acts.version, acts.experiment.winner, acts.experiment.reason) == (2, "b", "a_variant_won")
    told = {one.name: (one.customer_count, one.engaged_count) for one in acts.experiment.variants}
    assert told == {"a": (60, 12), "b": (60, 60)}


async def test_an_experiment_that_cannot_be_looked_at_keeps_no_other_from_it(bench, monkeypatch):
    began = []
    for template_id in ("default", "other"):
        await bench.create(template_id=template_id)
        await bench.update(template_id=template_id, draft=True)
        began.append((await bench.start(template_id=template_id)).experiment_id)
    first, second = sorted(began)
    seen = []

    async def look(conn, ident):
        if ident == first:
            raise ValueError("its rows make no sense")
        seen.append(ident)

    monkeypatch.setattr(bench.learning.experimenting, "look", look)
    await bench.learning.experimenting.look_at_all()
    assert seen == [second]


async def test_a_harmful_variant_hands_its_customers_to_the_control(bench):
    await bench.create()
    await bench.update(draft=True)
    await bench.update("v3 {profile_name}", draft=True)
    variants = [{"name": name, "version": at, "share": 1} for at, name in enumerate("abc", 1)]
    begun = await bench.start(variants=variants)
    for at in range(60):
        variant = f"{begun.experiment_id}/{'abc'[at % 3]}"
        harmed = at % 3 == 2
        await bench.pushed(NOON, variant=variant, engaged=harmed, customer=f"wm-{at}", kind="unsubscribed")
    await bench.learning.experimenting.look_at_all()
    async with bench.database.read() as conn:
        trial = await experiments.of_id(conn, begun.experiment_id)
    assert (trial.running, trial.reasons) == (True, {"c": "unsubscribed"})
    key = KEY.derive("kf experiments")
    for customer in (f"wm-{at}" for at in range(30)):
        if assign(key, trial.id, customer, trial.variants).name == "c":
            rendered = await bench.say(customer)
            assert (rendered.template_version, rendered.variant) == (1, None)


async def test_late_failures_stop_a_variant_and_the_control_alone_is_no_experiment(bench):
    await bench.create()
    await bench.update(draft=True)
    begun = await bench.start()
    for at in range(80):
        bad = at % 2
        variant = f"{begun.experiment_id}/{'b' if bad else 'a'}"
        await bench.pushed(
            NOON, variant=variant, engaged=False, customer=f"wm-{at}", fail_type=13 if bad else None
        )
    await bench.learning.experimenting.look_at_all()
    acts = next(one for one in (await bench.listed()).templates if one.acting)
    assert (acts.version, acts.experiment.reason) == (2 - 1, "only_the_control_is_left")


async def test_of_two_who_start_at_once_one_does_and_three_replicas_that_look_end_it_once(bench):
    await bench.create()
    await bench.update(draft=True)
    begun = await asyncio.gather(*(bench.start(adopt_winner=True) for _ in range(3)), return_exceptions=True)
    refused = [one for one in begun if isinstance(one, grpc.aio.AioRpcError)]
    assert [one.code() for one in refused] == [grpc.StatusCode.FAILED_PRECONDITION] * 2
    (trial,) = [one for one in begun if one not in refused]
    for at in range(60):
        variant = f"{trial.experiment_id}/{'ab'[at % 2]}"
        await bench.pushed(NOON, variant=variant, engaged=at % 2 == 1, customer=f"wm-{at}")
    await asyncio.gather(*(bench.learning.experimenting.look_at_all() for _ in range(3)))
    (acts,) = [one for one in (await bench.listed()).templates if one.acting and one.version]
    assert (acts.version, acts.experiment.winner) == (2, "b")


async def test_an_experiment_without_a_difference_ends_with_its_time(bench):
    await bench.create()
    await bench.update(draft=True)
    await bench.start()
    await bench.learning.experimenting.look_at_all()
    bench.clock.advance(timedelta(days=30))
    await bench.learning.experimenting.look_at_all()
    acts = next(one for one in (await bench.listed()).templates if one.acting)
    assert acts.experiment.reason == "no_difference_found"


async def test_effects_are_recorded_and_counted_for_those_who_may_see_them(bench):
    await bench.pushed(NOON, variant=None, engaged=True, customer="wm-1")
    await bench.pushed(NOON, variant=None, engaged=False, customer="wm-2")
    bench.clock.advance(timedelta(hours=1))
    click = effect_pb2.RecordEffectRequest(push_id="p-wm-2", kind=effect_pb2.EFFECT_KIND_LINK_CLICK)
    assert (await bench.stub.RecordEffect(click)).recorded
    assert not (await bench.stub.RecordEffect(click)).recorded
    assert await code_of(bench.branch.RecordEffect(click)) is grpc.StatusCode.NOT_FOUND
    seen = effect_pb2.RecordEffectRequest(push_id="p-wm-2", kind=effect_pb2.EFFECT_KIND_REPLY)
    assert await code_of(bench.stub.RecordEffect(seen)) is grpc.StatusCode.INVALID_ARGUMENT
    asked = effect_pb2.GetEffectStatsRequest(
        store_id=STORE, group_by=[effect_pb2.EFFECT_GROUP_PURPOSE, effect_pb2.EFFECT_GROUP_VERSION]
    )
    (row,) = (await bench.stub.GetEffectStats(asked)).rows
    assert (row.purpose, row.sent_count, row.replied_count, row.clicked_count) == ("match", 2, 1, 1)
    assert (row.reply_rate.value, row.engagement_rate.value) == (0.5, 1.0)
    assert row.reply_rate.low < 0.5 < row.reply_rate.high
    assert await code_of(bench.branch.GetEffectStats(asked)) is grpc.StatusCode.PERMISSION_DENIED
    (nothing,) = (await bench.branch.GetEffectStats(effect_pb2.GetEffectStatsRequest())).rows
    assert (nothing.push_count, nothing.HasField("reply_rate")) == (0, False)


async def test_a_click_after_the_window_counts_for_nothing(bench):
    await bench.pushed(NOON, variant=None, engaged=False, customer="wm-1")
    async with bench.database.write() as conn:
        await conn.execute(sa.update(push).values(accepted_at=NOON - timedelta(hours=24)))
    click = effect_pb2.RecordEffectRequest(push_id="p-wm-1", kind=effect_pb2.EFFECT_KIND_LINK_CLICK)
    assert not (await bench.stub.RecordEffect(click)).recorded
