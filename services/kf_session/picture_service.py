"""The RPCs about pictures: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.kf_session.v1 import kf_session_service_pb2_grpc
from reach.kf_session.v1 import picture_pb2 as pb

from services.kf_session.session_service import SERVICE
from services.kf_session.store.pictures import Kept
from services.kf_session.usecases.pictures import Pictures
from shared.rpc.fields import to_timestamp
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store_or_every, stores_named

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/UpsertPicture": "kf.write",
    f"{SERVICE}/ListPictures": "kf.read",
    f"{SERVICE}/DeletePicture": "kf.write",
}
"""The scope each method needs."""


class PictureMethods(kf_session_service_pb2_grpc.KfSessionServiceServicer):
    """See kf_session_service.proto."""

    _pictures: Pictures
    _tokens: PageTokens

    async def UpsertPicture(self, request: pb.UpsertPictureRequest, context: Any) -> pb.UpsertPictureResponse:
        """Keep a picture."""
        authorise_store_or_every(request.store_id)
        once = once_of(SERVICE, "UpsertPicture", request, request.store_id)
        kept = await self._pictures.upsert(request.store_id, request.name, request.content, once=once)
        return pb.UpsertPictureResponse(picture=_to_picture(kept))

    async def ListPictures(self, request: pb.ListPicturesRequest, context: Any) -> pb.ListPicturesResponse:
        """Pictures, by store and name."""
        stores, size, cursor = (
            stores_named(request.store_id),
            page_size(request.page_size),
            self._tokens.read(request),
        )
        after = None if cursor is None else (str(cursor[0]), str(cursor[1]))
        found = await self._pictures.page(stores, after, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = self._tokens.issue(request, [last.store_id, last.name])
        return pb.ListPicturesResponse(
            pictures=[_to_picture(one) for one in found[:size]], next_page_token=token
        )

    async def DeletePicture(self, request: pb.DeletePictureRequest, context: Any) -> pb.DeletePictureResponse:
        """Keep a picture no longer."""
        authorise_store_or_every(request.store_id)
        once = once_of(SERVICE, "DeletePicture", request, request.store_id)
        await self._pictures.delete(request.store_id, request.name, once=once)
        return pb.DeletePictureResponse()


def _to_picture(kept: Kept) -> pb.Picture:
    return pb.Picture(
        store_id=kept.store_id,
        name=kept.name,
        size_bytes=kept.size,
        media_id=kept.media_id,
        expire_time=None if kept.expires_at is None else to_timestamp(kept.expires_at),
        failure=kept.failure,
        next_upload_time=to_timestamp(kept.due_at),
        update_time=to_timestamp(kept.updated_at),
    )
