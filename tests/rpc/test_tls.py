"""TLS and mTLS over real connections: who may call what, and files that are replaced while both sides run."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared import watched_files
from shared.errors import Denied
from shared.rpc import client, status
from shared.rpc.guard import GuardRules
from shared.rpc.health import HealthBoard
from shared.rpc.peers import PeerRules
from shared.rpc.principal import Principal
from shared.rpc.server import RpcServer
from shared.rpc.tls import ClientTls, TlsFiles
from tests.rpc import contract
from tests.rpc.conftest import Callers
from tests.rpc.contract import EchoRequest
from tests.support.certificates import Authority, Pair

OURS, OTHER = "spiffe://reach/campaign", "spiffe://reach/kf_session"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at a file is a fresh one."""
    monkeypatch.setattr(watched_files, "EVERY", 0.0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@asynccontextmanager
async def served(tls: TlsFiles, peers: PeerRules | None = None, callers: Any = None) -> AsyncIterator[str]:
    server = RpcServer(
        "127.0.0.1:0",
        [contract.registrar()],
        rules=GuardRules(contract.SCOPES, peers=peers),
        authenticator=callers or Callers(),
        health=HealthBoard([contract.NAME]),
        tls=tls,
    )
    target = "localhost:" + (await server.start()).rpartition(":")[2]
    yield target
    await server.stop(0)


async def says(target: str, tls: ClientTls, **more: Any) -> str:
    """What comes back; a failure is its reason, or the code where the library refused."""
    async with client.channel(target, contract.SERVICE, tls=tls, **more) as channel:
        return await said(channel)


async def said(channel: grpc.aio.Channel) -> str:
    try:
        return (await contract.unary(channel, "GetEcho")(EchoRequest(text="密"), timeout=10)).text
    except grpc.aio.AioRpcError as error:
        return status.from_call(error).reason


def mutual(authority: Authority, *, server: Pair) -> TlsFiles:
    return TlsFiles(server.certificate, server.key, authority.file)


def showing(authority: Authority, pair: Pair) -> ClientTls:
    return ClientTls(authority.file, pair.certificate, pair.key)


async def test_a_client_of_our_authority_may_call_and_a_stranger_and_nobody_may_not(authority, tmp_path):
    files = mutual(authority, server=authority.issue("server"))
    stranger = Authority(tmp_path / "other", "other").issue("stranger", OURS)
    async with served(files) as target:
        assert await says(target, showing(authority, authority.issue("campaign", OURS))) == "密"
        assert await says(target, ClientTls(authority.file)) == "DEPENDENCY_DOWN"
        assert (
            await says(target, ClientTls(authority.file, stranger.certificate, stranger.key))
            == "DEPENDENCY_DOWN"
        )


async def test_only_whom_the_list_names_may_call_a_service_whatever_token_they_have(authority):
    peers = PeerRules.of([f"testing={OURS}", "notifier=gateway.internal"])
    files = mutual(authority, server=authority.issue("server"))
    async with served(files, peers) as target:
        for pair, expected in (
            (authority.issue("campaign", OURS), "密"),
            (authority.issue("kf", OTHER), "PEER_FORBIDDEN"),
            (authority.issue("gateway", dns=("gateway.internal",)), "PEER_FORBIDDEN"),
            (authority.issue("campaign-by-name-only"), "PEER_FORBIDDEN"),
        ):
            assert await says(target, showing(authority, pair)) == expected, pair


async def test_the_list_does_not_replace_the_token(authority):
    callers = Callers()
    callers.closed = True
    files = mutual(authority, server=authority.issue("server"))
    async with served(files, PeerRules.of([f"*={OURS}"]), callers) as target:
        tls = showing(authority, authority.issue("campaign", OURS))
        assert await says(target, tls) == "TOKEN_MISSING"
        assert await says(target, tls, token="wrong") == "TOKEN_INVALID"


async def test_health_is_for_everybody_on_the_list_and_for_nobody_else(authority):
    peers = PeerRules.of([f"notifier={OURS}"])
    files = mutual(authority, server=authority.issue("server"))
    async with served(files, peers) as target:
        for pair, code in (
            (authority.issue("a", OURS), None),
            (authority.issue("b", OTHER), "PEER_FORBIDDEN"),
        ):
            async with client.channel(target, tls=showing(authority, pair)) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
                if code is None:
                    assert (await check).status == 1
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await check
                assert status.from_call(caught.value).reason == code


@pytest.mark.parametrize(
    ("pair", "path", "allowed"),
    [
        ("notifier=n", "reach.notifier.v1.NotifierService/SendMessage", True),
        ("notifier=n", "reach.ops.v1.OpsService/ListAuditLog", False),
        ("*=n", "reach.ops.v1.OpsService/ListAuditLog", True),
        ("reach.ops.v1.OpsService=n", "reach.ops.v1.OpsService/ListAuditLog", True),
        ("reach.ops.v1.OpsService=n", "reach.ops.v1.Other/ListAuditLog", False),
        ("reach.ops.v1.OpsService/ListAuditLog=n", "reach.ops.v1.OpsService/ListAuditLog", True),
        ("reach.ops.v1.OpsService/ListAuditLog=n", "reach.ops.v1.OpsService/VerifyAudit", False),
        ("notifier=n", "evil.notifier.v1.NotifierService/SendMessage", False),
        ("notifier=m", "reach.notifier.v1.NotifierService/SendMessage", False),
    ],
)
def test_what_a_line_of_the_list_opens(pair, path, allowed):
    rules = PeerRules.of([pair])
    if allowed:
        rules.check(path, {"n"}, common=False)
        return
    with pytest.raises(Denied):
        rules.check(path, {"n"}, common=False)


def test_no_list_is_no_rule():
    assert PeerRules.of([]) is None


# --- Rotation


async def test_a_new_certificate_of_the_server_is_shown_to_the_next_connection(authority, tmp_path):
    mine, younger = authority.issue("server"), Authority(tmp_path / "next", "next")
    async with (
        served(TlsFiles(mine.certificate, mine.key)) as target,
        client.channel(target, contract.SERVICE, tls=ClientTls(authority.file)) as before,
    ):
        assert await said(before) == "密"
        mine.replace(younger.issue("server"))
        assert await said(before) == "密"  # what stands goes on
        assert await says(target, ClientTls(younger.file)) == "密"
        assert await says(target, ClientTls(authority.file)) == "DEPENDENCY_DOWN"


async def test_a_key_that_does_not_fit_yet_changes_nothing_until_its_certificate_is_there(authority):
    mine, other = authority.issue("server"), authority.issue("renewed")
    async with served(TlsFiles(mine.certificate, mine.key)) as target:
        mine.key.write_bytes(other.key.read_bytes())
        for _ in range(2):
            assert await says(target, ClientTls(authority.file)) == "密"
        mine.certificate.write_text("half a certif")
        assert await says(target, ClientTls(authority.file)) == "密"
        mine.certificate.write_bytes(other.certificate.read_bytes())
        assert await says(target, ClientTls(authority.file)) == "密"


async def test_a_new_authority_lets_its_clients_in_beside_the_old_ones(authority, tmp_path):
    younger = Authority(tmp_path / "next", "next")
    mine, newcomer = authority.issue("server"), younger.issue("campaign", OURS)
    old = showing(authority, authority.issue("old", OURS))
    new = ClientTls(tmp_path / "trusted.pem", newcomer.certificate, newcomer.key)
    new.ca.write_bytes(authority.file.read_bytes())
    async with served(mutual(authority, server=mine)) as target:
        assert await says(target, new) == "DEPENDENCY_DOWN"
        authority.file.write_bytes(authority.file.read_bytes() + younger.file.read_bytes())
        assert await says(target, new) == "密"
        assert await says(target, old) == "密"


async def test_a_channel_goes_on_with_the_certificate_that_replaced_its_own(authority, tmp_path):
    """A stub made once, over a change of the authority on both sides."""
    younger = Authority(tmp_path / "next", "next")
    mine, shown = authority.issue("server"), authority.issue("campaign", OURS)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    async with served(mutual(authority, server=mine)) as target:
        tls = ClientTls(trusted, shown.certificate, shown.key)
        async with client.channel(target, contract.SERVICE, tls=tls) as channel:
            call = contract.unary(channel, "GetEcho")
            assert (await call(EchoRequest(text="一"))).text == "一"
            mine.replace(younger.issue("server2"))
            authority.file.write_bytes(younger.file.read_bytes())
            trusted.write_bytes(younger.file.read_bytes())
            shown.replace(younger.issue("campaign2", OURS))
            assert (await call(EchoRequest(text="二"))).text == "二"


async def test_a_service_token_that_is_replaced_is_shown_with_the_next_call(authority, tmp_path):
    file = tmp_path / "service.token"
    file.write_text("old\n")
    callers = Callers()
    callers.closed = True
    callers.known["new"] = Principal("campaign", "service", frozenset(contract.SCOPES.values()), "*")
    token = watched_files.watched_token(file)
    mine = authority.issue("server")
    async with served(TlsFiles(mine.certificate, mine.key), callers=callers) as target:
        tls = ClientTls(authority.file)
        async with client.channel(target, contract.SERVICE, tls=tls, token=token.current) as channel:
            assert await said(channel) == "TOKEN_INVALID"
            file.write_text("new\n")
            assert await said(channel) == "密"
            file.write_text("")  # being written
            assert await said(channel) == "密"


@pytest.mark.parametrize("text", ["", "  \n", "two words", "令牌"])
def test_a_token_file_that_holds_no_token_is_refused_at_first(tmp_path, text):
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(ValueError, match="must hold one token"):
        watched_files.watched_token(file).current()


async def test_old_versions_of_tls_are_not_spoken(authority):
    mine = authority.issue("server")
    async with served(TlsFiles(mine.certificate, mine.key)) as target:
        context = ssl.create_default_context(cafile=str(authority.file))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that they are old is the point
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        host, _, port = target.partition(":")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, int(port), ssl=context)
