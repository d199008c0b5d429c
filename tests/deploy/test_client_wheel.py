"""The wheel for callers: only the contract and its helper, and they are enough to call a notifier."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import tomllib
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from reach.notifier.v1 import notifier_service_pb2 as pb

from tests.e2e.harness import STORE, Reach, Sandbox, embedded, sandbox
from tests.http.wire import self_signed

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "clients/python"
PATIENCE = 60

# Every program begins like this: the modules must be those of the wheel, whatever else is installed here.
HEAD = """
import asyncio, json, sys
import grpc, reach, buf.validate, reach_client
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.notifier.v1.notifier_service_pb2_grpc import NotifierServiceStub
place, target, token = sys.argv[1:]
ca = token
for path in [*reach.__path__, *buf.validate.__path__, *reach_client.__path__]:
    assert path.startswith(place), path
def told(error):
    failure = reach_client.reason(error)
    return [error.code().name, failure.reason, [one.field for one in failure.violations]]
"""
TAIL = """
ours = {name.partition(".")[0] for name in sys.modules} & {"shared", "services", "cli", "sandbox"}
assert not ours, ours
print(json.dumps(answers))
"""
ASYNC = """
async def main():
    async with reach_client.channel(target, token=token or None) as channel:
        stub = NotifierServiceStub(channel)
        rules = await stub.ListRules(pb.ListRulesRequest())
        request = pb.TriggerPushRequest(event_type="order.created", event_id="o-1", store_id="s1")
        request.event_data.update({"order_number": "A1", "total": 280, "order_time": "2026-02-20T12:30:00+08:00"})
        request.event_data["table_number"] = "A01"
        pushed = [(await stub.TriggerPush(request)).duplicate for _ in range(2)]
        try:
            await stub.TriggerPush(pb.TriggerPushRequest(event_type="NO"))
        except grpc.RpcError as error:
            return {"rules": len(rules.rules), "pushed": pushed, "failure": told(error)}
answers = asyncio.run(main())
"""
SYNC = """
with reach_client.sync_channel(target, token=token or None) as channel:
    stub = NotifierServiceStub(channel)
    answers = {"rules": len(stub.ListRules(pb.ListRulesRequest()).rules)}
    try:
        stub.GetRule(pb.GetRuleRequest(rule_id="nobody"))
    except grpc.RpcError as error:
        answers["failure"] = told(error)
"""
REFUSED_SYNC = """
with reach_client.sync_channel(target, token=token) as channel:
    stub, answers = NotifierServiceStub(channel), {}
    for method in ("ListRules", "GetRule", "TriggerPush", "SendMessage"):
        try:
            getattr(stub, method)(getattr(pb, method + "Request")())
        except grpc.RpcError as error:
            answers[method] = told(error)
    answers["watched"] = len(list(stub.WatchDeliveries(pb.WatchDeliveriesRequest())))
"""
REFUSED_ASYNC = """
async def main():
    answers = {}
    async with reach_client.channel(target, token=token) as channel:
        stub = NotifierServiceStub(channel)
        for method in ("ListRules", "GetRule", "TriggerPush", "SendMessage"):
            try:
                await getattr(stub, method)(getattr(pb, method + "Request")())
            except grpc.RpcError as error:
                answers[method] = told(error)
        answers["watched"] = len([one async for one in stub.WatchDeliveries(pb.WatchDeliveriesRequest())])
    return answers
answers = asyncio.run(main())
"""

ENCRYPTED = """
async def main():
    async with reach_client.channel(target, ca=ca) as channel:
        try:
            await NotifierServiceStub(channel).SendMessage(pb.SendMessageRequest())
        except grpc.RpcError as error:
            return error.details()
answers = {"async": asyncio.run(main())}
with reach_client.sync_channel(target, ca=ca) as channel:
    try:
        NotifierServiceStub(channel).SendMessage(pb.SendMessageRequest())
    except grpc.RpcError as error:
        answers["blocking"] = error.details()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from this checkout without touching the network."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (file,) = place.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return archive


