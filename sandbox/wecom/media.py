"""Uploading and fetching files."""

import hashlib
import io
import mimetypes
from collections.abc import Collection, Mapping
from typing import cast
from urllib.parse import quote

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, create_form_parser

from sandbox.answers import Blob, Refused
from sandbox.call import Answer, Call, Endpoint
from sandbox.media import Media, MediaType, amr_seconds, kind_of

_MEGABYTE = 1024 * 1024
_LIMITS = {"image": 10 * _MEGABYTE, "voice": 2 * _MEGABYTE, "video": 10 * _MEGABYTE, "file": 20 * _MEGABYTE}
_KINDS = {"image": ("jpg", "png"), "voice": ("amr",), "video": ("mp4",)}
_NOT_MULTIPART = "not a multipart/form-data body. invalid Request Parameter"
_MEDIA_SECRETS = frozenset(
    {"app", "kf", "customer"}
)  # a corp's temporary media are shared by whoever may send them
_ALL_TYPES = ("image", "voice", "video", "file")


def _part(call: Call) -> tuple[str, bytes]:
    """File name and bytes of the part named `media`; Refused with 44001 or 40058 when there is none."""
    if not call.record.content_type.startswith("multipart/form-data"):
        raise Refused(40058, _NOT_MULTIPART)
    files: list[File] = []
    headers = {"Content-Type": call.record.content_type.encode("latin-1")}
    try:
        parser: FormParser = create_form_parser(
            headers, lambda field: None, files.append, config={"MAX_MEMORY_FILE_SIZE": 64 * _MEGABYTE}
        )
        stream = io.BytesIO(call.body)
        while chunk := stream.read(_MEGABYTE):
            parser.write(chunk)
        parser.finalize()
    except (FormParserError, ValueError):
        raise Refused(40058, _NOT_MULTIPART) from None
    for file in files:
        if file.field_name == b"media":
            file.file_object.seek(0)
            return (file.file_name or b"media").decode("utf-8", "replace"), file.file_object.read()
    raise Refused(44001)


def _check(kind: str, content: bytes) -> None:
    if not content:
        raise Refused(44001)
    if len(content) <= 5:
        raise Refused(40006)
    if len(content) > _LIMITS[kind]:
        raise Refused(45001)
    if kind in _KINDS and kind_of(content) not in _KINDS[kind]:
        raise Refused(40004)
    if kind == "voice" and amr_seconds(content) > 60:
        raise Refused(45007)


def store_upload(call: Call, owner: str, types: Collection[str]) -> Answer:
    """Keep the uploaded part as temporary media of `owner`; Refused when it breaks a limit of its type."""
    kind = call.query.get("type", "")
    if kind not in types:
        raise Refused(40005)
    filename, content = _part(call)
    _check(kind, content)
    media = Media(call.world.new_id("media"), cast(MediaType, kind), filename, content, owner, call.now)
    call.world.media.add(media)
    return {
        "errcode": 0,
        "errmsg": "",
        "type": kind,
        "media_id": media.media_id,
        "created_at": str(int(call.now)),
    }


def _upload(call: Call) -> Answer:
    return store_upload(call, call.corp_id, _ALL_TYPES)


def _get(call: Call) -> Answer:
    media_id = call.query.get("media_id", "")
    if not media_id:
        raise Refused(41006)
    media = call.world.media.get(media_id, call.corp_id, call.now)
    if media is None:
        raise Refused(40007)
    content_type = mimetypes.guess_type(media.filename)[0] or "application/octet-stream"
    return Blob(media.content, content_type, quote(media.filename))


def _upload_image(call: Call) -> Answer:
    _, content = _part(call)
    if not content:
        raise Refused(44001)
    if not 5 < len(content) <= 2 * _MEGABYTE:
        raise Refused(40009)
    if kind_of(content) not in ("jpg", "png"):
        raise Refused(40123)
    limit, key = call.world.profile.uploadimg_per_day, f"uploadimg/{call.corp_id}"
    if not call.world.day.room(key, limit, call.now, "fixed"):
        raise Refused(45009)
    call.world.day.take(key, call.now)
    digest = hashlib.sha256(content).hexdigest()[:32]
    return {"errcode": 0, "errmsg": "", "url": f"https://wework.qpic.cn/wwpic/sandbox_{digest}/0"}


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/media/upload": Endpoint("POST", _upload, kinds=_MEDIA_SECRETS),
    "/cgi-bin/media/get": Endpoint("GET", _get, kinds=_MEDIA_SECRETS),
    "/cgi-bin/media/uploadimg": Endpoint("POST", _upload_image, kinds=frozenset({"app", "customer"})),
}
