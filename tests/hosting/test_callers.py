"""A whole process with JWTs, TLS and client certificates: what it refuses to open with, and whom it lets in."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1.notifier_service_pb2_grpc import NotifierServiceStub
from typer.testing import CliRunner

from cli.main import app
from services.notifier.assembly import build
from shared import watched_files
from shared.environment import ConfigurationError
from shared.hosting.host import Host
from shared.process import Stop
from shared.rpc import client
from shared.rpc.status import from_call
from shared.rpc.tls import ClientTls
from shared.settings import SettingsError, load
from tests.e2e.harness import create_tokens, embedded, environment
from tests.support.certificates import Authority, Pair
from tests.support.issuer import AUDIENCE, ISSUER, Issuer

NOWHERE = "http://127.0.0.1:9"
OURS = "spiffe://reach/campaign"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at a file is a fresh one."""
    monkeypatch.setattr(watched_files, "EVERY", 0.0)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    made = Issuer()
    made.publish(tmp_path / "jwks.json")
    return made


@pytest.fixture
def taking(tmp_path: Path, issuer: Issuer) -> dict[str, str]:
    """Settings by which JWTs of the issuer are taken."""
    return {
        "auth_jwks_file": str(tmp_path / "jwks.json"),
        "auth_jwt_issuer": ISSUER,
        "auth_jwt_audience": AUDIENCE,
    }


async def lists(target: str, **how: Any) -> str:
    """What comes of ListRules: OK or the reason of its refusal."""
    async with client.channel(target, **how) as channel:
        stub: Any = NotifierServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            await stub.ListRules(pb.ListRulesRequest(), timeout=10)
        except grpc.aio.AioRpcError as error:
            return from_call(error).reason
    return "OK"


async def refusal(environ: dict[str, str]) -> str:
    """Why a process does not start."""
    with pytest.raises(ConfigurationError) as caught:
        await Host(load(environ), [build], name="up").run(Stop(), announce=False)
    return "\n".join(caught.value.problems)


# --- JWTs


async def test_a_jwt_opens_a_service_by_its_scopes_and_nothing_at_all_opens_it_no_more(
    tmp_path, issuer, taking
):
    async with embedded(NOWHERE, tmp_path / "home", **taking) as reach:
        now = datetime.now(UTC)
        assert await lists(reach.grpc) == "TOKEN_MISSING"  # also on loopback, also without any token of ours
        assert await lists(reach.grpc, token=issuer.token(now, scope="rules.read", stores="*")) == "OK"
        assert await lists(reach.grpc, token=issuer.token(now, scope="ops.read")) == "SCOPE_MISSING"
        old = issuer.token(now - timedelta(hours=2), scope="rules.read")
        assert await lists(reach.grpc, token=old) == "TOKEN_EXPIRED"
        assert await lists(reach.grpc, token=Issuer().token(now, scope="rules.read")) == "TOKEN_INVALID"


async def test_keys_are_replaced_without_a_restart(tmp_path, issuer, taking):
    async with embedded(NOWHERE, tmp_path / "home", **taking) as reach:
        issuer.rotate("EdDSA")
        token = issuer.token(datetime.now(UTC), scope="rules.read", stores="*")
        assert await lists(reach.grpc, token=token) == "TOKEN_INVALID"
        issuer.publish(tmp_path / "jwks.json")
        assert await lists(reach.grpc, token=token) == "OK"


async def test_a_url_that_is_away_keeps_nobody_out_who_has_a_token_of_ours(tmp_path, taking):
    del taking["auth_jwks_file"]
    tokens = await create_tokens(tmp_path / "home", {"till": (["rules.read"], ["*"])})
    more = {**taking, "auth_jwks_url": f"{NOWHERE}/certs"}
    async with embedded(NOWHERE, tmp_path / "home", **more) as reach:
        assert await lists(reach.grpc, token=tokens["till"]) == "OK"
        jwt = Issuer().token(datetime.now(UTC))
        assert await lists(reach.grpc, token=jwt) == "DEPENDENCY_DOWN"


