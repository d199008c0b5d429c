"""Materials: stored part by part, never changed, uploaded to the platform when they are needed, once for all replicas."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

from reach.campaign.v1 import campaign_pb2 as wire
from reach.campaign.v1 import material_pb2 as pb

from services.campaign.domain.campaign import Attachment, AttachmentKind
from services.campaign.domain.material import ABANDONED, IN_TIME, LIVES
from services.campaign.pipeline.materials import MediaDesk
from services.campaign.store import materials as store
from services.campaign.store.writing_tables import material, material_part
from shared.db.tables import audit_entry
from tests.campaign.writing.room import Room, refused
from tests.e2e.harness import STORE

JPG = b"\xff\xd8\xff" + bytes(2_000_000)
MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(40)
PART = 700_000
UPLOAD = "/cgi-bin/media/upload"


def part(name: str, content: bytes, at: int = 0, size: int = 0, **more: Any) -> pb.UploadMaterialRequest:
    given = {"kind": pb.MATERIAL_KIND_IMAGE, "filename": "新品.jpg", **more}
    return pb.UploadMaterialRequest(
        store_id=STORE, name=name, size_bytes=size or len(content), offset=at, content=content, **given
    )


async def uploads(desk: Room, name: str = "pic", content: bytes = JPG, **more: Any) -> pb.Material:
    """UploadMaterial, part by part."""
    stands = pb.Material()
    for at in range(0, len(content), PART):
        asked = part(name, content[at : at + PART], at, len(content), **more)
        stands = (await desk.stub.UploadMaterial(asked)).material
    return stands


def shown(stands: pb.Material) -> Attachment:
    return Attachment(AttachmentKind.IMAGE, material=stands.name, digest=stands.digest)


async def test_a_large_picture_comes_in_parts_and_whoever_lost_an_answer_goes_on(desk: Room) -> None:
    first = part("pic", JPG[:PART], 0, len(JPG))
    begun = (await desk.stub.UploadMaterial(first)).material
    assert (begun.received_bytes, begun.digest) == (PART, "")
    assert (await desk.stub.UploadMaterial(first)).material == begun
    early = await refused(desk.stub.UploadMaterial(part("pic", JPG[:10], 2 * PART, len(JPG))))
    assert (early.violations[0].field, early.violations[0].description) == (
        "offset",
        f"the next part begins at {PART}",
    )
    whole = await uploads(desk)
    assert whole.digest == hashlib.sha256(JPG).hexdigest()
    assert (whole.received_bytes, whole.kind, whole.created_by) == (len(JPG), pb.MATERIAL_KIND_IMAGE, "local")
    assert await uploads(desk) == whole, "a repeat of all changes nothing"
    (entry,) = await desk.rows(audit_entry)
    assert (entry.method, entry.object_id) == ("UploadMaterial", "pic")
    other = await refused(uploads(desk, content=JPG + b"1"))
    assert (other.reason, other.facts["state"]) == ("STATE_INVALID", "taken")
    (listed,) = (await desk.stub.ListMaterials(pb.ListMaterialsRequest(store_id=STORE))).materials
    assert listed == whole


async def test_what_is_not_what_it_says_is_refused(desk: Room) -> None:
    video = {"kind": pb.MATERIAL_KIND_VIDEO, "filename": "a.mp4"}
    for asked, field in [
        (part("a", b"GIF89a" + bytes(40)), "content"),
        (part("a", JPG[:40], **video), "content"),
        (part("a", JPG[:40], size=11_000_000), "size_bytes"),
        (part("a", JPG[:40], size=20), "content"),
        (part("a", JPG[:40], at=40, size=80), "offset"),
        (part("a", JPG[:40], filename="a/b.jpg"), "filename"),
        (part("../a", JPG[:40]), "name"),
    ]:
        assert (await refused(desk.stub.UploadMaterial(asked))).violations[0].field == field
    assert (await uploads(desk, "v", MP4, **video)).digest
    assert (await uploads(desk, "f", b"anything at all", kind=pb.MATERIAL_KIND_FILE)).digest


async def test_a_first_part_takes_the_place_of_what_never_became_whole_and_the_rest_is_forgotten(
    desk: Room,
) -> None:
    await desk.stub.UploadMaterial(part("pic", JPG[:PART], 0, len(JPG)))
    anew = await uploads(desk, content=JPG[:100])
    assert anew.digest
    await desk.stub.UploadMaterial(part("left", JPG[:PART], 0, len(JPG)))
    later = desk.resources.clock.now() + ABANDONED + timedelta(seconds=60)
    assert await desk.database.transact(lambda conn: store.purge(conn, later, 100)) == 1
    assert [row.name for row in await desk.rows(material)] == ["pic"]
    assert len(await desk.rows(material_part)) == 1


async def test_a_campaign_binds_the_very_bytes_and_keeps_them_as_long_as_it_is_not_over(desk: Room) -> None:
    stands = await uploads(desk)
    image = wire.Attachment(image=wire.ImageAttachment(material="pic"))
    video = wire.Attachment(video=wire.VideoAttachment(material="pic"))
    failure = await refused(desk.creates(content=wire.Content(attachments=[video])))
    assert failure.violations[0].field == "spec.content.attachments[0].video.material"
    made = await desk.creates(content=wire.Content(attachments=[image]))
    kept = (await desk.side.campaigns.get(made.id, None)).kept
    assert kept.spec.content.attachments[0].digest == stands.digest
    gone = pb.DeleteMaterialRequest(store_id=STORE, name="pic", idempotency_key="k")
    failure = await refused(desk.stub.DeleteMaterial(gone))
    assert (failure.reason, failure.facts["campaign_id"]) == ("STATE_INVALID", made.id)
    await desk.updates(made.id, "content", content=wire.Content(text="没有图"))
    await desk.stub.DeleteMaterial(gone)
    await desk.stub.DeleteMaterial(gone)
    assert not await desk.rows(material_part)
    missing = await refused(desk.stub.DeleteMaterial(pb.DeleteMaterialRequest(store_id=STORE, name="pic")))
    assert missing.reason == "NOT_FOUND"


async def test_the_platform_gets_it_when_it_is_needed_and_again_before_it_forgets_it(desk: Room) -> None:
    stands = await uploads(desk)
    assert not await desk.world.requests(UPLOAD)
    media: MediaDesk = desk.side.media
    first = await media.media_ids(STORE, [shown(stands)])
    assert first.ids["pic"]
    assert await media.media_ids(STORE, [shown(stands), shown(stands)]) == first
    assert len(await desk.world.requests(UPLOAD)) == 1
    await desk.world.advance((LIVES - IN_TIME).total_seconds() + 1)
    await asyncio.sleep(0)
    second = await _other_than(desk, media, stands, first.ids["pic"])
    assert second != first.ids["pic"]
    await media.forget(STORE, [second])
    third = await media.media_ids(STORE, [shown(stands)])
    assert third.ids["pic"] not in (second, first.ids["pic"])
    assert len(await desk.world.requests(UPLOAD)) == 3


async def _other_than(desk: Room, media: MediaDesk, stands: pb.Material, known: str) -> str:
    """What it is called once the clock that follows the sandbox's has seen the days pass."""
    for _ in range(200):
        found = (await media.media_ids(STORE, [shown(stands)])).ids["pic"]
        if found != known:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it was not uploaded anew")


