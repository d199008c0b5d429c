"""The test-only contract, compiled from its proto when first imported, and a servicer for it."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tools import genprotos

NAME = "reach.testing.v1.EchoService"


def _load() -> Any:
    pool = descriptor_pool.Default()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "echo.binpb")
        genprotos.image(Path(__file__).parent / "protos", out)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    for file in files.file:
        file.ClearField("source_code_info")
        try:
            pool.FindFileByName(file.name)
        except KeyError:
            pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(NAME)


SERVICE = _load()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName(f"reach.testing.v1.{name}")
    )


EchoRequest = _message("EchoRequest")
EchoReply = _message("EchoReply")
Person = _message("Person")
ListEchoesRequest = _message("ListEchoesRequest")
ListEchoesResponse = _message("ListEchoesResponse")

Behaviour = Callable[[Any, Any], Awaitable[Any]]

SCOPES = {
    f"{NAME}/GetEcho": "notify.read",
    f"{NAME}/ListEchoes": "notify.read",
    f"{NAME}/CreateEcho": "notify.send",
    f"{NAME}/WatchEchoes": "notify.read",
}


async def echo(request: Any, context: Any) -> Any:
    return EchoReply(text=request.text, idempotency_key=request.idempotency_key)


def registrar(**behaviours: Any) -> Callable[[Any], None]:
    """Registers the service as generated code would; methods not named echo."""

    def register(server: Any) -> None:
        handlers = {}
        for method in SERVICE.methods:
            make = (
                grpc.unary_stream_rpc_method_handler
                if method.server_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            handlers[method.name] = make(
                behaviours.get(method.name, echo),
                request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
                response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
        server.add_registered_method_handlers(NAME, handlers)

    return register


def unary(channel: Any, name: str) -> Any:
    method = SERVICE.methods_by_name[name]
    return channel.unary_unary(
        f"/{NAME}/{name}",
        request_serializer=message_factory.GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )


def stream(channel: Any, name: str = "WatchEchoes") -> Any:
    return channel.unary_stream(
        f"/{NAME}/{name}",
        request_serializer=EchoRequest.SerializeToString,
        response_deserializer=EchoReply.FromString,
    )