async def test_a_file_without_keys_stops_the_start_with_what_to_do(tmp_path, taking):
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    told = await refusal(environment(NOWHERE, tmp_path / "home", **taking))
    assert "REACH_AUTH_JWKS_FILE" in told
    assert "write the issuer's JWK set into it" in told


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"auth_jwt_issuer": ""}, "REACH_AUTH_JWT_ISSUER"),
        ({"auth_jwt_audience": ""}, "REACH_AUTH_JWT_AUDIENCE"),
        ({"auth_jwks_file": ""}, "REACH_AUTH_JWKS_FILE"),
        ({"auth_jwks_url": "https://id.example/certs"}, "both set"),
        ({"auth_jwks_file": "", "auth_jwks_url": "http://id.example/certs"}, "https://"),
        ({"auth_jwt_algorithms": "ES256,HS256"}, "REACH_AUTH_JWT_ALGORITHMS"),
        ({"auth_jwt_algorithms": "none"}, "REACH_AUTH_JWT_ALGORITHMS"),
        ({"auth_jwt_issuer": "https://id.example#x"}, "without # and spaces"),
        ({"auth_jwt_longest": "25h"}, "REACH_AUTH_JWT_LONGEST"),
        ({"auth_mtls_allow": "notifier=spiffe://reach/x"}, "none is asked for"),
        ({"auth_mtls_allow": "spiffe://reach/x"}, "must be pairs"),
        ({"auth_http_tls_cert_file": __file__}, "go together"),
    ],
)
def test_settings_that_contradict_each_other_are_told(tmp_path, taking, change, named):
    with pytest.raises(SettingsError, match=named):
        load(environment(NOWHERE, tmp_path / "home", **{**taking, **change}))


# --- Listening beyond this machine


@pytest.mark.parametrize("door", ["grpc_listen", "http_listen"])
@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0", "host.example:0"])
async def test_a_door_for_others_is_opened_with_credentials_and_encryption_only(tmp_path, door, listen):
    environ = environment(NOWHERE, tmp_path / "home", **{door: listen})
    if door == "grpc_listen":
        with pytest.raises(SettingsError, match="REACH_AUTH_TLS_CERT_FILE"):
            load(environ)
        environ["REACH_AUTH_ALLOW_PLAINTEXT"] = "true"
    told = await refusal(environ)
    assert "no token exists" in told
    await create_tokens(tmp_path / "home", {"till": (["rules.read"], ["*"])})
    if door == "http_listen":
        assert "REACH_AUTH_HTTP_TLS_CERT_FILE" in await refusal(environ)


async def test_with_jwts_and_tls_both_doors_open_to_others(tmp_path, issuer, taking):
    authority = Authority(tmp_path / "pki")
    mine = authority.issue("server")
    settings = taking | grpc_tls(mine) | http_tls(mine)
    listening = {"grpc_listen": "0.0.0.0:0", "http_listen": "0.0.0.0:0"}
    async with embedded(NOWHERE, tmp_path / "home", **settings, **listening) as reach:
        target = reach.grpc.replace("0.0.0.0", "localhost")
        token = issuer.token(datetime.now(UTC), scope="rules.read", stores="*")
        assert await lists(target, token=token, tls=ClientTls(authority.file)) == "OK"
        assert await lists(target, token=token) == "DEPENDENCY_DOWN"  # in plain text
        assert await asked(reach.http.replace("0.0.0.0", "localhost"), authority.file) == 401


# --- TLS


def grpc_tls(pair: Pair) -> dict[str, str]:
    return {"auth_tls_cert_file": str(pair.certificate), "auth_tls_key_file": str(pair.key)}


def http_tls(pair: Pair) -> dict[str, str]:
    return {"auth_http_tls_cert_file": str(pair.certificate), "auth_http_tls_key_file": str(pair.key)}


async def asked(place: str, authority: Path, version: ssl.TLSVersion | None = None) -> int:
    """The status of an event posted to *place* by HTTPS, over a connection of its own."""
    context = ssl.create_default_context(cafile=str(authority))
    if version is not None:
        context.maximum_version = version
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.post(f"https://{place}/events", json={}) as answer,
    ):
        return answer.status


