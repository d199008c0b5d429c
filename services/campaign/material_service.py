"""The RPCs about materials and tones: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.campaign.v1 import campaign_service_pb2_grpc, tone_pb2
from reach.campaign.v1 import material_pb2 as pb

from services.campaign.contract import SERVICE
from services.campaign.domain.material import MaterialKind
from services.campaign.domain.tone import Tone
from services.campaign.store.materials import KeptMaterial
from services.campaign.store.tones import KeptTone
from services.campaign.usecases.materials import Materials, Part
from services.campaign.usecases.tones import Tones
from shared.rpc.fields import EnumMap, to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, authorise_store_or_every, stores_named

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "UploadMaterial": "campaign.write",
        "ListMaterials": "campaign.read",
        "DeleteMaterial": "campaign.write",
        "SetTone": "campaign.write",
        "ListTones": "campaign.read",
        "DeleteTone": "campaign.write",
    }.items()
}
"""The scope each method needs."""

_KINDS: EnumMap[MaterialKind] = EnumMap(
    pb.MaterialKind, {one: pb.MaterialKind.Value(f"MATERIAL_KIND_{one.name}") for one in MaterialKind}
)


class MaterialMethods(campaign_service_pb2_grpc.CampaignServiceServicer):
    """See campaign_service.proto."""

    _materials: Materials
    _tones: Tones
    _tokens: PageTokens

    async def UploadMaterial(
        self, request: pb.UploadMaterialRequest, context: Any
    ) -> pb.UploadMaterialResponse:
        """Store one part of a material."""
        authorise_store(request.store_id)
        part = Part(
            request.store_id,
            request.name,
            _KINDS.to_domain(request.kind, "kind"),
            request.filename,
            request.size_bytes,
            request.offset,
            request.content,
        )
        return pb.UploadMaterialResponse(material=_to_material(await self._materials.upload(part)))

    async def ListMaterials(self, request: pb.ListMaterialsRequest, context: Any) -> pb.ListMaterialsResponse:
        """Materials, by store and name."""
        stores, size = stores_named(request.store_id), page_size(request.page_size)
        found = await self._materials.page(stores, self._after(request), size + 1)
        token = ""
        if len(found) > size:
            token = self._tokens.issue(request, [found[size - 1].store_id, found[size - 1].name])
        return pb.ListMaterialsResponse(materials=map(_to_material, found[:size]), next_page_token=token)

    async def DeleteMaterial(
        self, request: pb.DeleteMaterialRequest, context: Any
    ) -> pb.DeleteMaterialResponse:
        """Take a material away."""
        authorise_store(request.store_id)
        once = once_of(SERVICE, "DeleteMaterial", request, request.store_id)
        await self._materials.delete(request.store_id, request.name, once=once)
        return pb.DeleteMaterialResponse()

    async def SetTone(self, request: tone_pb2.SetToneRequest, context: Any) -> tone_pb2.SetToneResponse:
        """Keep a tone profile."""
        said = request.tone
        authorise_store_or_every(said.store_id)
        tone = Tone(
            said.name,
            said.description,
            tuple(said.preferred_words),
            tuple(said.banned_words),
            tuple(said.language_rules),
        )
        once = once_of(SERVICE, "SetTone", request, said.store_id)
        return tone_pb2.SetToneResponse(tone=_to_tone(await self._tones.put(said.store_id, tone, once=once)))

    async def ListTones(self, request: tone_pb2.ListTonesRequest, context: Any) -> tone_pb2.ListTonesResponse:
        """Tone profiles, by store and name."""
        stores, size = stores_named(request.store_id), page_size(request.page_size)
        found = await self._tones.page(stores, self._after(request), size + 1)
        token = ""
        if len(found) > size:
            token = self._tokens.issue(request, [found[size - 1].store_id, found[size - 1].tone.name])
        return tone_pb2.ListTonesResponse(tones=map(_to_tone, found[:size]), next_page_token=token)

    async def DeleteTone(
        self, request: tone_pb2.DeleteToneRequest, context: Any
    ) -> tone_pb2.DeleteToneResponse:
        """Keep a tone profile no longer."""
        authorise_store_or_every(request.store_id)
        once = once_of(SERVICE, "DeleteTone", request, request.store_id)
        await self._tones.delete(request.store_id, request.name, once=once)
        return tone_pb2.DeleteToneResponse()

    def _after(self, request: Any) -> tuple[str, str] | None:
        cursor = self._tokens.read(request)
        return None if cursor is None else (str(cursor[0]), str(cursor[1]))


def _to_material(kept: KeptMaterial) -> pb.Material:
    return pb.Material(
        store_id=kept.store_id,
        name=kept.name,
        kind=_KINDS.to_wire(kept.kind),
        filename=kept.filename,
        size_bytes=kept.size,
        received_bytes=kept.received,
        digest=kept.digest,
        expire_time=None if kept.expires_at is None else to_timestamp(kept.expires_at),
        failure=kept.failure,
        created_by=kept.created_by,
        create_time=to_timestamp(kept.created_at),
    )


def _to_tone(kept: KeptTone) -> tone_pb2.Tone:
    return tone_pb2.Tone(
        store_id=kept.store_id,
        name=kept.tone.name,
        description=kept.tone.description,
        preferred_words=kept.tone.preferred_words,
        banned_words=kept.tone.banned_words,
        language_rules=kept.tone.language_rules,
        updated_by=kept.updated_by,
        update_time=to_timestamp(kept.updated_at),
    )
