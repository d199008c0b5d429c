"""A whole process with JWTs, TLS and client certificates: what it refuses to open with, and whom it lets in."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1 import rule_pb2
from reach.notifier.v1.notifier_service_pb2_grpc import NotifierServiceStub

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
from tests.support.certificates import Authority
from tests.support.issuer import AUDIENCE, ISSUER, Issuer

NOWHERE = "http://127.0.0.1:9"
assert pb, rule_pb2


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    made = Issuer()
    made.publish(tmp_path / "jwks.json")
    return made


@pytest.fixture
def jwt_settings(tmp_path: Path, issuer: Issuer) -> dict[str, str]:
    return {
        "auth_jwks_file": str(tmp_path / "jwks.json"),
        "auth_jwt_issuer": ISSUER,
        "auth_jwt_audience": AUDIENCE,
    }