async def test_many_who_need_it_at_once_have_it_uploaded_once(desk: Room) -> None:
    stands = await uploads(desk)
    found = await asyncio.gather(*(desk.side.media.media_ids(STORE, [shown(stands)]) for _ in range(6)))
    assert len({one.ids["pic"] for one in found}) == 1
    assert len(await desk.world.requests(UPLOAD)) == 1


async def test_what_was_approved_and_is_not_there_any_more_is_not_sent(desk: Room) -> None:
    stands = await uploads(desk)
    media: MediaDesk = desk.side.media
    other = Attachment(AttachmentKind.IMAGE, material="pic", digest="0" * 64)
    assert (await media.media_ids(STORE, [other])).reason == "material_changed"
    none = Attachment(AttachmentKind.IMAGE, material="none", digest="0" * 64)
    assert (await media.media_ids(STORE, [none])).reason == "material_gone"
    await desk.world.fault(path=UPLOAD, errcode=40004, errmsg="invalid media type")
    failed = await media.media_ids(STORE, [shown(stands)])
    assert (failed.reason, failed.again) == ("material_failed", False)
    (listed,) = (await desk.stub.ListMaterials(pb.ListMaterialsRequest())).materials
    assert listed.failure == "refused:40004"
    await desk.world.clear_faults()
    assert (await media.media_ids(STORE, [shown(stands)])).ids["pic"]


async def test_whoever_held_the_upload_too_long_changes_nothing(desk: Room) -> None:
    await uploads(desk)
    now = desk.resources.clock.now()

    async def take(conn: Any) -> int:
        held = await store.hold(conn, STORE, "pic")
        assert held is not None
        return await store.take_upload(conn, held, now - timedelta(seconds=1))

    frozen = await desk.database.transact(take)
    stands = (await desk.stub.ListMaterials(pb.ListMaterialsRequest())).materials[0]
    known = (await desk.side.media.media_ids(STORE, [shown(stands)])).ids["pic"]
    (row,) = await desk.rows(material)
    late = await desk.database.transact(
        lambda conn: store.settle_upload(conn, row.id, frozen, media_id="late", failure="")
    )
    assert not late
    (row,) = await desk.rows(material)
    assert row.media_id == known
