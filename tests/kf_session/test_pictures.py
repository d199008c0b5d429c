"""Pictures that cards show: uploaded before the platform forgets them, once for all replicas, and waited for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from reach.kf_session.v1 import picture_pb2 as pb
from reach.kf_session.v1 import push_pb2

from services.kf_session.domain.picture import LIVES, RENEWED
from services.kf_session.pipeline.uploading import LEASE
from services.kf_session.store.learning_tables import picture
from services.kf_session.store.pictures import Pictures, find
from services.kf_session.store.tables import message, push
from shared.clock import ManualClock
from shared.errors import ReachError
from shared.rpc.status import from_call
from tests.e2e.harness import STORE, eventually
from tests.kf_session.learning_support import opened
from tests.kf_session.shop import WK, WM, Shop

JPG, PNG = b"\xff\xd8\xff" + bytes(40), b"\x89PNG\r\n\x1a\n" + bytes(40)
UPLOAD = "/cgi-bin/media/upload"


async def keeps(kf: Shop, content: bytes = JPG, name: str = "logo", key: str = "") -> pb.Picture:
    """UpsertPicture."""
    asked = pb.UpsertPictureRequest(store_id=STORE, name=name, content=content, idempotency_key=key)
    kept: pb.Picture = (await kf.stub.UpsertPicture(asked)).picture
    return kept


async def shows(kf: Shop, thumb: str, wait: int = 0) -> Any:
    """Push a card with a picture."""
    link = push_pb2.PushLink(title="新品", url="https://example.com/a", thumb_media_id=thumb)
    content = push_pb2.PushContent(link=link)
    asked = push_pb2.PushRequest(
        store_id=STORE, open_kfid=WK, external_userid=WM, content=content, wait=Duration(seconds=wait)
    )
    return (await kf.stub.Push(asked)).push


async def known(kf: Shop, other_than: str = "") -> pb.Picture:
    """Wait until the platform has given the one picture an id, and not *other_than*."""

    async def look() -> pb.Picture | None:
        (one,) = (await kf.stub.ListPictures(pb.ListPicturesRequest(store_id=STORE))).pictures
        return one if one.media_id not in ("", other_than) else None

    found = await eventually(look)
    assert found is not None
    return found


async def talking(kf: Shop, messages: int) -> None:
    await kf.writes()
    await kf.until(message, messages)


async def stands(kf: Shop, push_id: str, status: str) -> Any:
    async def look() -> Any:
        (row,) = [row for row in await kf.rows(push) if row.id == push_id]
        return row if row.status == status else None

    return await eventually(look)


async def refused(call: Any) -> ReachError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_call(caught.value)


async def test_a_card_goes_with_its_picture_long_after_the_first_file_is_forgotten(kf: Shop) -> None:
    await keeps(kf)
    first = await known(kf)
    assert len(await kf.world.requests(UPLOAD)) == 1
    await talking(kf, 1)
    assert (await shows(kf, "picture:logo", 5)).status == push_pb2.PUSH_STATUS_ACCEPTED
    await kf.world.advance((LIVES - RENEWED).total_seconds())
    second = await known(kf, first.media_id)
    assert second.expire_time.ToSeconds() > first.expire_time.ToSeconds()
    await kf.world.advance(RENEWED.total_seconds())
    await talking(kf, 2)
    forgotten = await shows(kf, first.media_id, 5)
    assert (forgotten.status, forgotten.reason) == (push_pb2.PUSH_STATUS_FAILED, "perm_input:40007")
    assert (await shows(kf, "picture:logo", 5)).status == push_pb2.PUSH_STATUS_ACCEPTED
    ids = [one["link"]["thumb_media_id"] for one in await kf.calls("send_msg")]
    assert ids == [first.media_id, first.media_id, second.media_id]
    assert len(await kf.world.requests(UPLOAD)) == 2


async def test_a_card_whose_picture_cannot_be_uploaded_waits_and_goes_once_it_can(kf: Shop) -> None:
    await talking(kf, 1)
    nowhere = await refused(shows(kf, "picture:logo"))
    assert (nowhere.reason, nowhere.facts["cause"]) == ("KF_NOT_ELIGIBLE", "picture_unknown")
    fault = {"path": UPLOAD, "errcode": 40004, "errmsg": "invalid media type"}
    await kf.world.fault(**fault)
    kept = await keeps(kf, key="k1")
    assert (kept.name, kept.size_bytes, kept.media_id) == ("logo", len(JPG), "")

    async def failed() -> bool:
        (one,) = (await kf.stub.ListPictures(pb.ListPicturesRequest(store_id=STORE))).pictures
        return bool(one.failure == "refused:40004")

    assert await eventually(failed)
    waits = await shows(kf, "picture:logo")
    held = await stands(kf, waits.push_id, "deferred")
    assert held.hold_reason == "picture_failed"
    told = (await kf.stub.Explain(push_pb2.ExplainRequest(push_id=waits.push_id))).steps
    assert "图片logo上传失败，正在重试" in [step.text_zh for step in told]
    assert not await kf.calls("send_msg")
    await kf.world.clear_faults()
    await keeps(kf)  # by hand, sooner than the next try
    await stands(kf, waits.push_id, "accepted")

    assert (await keeps(kf, key="k1")).media_id, "a repeat changes nothing"
    assert (await refused(keeps(kf, PNG, key="k1"))).reason == "IDEMPOTENCY_KEY_REUSED"
    assert (await refused(keeps(kf, b"GIF89a" + bytes(40)))).violations[0].field == "content"
    await kf.stub.DeletePicture(pb.DeletePictureRequest(store_id=STORE, name="logo"))
    gone = kf.stub.DeletePicture(pb.DeletePictureRequest(store_id=STORE, name="logo"))
    assert (await refused(gone)).reason == "NOT_FOUND"


async def test_one_replica_uploads_and_what_was_replaced_meanwhile_does_not_count(
    database_url: str, manual_clock: ManualClock
) -> None:
    clock = manual_clock
    now = clock.now()
    async with opened(database_url) as database:
        rows = Pictures(database.dialect)

        async def claim(owner: str) -> Any:
            return await database.transact(lambda conn: rows.claim(conn, owner, clock.now(), LEASE))

        async def keep(content: bytes) -> None:
            await database.transact(lambda conn: rows.keep(conn, STORE, "logo", content, clock.now()))

        async def uploaded(held: Any, media_id: str) -> bool:
            return await database.transact(
                lambda conn: rows.uploaded(conn, held, media_id, clock.now(), clock.now())
            )

        async def usable(store_id: str = STORE) -> tuple[str, str]:
            async with database.read() as conn:
                found = await find(conn, store_id, "logo", clock.now())
            return found.media_id, found.missing

        await keep(JPG)
        held = [one for one in await asyncio.gather(*map(claim, "abc")) if one is not None]
        assert len(held) == 1
        await keep(JPG)
        assert await claim("d") is None, "the same picture again is no news"
        await keep(PNG)
        assert not await uploaded(held[0], "of the first")
        assert await usable() == ("", "picture_pending")
        second = await claim("d")
        assert second.content == PNG
        clock.advance(LEASE)
        third = await claim("e")
        assert not await uploaded(second, "by who was frozen")
        assert await uploaded(third, "m2")
        assert (await usable(), await usable("elsewhere")) == (("m2", ""), ("", "picture_unknown"))
        assert await claim("f") is None
        clock.advance(LIVES - RENEWED)
        again = await claim("f")
        later = clock.now() + timedelta(seconds=5)
        assert await database.transact(lambda conn: rows.failed(conn, again, "timeout", later, clock.now()))
        assert await usable() == ("m2", ""), "what the platform still knows stays in use"
        clock.advance(RENEWED)
        assert await usable() == ("", "picture_failed")
        async with database.read() as conn:
            (row,) = (await conn.execute(picture.select())).all()
        assert (row.failure, row.attempt_no, row.created_at) == ("timeout", 1, now)
