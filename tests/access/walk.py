"""Every RPC there is, found by reflection over a process with all services, and what strangers are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2 as pb

from cli.common import SERVICES
from shared.rpc.calls import describe
from shared.rpc.principal import EVERY_STORE, SCOPES
from shared.rpc.status import from_call
from shared.values import value_class
from tests.access.requests import request_of
from tests.e2e.harness import Reach, create_tokens, embedded, sandbox

HERE, ELSEWHERE = "store-a", "store-b"
OPEN = {"grpc.health.v1.Health"}
"""Asked by whoever starts and stops processes: says nothing but whether they are ready."""
KNOWN = {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
"""For anybody with a token, of whatever scope and store."""

CORP_WIDE = {
    "reach.campaign.v1.CampaignService/ListCapabilities": "what the platform can do",
    "reach.campaign.v1.CampaignService/ListGroupSyncs": "when the one sync of all groups ran",
    "reach.campaign.v1.CampaignService/SyncGroups": "begins the one sync of all groups",
    "reach.campaign.v1.CampaignService/ListPlaybooks": "the playbooks that come with a release",
    "reach.ops.v1.OpsService/Doctor": "whether the deployment works",
    "reach.ops.v1.OpsService/ListCredentials": "names of the corp's apps and robots, without their secrets",
    "reach.ops.v1.OpsService/ListDeadLetters": "lists those of the caller's stores",
    "reach.ops.v1.OpsService/ListSchedules": "what begins by the clock, for all stores alike",
}
"""Methods whose request can name no store, and that answer a bearer of any: why that is right."""

NOT_THERE = frozenset({"STORE_FORBIDDEN", "NOT_FOUND"})
"""How a method keeps one store from another. That what really is there is not found either, tests/*/test_isolation.py
show."""

MORE: Mapping[str, Mapping[str, Any]] = {"reach.campaign.v1.CampaignService/LabelGroups": {"add": ["x"]}}
"""What a request needs beyond the rules of its contract to come as far as its store."""

NOBODY = "nobody"
NOTHING = "nothing"
LITTLE = "little"
"""Tokens with one scope each, two different ones."""


@value_class
class Door:
    """One RPC, and what it answered; an answer is ``OK`` or a stable reason."""

    path: str
    scope: str
    """That it asked for."""
    without_token: str
    with_wrong_token: str
    without_scope: str
    """To a token with all scopes but that one, for every store."""
    from_elsewhere: str
    """To a person's token with all scopes for another store than the request names."""

    @property
    def problem(self) -> str:
        """What is wrong with the answers; '' where nothing is."""
        wanted = ("TOKEN_MISSING", "TOKEN_INVALID", "SCOPE_MISSING")
        found = (self.without_token, self.with_wrong_token, self.without_scope)
        if found != wanted or self.scope not in SCOPES:
            return f"{self.path}: {found}, scope {self.scope!r}"
        if self.from_elsewhere in NOT_THERE:
            return f"{self.path} is listed as one of no store" if self.path in CORP_WIDE else ""
        return (
            "" if self.path in CORP_WIDE else f"{self.path}: another store's token gets {self.from_elsewhere}"
        )


@value_class
class Walker:
    """Calls methods of one process as this or that bearer."""

    reach: Reach
    tokens: Mapping[str, str]

    async def paths(self) -> list[str]:
        """``package.Service/Method`` of every RPC, as reflection tells."""
        names = [one.name for one in (await self._reflect(list_services="")).list_services_response.service]
        found: list[str] = []
        for name in names:
            reply = await self._reflect(file_containing_symbol=name)
            for raw in reply.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(raw)
                found += [
                    f"{name}/{method.name}"
                    for service in file.service
                    if f"{file.package}.{service.name}" == name
                    for method in service.method
                ]
        return sorted(found)

    async def doors(self) -> list[Door]:
        """All RPCs but those of ``OPEN`` and ``KNOWN``."""
        paths = [one for one in await self.paths() if one.partition("/")[0] not in OPEN | KNOWN]
        return [await self.try_door(path) for path in paths]

    async def _reflect(self, **asked: str) -> Any:
        channel = self.reach.bearing(self.tokens[NOTHING]).channel
        call = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=pb.ServerReflectionResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {self.tokens[NOTHING]}"),)
        async for reply in call(iter([pb.ServerReflectionRequest(**asked)]), metadata=metadata, timeout=10):
            return reply
        raise AssertionError("reflection ended without an answer")

    async def try_door(self, path: str) -> Door:
        """Everything a stranger could try on one RPC."""
        scope = await self._scope(path)
        return Door(
            path,
            scope,
            without_token=await self.answer(path, None),
            with_wrong_token=await self.answer(path, NOBODY),
            without_scope=await self.answer(path, f"without {scope}" if scope else NOTHING),
            from_elsewhere=await self.answer(path, ELSEWHERE),
        )

    async def _scope(self, path: str) -> str:
        """The scope that the method says it needs, to one of two tokens of which at least one lacks it."""
        for bearer in (NOTHING, LITTLE):
            asked = await self._refusal(path, bearer)
            if asked is not None and asked.reason == "SCOPE_MISSING":
                return str(asked.facts["scope"])
        return ""

    async def answer(self, path: str, bearer: str | None) -> str:
        """What a call naming the store ``HERE`` is answered."""
        refused = await self._refusal(path, bearer)
        return "OK" if refused is None else refused.reason

    async def _refusal(self, path: str, bearer: str | None) -> Any:
        method = describe(path)
        assert method is not None, path
        request = request_of(GetMessageClass(method.input_type), HERE)
        request.MergeFrom(type(request)(**MORE.get(path, {})))
        channel = self.reach.channel if bearer is None else self.reach.bearing(self.tokens[bearer]).channel
        kind: Callable[..., Any] = channel.unary_stream if method.server_streaming else channel.unary_unary
        call = kind(
            f"/{path}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )(request, timeout=5)
        try:
            await (call.read() if method.server_streaming else call)
        except grpc.aio.AioRpcError as error:
            return from_call(error)
        finally:
            call.cancel()
        return None


@asynccontextmanager
async def walker(home: Path) -> AsyncIterator[Walker]:
    """A process with all services beside a sandbox, and bearers of every kind."""
    grants = {
        NOTHING: (["events.publish"], [ELSEWHERE]),
        LITTLE: (["ops.read"], [ELSEWHERE]),
        **{f"without {scope}": (SCOPES - {scope}, [EVERY_STORE]) for scope in SCOPES},
    }
    tokens = await create_tokens(home, grants)
    tokens |= await create_tokens(home, {ELSEWHERE: (SCOPES, [ELSEWHERE])}, kind="human")
    tokens[NOBODY] = "reach_000000000000_" + "A" * 43
    builds = [import_module(f"services.{service}.assembly").build for service in SERVICES]
    async with sandbox() as world:
        more = {"dashscope_base_url": f"{world.url}/api/v1", "DASHSCOPE_API_KEY": "sk-0123456789abcdef"}
        async with embedded(world.url, home, builds=builds, **more) as reach:
            yield Walker(reach, tokens)
