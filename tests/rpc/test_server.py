from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from shared.environment import ConfigurationError
from shared.rpc import client, status
from shared.rpc.guard import GuardRules
from shared.rpc.health import HealthBoard
from shared.rpc.server import ListenError, RpcServer
from shared.rpc.tls import ClientTls, TlsFiles
from tests.rpc import contract
from tests.rpc.conftest import Callers
from tests.rpc.contract import EchoReply, EchoRequest


def build(listen: str, callers: Any = None, **more: Any) -> RpcServer:
    return RpcServer(
        listen,
        [contract.registrar(**more.pop("behaviours", {}))],
        rules=GuardRules(contract.SCOPES),
        authenticator=callers or Callers(),
        health=HealthBoard([contract.NAME]),
        **more,
    )


async def test_port_zero_picks_a_free_port_and_says_which():
    server = build("127.0.0.1:0")
    address = await server.start()
    assert address.startswith("127.0.0.1:")
    assert not address.endswith(":0")
    async with client.channel(address, contract.SERVICE) as channel:
        assert (await contract.unary(channel, "GetEcho")(EchoRequest(text="在"))).text == "在"
    await server.stop(0)


async def test_a_busy_port_is_one_line_with_the_way_out():
    first = build("127.0.0.1:0")
    address = await first.start()
    with pytest.raises(ListenError) as caught:
        await build(address).start()
    assert isinstance(caught.value, ConfigurationError)  # the process turns it into exit code 2
    (problem,) = caught.value.problems
    assert address in problem
    assert "REACH_GRPC_LISTEN" in problem
    await first.stop(0)


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:99999", ":50051"])
async def test_a_listening_address_that_is_none_is_refused(listen):
    with pytest.raises(ValueError, match="host:port"):
        build(listen)


async def test_the_same_service_twice_is_a_mistake_found_at_start():
    with pytest.raises(ValueError, match="twice"):
        RpcServer(
            "127.0.0.1:0",
            [contract.registrar(), contract.registrar()],
            rules=GuardRules(contract.SCOPES),
            authenticator=Callers(),
            health=HealthBoard([]),
        )


async def test_an_unknown_method_is_unimplemented_in_our_words(serve):
    served = await serve()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.unary_unary(f"/{contract.NAME}/Nope")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert status.from_call(caught.value).facts == {"method": f"{contract.NAME}/Nope"}


# --- Stopping


async def test_a_running_call_finishes_while_the_server_stops(serve):
    began, release = asyncio.Event(), asyncio.Event()

    async def slow(request, context):
        began.set()
        await release.wait()
        return EchoReply(text="done")

    served = await serve(GetEcho=slow)
    call = asyncio.ensure_future(contract.unary(served.channel, "GetEcho")(EchoRequest()))
    await began.wait()
    stopping = asyncio.create_task(served.server.stop(10))
    await asyncio.sleep(0)
    release.set()
    assert (await call).text == "done"
    await stopping


async def test_streams_and_calls_that_outlast_the_grace_learn_that_we_stop(serve):
    inside = asyncio.Barrier(3)

    async def hang(request, context):
        await inside.wait()
        await asyncio.Event().wait()

    served = await serve(GetEcho=hang, WatchEchoes=hang)
    loop = asyncio.get_running_loop()
    async with grpc.aio.insecure_channel(served.address) as channel:  # one that repeats nothing
        unary = asyncio.ensure_future(contract.unary(channel, "GetEcho")(EchoRequest(), timeout=30))
        stream = contract.stream(channel)(EchoRequest(), timeout=30)
        reading = asyncio.ensure_future(stream.read())
        await inside.wait()
        started = loop.time()
        await served.server.stop(1.0)
        assert loop.time() - started < 2
        for call in (reading, unary):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert status.from_call(caught.value).reason == "SHUTTING_DOWN"


async def test_a_stream_does_not_hold_up_the_stop(serve):
    began = asyncio.Event()

    async def watch(request, context):
        began.set()
        await asyncio.Event().wait()
        yield EchoReply()

    served = await serve(WatchEchoes=watch)
    stream = contract.stream(served.channel)(EchoRequest(), timeout=30)
    reading = asyncio.ensure_future(stream.read())
    await began.wait()
    async with asyncio.timeout(5):
        await served.server.stop(60)
    with pytest.raises(grpc.aio.AioRpcError):
        await reading


# --- Reflection and health


async def names(channel: Any, path: str = "grpc.reflection.v1alpha.ServerReflection") -> list[str]:
    call = channel.stream_stream(
        f"/{path}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5)
    async for reply in call:
        return [service.name for service in reply.list_services_response.service]
    return []


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services_under_both_its_names(serve, version):
    served = await serve()
    found = await names(served.channel, f"grpc.reflection.{version}.ServerReflection")
    assert {contract.NAME, "grpc.health.v1.Health"} <= set(found)


async def test_reflection_asks_for_credentials_and_health_does_not(serve, callers, lines):
    callers.closed = True
    served = await serve()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await names(served.channel)
    assert status.from_call(caught.value).reason == "TOKEN_MISSING"
    health = health_pb2_grpc.HealthStub(served.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(service=contract.NAME))).status == 1
    assert [line["method"] for line in lines if line["event"] == "rpc"] == [
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    ]


async def test_reflection_can_be_switched_off():
    server = build("127.0.0.1:0", reflection=False)
    async with client.channel(await server.start()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await names(channel)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.stop(0)


# --- TLS


def certificate(folder: Path) -> TlsFiles:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return TlsFiles(folder / "cert.pem", folder / "key.pem")


async def test_with_tls_files_the_port_speaks_only_tls(tmp_path):
    files = certificate(tmp_path)
    server = build("127.0.0.1:0", tls=files)
    target = "localhost:" + (await server.start()).rpartition(":")[2]
    async with client.channel(target, contract.SERVICE, tls=ClientTls(files.certificate)) as channel:
        assert (await contract.unary(channel, "GetEcho")(EchoRequest(text="密"))).text == "密"
    async with client.channel(target, contract.SERVICE) as plain:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await contract.unary(plain, "GetEcho")(EchoRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop(0)


async def test_with_a_client_authority_strangers_are_turned_away(tmp_path):
    own = certificate(tmp_path)
    server = build("127.0.0.1:0", tls=TlsFiles(own.certificate, own.key, client_ca=own.certificate))
    target = "localhost:" + (await server.start()).rpartition(":")[2]
    async with client.channel(target, contract.SERVICE, tls=ClientTls(own.certificate)) as stranger:
        with pytest.raises(grpc.aio.AioRpcError):
            await contract.unary(stranger, "GetEcho")(EchoRequest())
    await server.stop(0)


async def test_tls_files_that_are_of_no_use_are_named(tmp_path):
    files = certificate(tmp_path)
    files.key.write_text("no key")
    with pytest.raises(ListenError, match=r"key\.pem"):
        await build("127.0.0.1:0", tls=files).start()
    files.key.unlink()
    with pytest.raises(ListenError, match=r"cannot read .*key\.pem"):
        await build("127.0.0.1:0", tls=files).start()