async def test_http_speaks_tls_with_a_certificate_that_may_be_replaced(tmp_path):
    authority, younger = Authority(tmp_path / "pki"), Authority(tmp_path / "next", "next")
    mine = authority.issue("http")
    await create_tokens(tmp_path / "home", {"till": (["events.publish"], ["*"])})
    async with embedded(NOWHERE, tmp_path / "home", **http_tls(mine)) as reach:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert await asked(reach.http, authority.file, version) == 401
        with pytest.raises(aiohttp.ClientError):
            await reach.session.post(f"http://{reach.http}/events", json={})
        mine.key.write_bytes(younger.issue("other").key.read_bytes())  # half a replacement
        assert await asked(reach.http, authority.file) == 401
        mine.replace(younger.issue("http"))
        assert await asked(reach.http, younger.file) == 401
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await asked(reach.http, authority.file)


async def test_http_files_that_do_not_fit_are_told_at_the_start(tmp_path):
    authority = Authority(tmp_path / "pki")
    wrong = Pair(authority.issue("a").certificate, authority.issue("b").key)
    told = await refusal(environment(NOWHERE, tmp_path / "home", **http_tls(wrong)))
    assert "the key is of another certificate" in told


async def test_a_process_holds_its_services_to_the_list_of_certificates(tmp_path):
    authority = Authority(tmp_path / "pki")
    tokens = await create_tokens(tmp_path / "home", {"till": (["rules.read"], ["*"])})
    settings = {
        **grpc_tls(authority.issue("server")),
        "auth_tls_ca_file": str(authority.file),
        "auth_mtls_allow": f"notifier={OURS},ops=spiffe://reach/operator",
    }
    async with embedded(NOWHERE, tmp_path / "home", **settings) as reach:
        place = reach.grpc.replace("127.0.0.1", "localhost")
        for uri, expected in ((OURS, "OK"), ("spiffe://reach/operator", "PEER_FORBIDDEN")):
            pair = authority.issue(uri.rpartition("/")[2], uri)
            tls = ClientTls(authority.file, pair.certificate, pair.key)
            assert await lists(place, token=tokens["till"], tls=tls) == expected


async def test_an_authority_may_be_named_without_asking_clients_for_certificates(tmp_path):
    authority = Authority(tmp_path / "pki")
    settings = {**grpc_tls(authority.issue("server")), "auth_tls_ca_file": str(authority.file)}
    async with embedded(NOWHERE, tmp_path / "home", **settings, auth_tls_require_client="false") as reach:
        place = reach.grpc.replace("127.0.0.1", "localhost")
        assert await lists(place, tls=ClientTls(authority.file)) == "OK"


async def test_a_service_token_that_is_none_stops_the_start(tmp_path):
    (tmp_path / "token").write_text("\n")
    environ = environment(NOWHERE, tmp_path / "home", service_token_file=str(tmp_path / "token"))
    assert "REACH_SERVICE_TOKEN_FILE" in await refusal(environ)


async def test_an_authority_that_is_none_stops_the_start_and_a_call(tmp_path):
    mine = Authority(tmp_path / "pki").issue("server")
    (tmp_path / "ca.pem").write_text("no certificate")
    settings = {
        **grpc_tls(mine),
        "auth_tls_ca_file": str(tmp_path / "ca.pem"),
        "auth_tls_require_client": "false",
    }
    told = await refusal(environment(NOWHERE, tmp_path / "home", **settings))
    assert "REACH_AUTH_TLS_CA_FILE" in told
    assert "the authority is not a PEM certificate" in told
    with pytest.raises(ConfigurationError, match="not a PEM certificate"):
        client.channel("localhost:1", tls=ClientTls(tmp_path / "ca.pem"))


async def test_the_command_that_asks_for_health_shows_its_certificate(tmp_path):
    authority = Authority(tmp_path / "pki")
    mine, ours = authority.issue("server"), authority.issue("probe", OURS)
    await create_tokens(tmp_path / "home", {"till": (["rules.read"], ["*"])})
    settings = {**grpc_tls(mine), "auth_tls_ca_file": str(authority.file), "auth_mtls_allow": f"*={OURS}"}
    async with embedded(NOWHERE, tmp_path / "home", **settings) as reach:
        place = reach.grpc.replace("127.0.0.1", "localhost")
        shown = ["--cert", str(ours.certificate), "--key", str(ours.key)]
        for more, code in ((shown, 0), ([], 1), (shown[:2], 2)):
            asked = ["health", place, "--service", "reach.live", "--ca", str(authority.file), *more]
            done = await asyncio.to_thread(CliRunner().invoke, app, asked)
            assert done.exit_code == code, done.output
