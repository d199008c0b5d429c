"""The RPCs about templates and experiments: from the wire to one use case and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reach.kf_session.v1 import kf_session_service_pb2_grpc
from reach.kf_session.v1 import template_pb2 as pb

from services.kf_session.domain.experiment import DURATION
from services.kf_session.domain.templates import Msgtype, main_bytes
from services.kf_session.pipeline.templating import SHIPPED
from services.kf_session.session_service import SERVICE
from services.kf_session.template_wire import from_spec, from_variant, to_experiment, to_template
from services.kf_session.usecases.templates import Preview, Templates
from shared.errors import Invalid
from shared.rpc.fields import from_duration, from_struct, to_struct
from shared.rpc.once import once_of
from shared.rpc.paging import PageTokens, page_size
from shared.rpc.principal import authorise_store, authorise_store_or_every, stores_named
from shared.text.cutting import size

SCOPES: Final[Mapping[str, str]] = {
    f"{SERVICE}/{method}": scope
    for method, scope in {
        "CreateTemplate": "kf.write",
        "UpdateTemplate": "kf.write",
        "ListTemplates": "kf.read",
        "DeleteTemplate": "kf.write",
        "PreviewTemplate": "kf.read",
        "StartExperiment": "kf.write",
        "StopExperiment": "kf.write",
    }.items()
}
"""The scope each method needs."""

_MAIN: Final = {
    Msgtype.TEXT: "content",
    Msgtype.LINK: "desc",
    Msgtype.MINIPROGRAM: "title",
    Msgtype.MSGMENU: "head_content",
}


class TemplateMethods(kf_session_service_pb2_grpc.KfSessionServiceServicer):
    """See kf_session_service.proto."""

    _templates: Templates
    _tokens: PageTokens

    async def CreateTemplate(
        self, request: pb.CreateTemplateRequest, context: Any
    ) -> pb.CreateTemplateResponse:
        """Add a template."""
        authorise_store_or_every(request.store_id)
        made = await self._templates.create(
            request.store_id,
            request.template_id,
            from_spec(request.spec),
            request.comment,
            once_of(SERVICE, "CreateTemplate", request, request.store_id),
        )
        return pb.CreateTemplateResponse(template=to_template(made))

    async def UpdateTemplate(
        self, request: pb.UpdateTemplateRequest, context: Any
    ) -> pb.UpdateTemplateResponse:
        """Add a version, or let another one act."""
        authorise_store_or_every(request.store_id)
        once = once_of(SERVICE, "UpdateTemplate", request, request.store_id)
        where = (request.store_id, request.template_id)
        if request.HasField("spec") == bool(request.act_version):
            raise Invalid.field("act_version", "give either a spec or the version that shall act")
        if request.act_version:
            made = await self._templates.act(
                *where, request.act_version, expected=request.expected_version, once=once
            )
        else:
            made = await self._templates.update(
                *where,
                from_spec(request.spec),
                draft=request.draft,
                expected=request.expected_version,
                comment=request.comment,
                once=once,
            )
        return pb.UpdateTemplateResponse(template=to_template(made))

    async def ListTemplates(self, request: pb.ListTemplatesRequest, context: Any) -> pb.ListTemplatesResponse:
        """Templates, by store and id."""
        rows = page_size(request.page_size)
        cursor = self._tokens.read(request)
        after = None if cursor is None else (str(cursor[0]), str(cursor[1]), int(cursor[2] or 0))
        found, trials = await self._templates.list(
            stores_named(request.store_id),
            request.template_id,
            every_version=request.every_version,
            after=after,
            limit=rows + 1,
        )
        token = ""
        if len(found) > rows and found[rows - 1].version != SHIPPED:
            last = found[rows - 1]
            token = self._tokens.issue(request, [last.store_id, last.template_id, last.version])
        return pb.ListTemplatesResponse(
            templates=[
                to_template(one, trials.get((one.store_id, one.template_id)) if one.acting else None)
                for one in found[:rows]
            ],
            next_page_token=token,
        )

    async def DeleteTemplate(
        self, request: pb.DeleteTemplateRequest, context: Any
    ) -> pb.DeleteTemplateResponse:
        """Let a template act no more."""
        authorise_store_or_every(request.store_id)
        await self._templates.delete(
            request.store_id,
            request.template_id,
            once_of(SERVICE, "DeleteTemplate", request, request.store_id),
        )
        return pb.DeleteTemplateResponse()

    async def PreviewTemplate(
        self, request: pb.PreviewTemplateRequest, context: Any
    ) -> pb.PreviewTemplateResponse:
        """Show how a template comes out."""
        if request.store_id:
            authorise_store(request.store_id)
        found = await self._templates.preview(
            request.store_id,
            request.template_id,
            request.version,
            from_spec(request.spec) if request.HasField("spec") else None,
            request.matches or 1,
            from_struct(request.values),
        )
        return _preview(found)

    async def StartExperiment(
        self, request: pb.StartExperimentRequest, context: Any
    ) -> pb.StartExperimentResponse:
        """Let versions run against each other."""
        authorise_store_or_every(request.store_id)
        has = request.HasField("duration")
        begun = await self._templates.start(
            request.store_id,
            request.template_id,
            [from_variant(one) for one in request.variants],
            alpha=request.alpha,
            duration=from_duration(request.duration, "duration") if has else DURATION,
            adopt=request.adopt_winner,
            once=once_of(SERVICE, "StartExperiment", request, request.store_id),
        )
        return pb.StartExperimentResponse(experiment=to_experiment(begun))

    async def StopExperiment(
        self, request: pb.StopExperimentRequest, context: Any
    ) -> pb.StopExperimentResponse:
        """End an experiment."""
        authorise_store_or_every(request.store_id)
        ended = await self._templates.stop(
            request.store_id,
            request.template_id,
            request.reason,
            once_of(SERVICE, "StopExperiment", request, request.store_id),
        )
        return pb.StopExperimentResponse(experiment=to_experiment(ended))


def _preview(found: Preview) -> pb.PreviewTemplateResponse:
    msgtype = found.spec.msgtype
    body = found.content[str(msgtype)]
    assert isinstance(body, dict), "every form has an object of its name"
    return pb.PreviewTemplateResponse(
        content=to_struct(found.content),
        bytes=size(str(body[_MAIN[msgtype]])),
        byte_limit=main_bytes(msgtype),
        findings=[pb.TemplateFinding(field=one.field, description=one.words) for one in found.findings],
    )
