"""What customers and we say to each other is in no log, no span, no stored error; and no user has a table."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from reach.events.v1 import event_service_pb2 as ev
from reach.kf_session.v1 import intent_pb2, template_pb2
from reach.kf_session.v1 import push_pb2 as pb

from services.kf_session.store.tables import metadata, push, push_attempt, push_note
from shared.db.tables import dead_letter, shared_metadata
from shared.http import tracing as http_tracing
from shared.rpc import tracing as rpc_tracing
from shared.telemetry import logs
from tests.e2e.harness import STORE, Sandbox, eventually
from tests.kf_session.shop import WK, WM, Shop, shop

PHRASE, PHONE = "白鹭在井底等雨", "13912345678"
SAID = f"{PHRASE}，我的电话{PHONE}"


@contextlib.contextmanager
def _overheard() -> Iterator[list[str]]:
    """Everything that is logged meanwhile at the loudest level there is, as written and as handed to the log."""
    heard: list[str] = []
    out = io.StringIO()
    before = structlog.get_config()
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ["", *logs._NOISY]}
    handlers = list(root.handlers)

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(f"{record.getMessage()} {record.args} {record.exc_info}")

    def listen(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        heard.append(repr(dict(event)))
        return event

    logs.configure(service="kf_session", level="debug", format="json", stream=out)
    root.addHandler(Ear())
    chain = structlog.get_config()["processors"]
    structlog.configure(processors=[*chain[:-1], listen, chain[-1]])
    try:
        yield heard
    finally:
        heard.append(out.getvalue())
        structlog.configure(**before)
        root.handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


async def _fails(call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def _say(kf: Shop, text: str, seconds: int = 8) -> Any:
    content = pb.PushContent(text=pb.PushText(content=text))
    return await kf.stub.Push(
        pb.PushRequest(
            store_id=STORE,
            open_kfid=WK,
            external_userid=WM,
            content=content,
            wait=Duration(seconds=seconds),
        )
    )


async def _conversation(kf: Shop) -> None:
    """The phrase and the number wherever words can stand, with what goes well and every kind of failure."""
    await kf.writes(SAID)

    async def heard() -> bool:
        return bool(await kf.calls("sync_msg")) and "kf.message.received" in await kf.announced()

    await eventually(heard)
    await _say(kf, SAID)
    for fault in (
        {"errcode": -1, "errmsg": f"system busy for {PHONE}"},
        {"drop": "after-accept"},
        {"errcode": 40058, "errmsg": f"invalid parameter {PHONE}"},
    ):
        await kf.world.fault(path="/cgi-bin/kf/send_msg", count=1, **fault)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await _say(kf, SAID)
    await _fails(_say(kf, SAID * 60))  # too long
    await kf.enters(scene="door", scene_param=PHONE)

    template = template_pb2.TemplateSpec(
        type=template_pb2.TEMPLATE_TYPE_TEXT, single=f"{SAID} {{profile_name}}", line="{profile_name}"
    )
    await kf.stub.CreateTemplate(
        template_pb2.CreateTemplateRequest(store_id=STORE, template_id="default", spec=template)
    )
    template.single = f"{SAID} {{nobody}}"
    await _fails(
        kf.stub.CreateTemplate(
            template_pb2.CreateTemplateRequest(store_id=STORE, template_id="other", spec=template)
        )
    )
    words = intent_pb2.KeywordCondition(keywords=[PHRASE], mode=intent_pb2.KEYWORD_MODE_ANY)
    spec = intent_pb2.IntentSpec(
        display_name=SAID, external_userid=WM, conditions=[intent_pb2.Condition(keywords=words)]
    )
    await kf.stub.CreateIntent(intent_pb2.CreateIntentRequest(store_id=STORE, intent_id="i1", spec=spec))
    value = intent_pb2.FieldValue(text=SAID)
    profile = intent_pb2.Profile(profile_id="p1", display_name=SAID, text=SAID, fields={"note": value})
    await kf.stub.UpsertProfile(intent_pb2.UpsertProfileRequest(store_id=STORE, profiles=[profile]))

    async def matched() -> bool:
        return any(row.purpose == "match" and row.status == "accepted" for row in await kf.rows(push))

    await eventually(matched)
    bad = intent_pb2.Profile(profile_id=f"{PHRASE}", display_name=SAID, text=SAID * 10_000)
    await _fails(kf.stub.UpsertProfile(intent_pb2.UpsertProfileRequest(store_id=STORE, profiles=[bad])))
    await _fails(
        kf.stub.UpdatePreferences(
            pb.UpdatePreferencesRequest(
                store_id=STORE,
                external_userid=WM,
                preferences=pb.Preferences(time_zone=PHRASE, quiet_from=PHONE),
            )
        )
    )
    told = Struct()
    told.update({"user_id": WM, "explanation": [SAID], "profile_name": SAID, "phone": PHONE})
    with contextlib.suppress(grpc.aio.AioRpcError):
        await kf.reach.events.PublishEvent(
            ev.PublishEventRequest(type="intent.matched", id="e1", store_id=STORE, json=told)
        )
    url = f"http://{kf.reach.http}/callback/kf?msg_signature={PHRASE}&timestamp={PHONE}&nonce={PHONE}"
    async with kf.reach.session.post(url, data=SAID.encode()) as answer:
        assert answer.status == 403
    await kf.writes(f"查看1 {SAID}")
    await kf.writes("查看1")


async def test_no_word_of_a_conversation_is_logged_traced_or_kept_with_an_error_and_no_table_is_made(
    world: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))  # as they are, before anything is masked
    for module in (rpc_tracing, http_tracing):
        monkeypatch.setattr(module, "_tracer", provider.get_tracer("test"))
    with _overheard() as heard:
        async with shop(world, tmp_path / "home") as kf:
            await _conversation(kf)
            kept = await _errors(kf)
            async with kf.database.read() as conn:
                tables = await conn.run_sync(lambda sync: set(sa.inspect(sync).get_table_names()))
    spans = [f"{json.loads(span.to_json())}" for span in memory.get_finished_spans()]
    assert len(heard) > 20
    assert len(spans) > 10
    assert len(kept) > 3
    for kind, texts in (("log", heard), ("span", spans), ("error", kept)):
        for text in texts:
            assert PHRASE not in text, (kind, text)
            assert PHONE not in text, (kind, text)
    ours = {table.name for one in (metadata, shared_metadata) for table in one.tables.values()}
    assert tables == ours | {"revision_shared", "revision_kf_session"}


async def _errors(kf: Shop) -> list[str]:
    """What is kept of failures; the body of a dead letter is what is replayed, and no error."""
    attempts = [f"{row.state} {row.detail}" for row in await kf.rows(push_attempt)]
    notes = [f"{row.reason} {row.facts}" for row in await kf.rows(push_note)]
    letters = [f"{row.reason} {row.detail} {row.note}" for row in await kf.rows(dead_letter)]
    reasons = [f"{row.reason} {row.hold_reason}" for row in await kf.rows(push)]
    return attempts + notes + letters + reasons