@pytest.fixture(scope="module")
def unpacked(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel's content and nothing else."""
    place = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(str(wheel.filename)) as archive:
        archive.extractall(place)
    return place


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    async with sandbox() as made:
        yield made


@pytest.fixture
async def reach(world: Sandbox, tmp_path: Path) -> AsyncIterator[Reach]:
    async with embedded(world.url, tmp_path / "home", default_store=STORE) as made:
        yield made


async def run(unpacked: Path, program: str, target: str, token: str = "") -> Any:
    """What *program* answers, run with the wheel and the installed packages, without the repository."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REACH_"))}
    # -S: no .pth file is read, so that the checkout this environment was made for cannot be imported.
    command = [sys.executable, "-W", "error", "-P", "-S", "-c", HEAD + program + TAIL]
    path = os.pathsep.join([str(unpacked), *{sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}])
    process = await asyncio.create_subprocess_exec(
        *command,
        str(unpacked),
        target,
        token,
        cwd=unpacked.parent,
        env=env | {"PYTHONPATH": path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


class Busy(grpc.GenericRpcHandler):
    """A server that is never available, and notes who asked how often, as whom, with how much time."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.time: dict[str, float | None] = {}
        self.bearers: set[str] = set()

    def service(self, call: Any) -> Any:
        name = call.method.rpartition("/")[2]

        def note(context: Any) -> None:
            self.calls[name] += 1
            self.time.setdefault(name, context.time_remaining())
            self.bearers.add(dict(context.invocation_metadata()).get("authorization", ""))

        async def refuse(request: bytes, context: Any) -> bytes:
            note(context)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
            raise AssertionError

        async def end(request: bytes, context: Any) -> AsyncIterator[bytes]:
            note(context)
            yield pb.WatchDeliveriesResponse().SerializeToString()

        if name.startswith("Watch"):
            return grpc.unary_stream_rpc_method_handler(end)
        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
async def busy() -> AsyncIterator[tuple[Busy, str]]:
    handler, server = Busy(), grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield handler, f"127.0.0.1:{port}"
    await server.stop(None)


def test_the_wheel_holds_the_contract_and_its_helper_only(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"reach", "buf", "reach_client"}
    assert not {name for name in names if "__pycache__" in name or name.endswith(".binpb")}
    made = {
        str(file.relative_to(ROOT / "gen")) for file in (ROOT / "gen").rglob("*.py*") if file.suffix != ".pyc"
    }
    assert made - names == set()
    assert {"reach/py.typed", "buf/py.typed", "reach_client/py.typed"} <= names


def test_the_wheel_asks_for_little_and_says_its_licence(unpacked: Path) -> None:
    (info,) = unpacked.glob("*.dist-info")
    lines = (info / "METADATA").read_text(encoding="utf-8").splitlines()
    wanted = {line.split()[1] for line in lines if line.startswith("Requires-Dist")}
    assert {re.split("[<>]", one)[0] for one in wanted} == {"grpcio", "protobuf", "googleapis-common-protos"}
    suite = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Version: {suite['version']}" in lines
    assert "License-Expression: Apache-2.0" in lines
    assert (info / "licenses/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_what_it_needs_is_what_the_suite_runs_with_and_is_built_by() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    suite = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["build-system"] == suite["build-system"]
    assert set(project["project"]["dependencies"]) <= set((ROOT / "requirements.in").read_text().splitlines())


async def test_the_retries_cover_every_service_of_the_contract(unpacked: Path) -> None:
    image = FileDescriptorSet.FromString((ROOT / "gen/reach.binpb").read_bytes())
    safe = {
        (f"{file.package}.{service.name}", method.name)
        for file in image.file
        if file.package.startswith("reach.")
        for service in file.service
        for method in service.method
        if method.options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    }
    program = "from reach_client.contract import service_config; answers = json.loads(service_config())"
    (config,) = (await run(unpacked, program, ""))["methodConfig"]
    assert {(name["service"], name["method"]) for name in config["name"]} == safe
    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]


async def test_a_program_with_the_wheel_alone_calls_a_notifier(reach: Reach, unpacked: Path) -> None:
    answers = await run(unpacked, ASYNC, reach.grpc)
    assert answers["rules"] > 0
    assert answers["pushed"] == [False, True]
    assert answers["failure"][0] == "INVALID_ARGUMENT"
    assert answers["failure"][1] != ""
    assert "event_type" in answers["failure"][2]


async def test_the_example_of_the_readme_runs(reach: Reach, unpacked: Path) -> None:
    (example,) = re.findall(
        r"^```python\n(.*?)^```", (PROJECT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    shown = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as out:\n"
    program = shown + textwrap.indent(example, "    ") + "answers = out.getvalue().splitlines()\n"
    address = "127.0.0.1:50051"
    assert address in program
    assert await run(unpacked, program.replace(address, reach.grpc), "") == ["order-1 False"]


async def test_a_blocking_program_does_too(reach: Reach, unpacked: Path) -> None:
    answers = await run(unpacked, SYNC, reach.grpc)
    assert answers["rules"] > 0
    assert answers["failure"][:2] == ["NOT_FOUND", "NOT_FOUND"]


@pytest.mark.parametrize("program", [REFUSED_ASYNC, REFUSED_SYNC], ids=["async", "blocking"])
async def test_only_what_is_safe_is_repeated_and_every_call_has_its_time_and_token(
    busy: tuple[Busy, str], unpacked: Path, program: str
) -> None:
    handler, target = busy
    answers = await run(unpacked, program, target, "sesame")
    assert handler.bearers == {"Bearer sesame"}
    assert handler.calls == {
        "ListRules": 3,
        "GetRule": 3,
        "TriggerPush": 1,
        "SendMessage": 1,
        "WatchDeliveries": 1,
    }
    times = {name: round(left) if left is not None else None for name, left in handler.time.items()}
    assert times["GetRule"] == 2
    assert times["ListRules"] == times["TriggerPush"] == times["SendMessage"] == 5
    assert times["WatchDeliveries"] is None or times["WatchDeliveries"] > 3600
    assert answers == {
        **{name: ["UNAVAILABLE", "", []] for name in ("ListRules", "GetRule", "TriggerPush", "SendMessage")},
        "watched": 1,
    }


async def test_with_a_ca_the_channel_is_encrypted(unpacked: Path, tmp_path: Path) -> None:
    self_signed(tmp_path)
    pair = ((tmp_path / "key.pem").read_bytes(), (tmp_path / "cert.pem").read_bytes())
    handler, server = Busy(), grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        answers = await run(unpacked, ENCRYPTED, f"127.0.0.1:{port}", str(tmp_path / "cert.pem"))
    finally:
        await server.stop(None)
    assert answers == {"async": "busy", "blocking": "busy"}
