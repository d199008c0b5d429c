"""A process that cannot start says why, all of it, one line each with the way out, and ends with the code it promises."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import grpc
import pytest

from shared.secrets import SecretKey
from tests.e2e.harness import embedded, environment, names_on
from tests.e2e.health import statuses, statuses_become
from tests.e2e.replicas import empty_database, started
from tests.support.home import free_port
from tests.support.process import Program

NOWHERE = "http://127.0.0.1:9"
UP, SERVE = ("up",), ("serve", "notifier")
FAILED, MISCONFIGURED = 1, 2


async def ended(environ: Mapping[str, str], *command: str) -> tuple[int, list[str]]:
    """Run a command that must end by itself: its exit code, and what it told its user."""
    with Program(" ".join(command), ["-m", "cli.main", *command], environ) as program:
        code = await asyncio.to_thread(program.wait, 90)
        output = program.output()
    assert "Traceback" not in output, output
    assert not any(line.startswith("ready") for line in program.lines), output
    told = [line.removeprefix("reach: ") for line in program.lines if line.startswith("reach: ")]
    # gRPC's own core reports a port it cannot have, in its own way.
    strange = [
        line for line in program.lines if not line.startswith(("reach: ", "{")) and "add_port.cc" not in line
    ]
    assert strange == [], output
    return code, told


# --- Settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [UP, SERVE])
async def test_every_wrong_setting_is_told_at_once_and_no_secret_is_repeated(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    wrong = {
        "REACH_GRPC_LISTEN": "nowhere",
        "REACH_AMQP_URL": "http://user:hunter2@broker/",
        "REACH_DATABASE_URL": "mysql://user:hunter3@db/",
        "REACH_LIMIT_LEASE": "soon",
        "REACH_LIMIT_ROBOT_PER_MINUTE": "21",
        "REACH_CLOCK": "moon",
        "REACH_REFLECTION": "perhaps",
        "REACH_HOEM": str(tmp_path),
        "REACH_AUTH_TLS_CERT_FILE": str(tmp_path / "missing.pem"),
        "WECOM_AGENT_ID": "one",
        "WECOM_SECRET_FILE": str(tmp_path / "missing.txt"),
        "WECOM_CUSTOMER_MANUAL_APPROVAL": "false",
    }
    code, told = await ended(wrong, *command)
    assert code == MISCONFIGURED
    for name in wrong:
        lines = [line for line in told if line.startswith(name)]
        assert len(lines) == 1, (name, told)
        assert len(lines[0]) > len(name) + 10
    assert len(told) == len(wrong)
    assert "did you mean REACH_HOME?" in next(line for line in told if line.startswith("REACH_HOEM"))
    assert "hunter" not in "".join(told)


async def test_a_service_of_its_own_needs_a_broker_and_says_how_to_do_without(tmp_path: Path) -> None:
    code, told = await ended(environment(NOWHERE, tmp_path), *SERVE)
    assert code == MISCONFIGURED
    assert len(told) == 1
    assert told[0].startswith("REACH_AMQP_URL is not set")
    assert "reach up" in told[0]


async def test_a_service_nobody_knows_is_refused_with_those_there_are() -> None:
    code, told = await ended({}, "serve", "notifer")
    assert code == MISCONFIGURED
    assert "notifier" in told[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ("REACH_AUTH_TLS_CERT_FILE", "127.0.0.1", "REACH_AUTH_ALLOW_PLAINTEXT")),
        ({"auth_allow_plaintext": "true"}, ("no token exists", "reach token create", "127.0.0.1")),
    ],
)
async def test_a_port_open_to_others_needs_encryption_and_a_token(
    more: dict[str, str], words: tuple[str, ...], tmp_path: Path
) -> None:
    code, told = await ended(environment(NOWHERE, tmp_path, grpc_listen="0.0.0.0:0", **more), *UP)
    assert code == MISCONFIGURED
    assert len(told) == 1
    assert all(word in told[0] for word in words)


# --- Places ---------------------------------------------------------------------------------------------


async def test_a_grpc_port_that_another_server_has_is_one_line(tmp_path: Path) -> None:
    other = grpc.aio.server()
    port = other.add_insecure_port("127.0.0.1:0")
    await other.start()
    try:
        code, told = await ended(environment(NOWHERE, tmp_path, grpc_listen=f"127.0.0.1:{port}"), *UP)
    finally:
        await other.stop(0)
    assert code == MISCONFIGURED
    assert len(told) == 1
    assert f"127.0.0.1:{port}" in told[0]
    assert "LISTEN" in told[0]


async def test_an_http_port_that_another_server_has_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, told = await ended(environment(NOWHERE, tmp_path, http_listen=address), *UP)
    assert code == MISCONFIGURED
    assert len(told) == 1
    assert address in told[0]
    assert "LISTEN" in told[0]


async def test_a_home_that_another_process_uses_is_one_line_and_stays_as_it_is(tmp_path: Path) -> None:
    async with embedded(NOWHERE, tmp_path):
        code, told = await ended(environment(NOWHERE, tmp_path), *UP)
    assert code == FAILED
    assert len(told) == 1
    assert f"process {os.getpid()}" in told[0]
    assert "REACH_HOME" in told[0]


async def test_a_home_that_is_no_directory_is_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("not a directory")
    code, told = await ended(environment(NOWHERE, home), *UP)
    assert code == FAILED
    assert len(told) == 1
    assert str(home) in told[0]
    assert "REACH_HOME" in told[0]


# --- The secret key -------------------------------------------------------------------------------------


async def test_a_database_set_up_with_another_secret_key_is_refused(tmp_path: Path) -> None:
    async with embedded(NOWHERE, tmp_path):
        pass
    (tmp_path / "secret.key").unlink()
    SecretKey.create(tmp_path / "secret.key")
    code, told = await ended(environment(NOWHERE, tmp_path), *UP)
    assert code == MISCONFIGURED
    assert len(told) == 1
    assert "REACH_SECRET_KEY_FILE" in told[0]


async def test_a_secret_key_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("hunter2")
    code, told = await ended(environment(NOWHERE, tmp_path, secret_key_file=str(key)), *UP)
    assert code == MISCONFIGURED
    assert len(told) == 1
    assert "REACH_SECRET_KEY_FILE" in told[0]
    assert "hunter2" not in told[0]


# --- Servers --------------------------------------------------------------------------------------------


async def test_a_database_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    url = f"postgresql://reach:hunter2@127.0.0.1:{free_port()}/reach"
    code, told = await ended(environment(NOWHERE, tmp_path, database_url=url), *UP)
    assert code == FAILED
    assert len(told) == 1
    assert "PostgreSQL at 127.0.0.1" in told[0]
    assert "URL" in told[0]
    assert "hunter2" not in told[0]


async def test_a_database_that_refuses_the_password_is_one_line(tmp_path: Path) -> None:
    async with _refusing_postgres() as port:
        url = f"postgresql://reach:hunter2@127.0.0.1:{port}/reach"
        code, told = await ended(environment(NOWHERE, tmp_path, database_url=url), *UP)
    assert code == FAILED
    assert len(told) == 1
    assert "password" in told[0]
    assert "URL" in told[0]
    assert "hunter2" not in told[0]


@asynccontextmanager
async def _refusing_postgres() -> AsyncIterator[int]:
    """A server that speaks enough of PostgreSQL to ask for a password and refuse it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            size, code = struct.unpack("!II", await reader.readexactly(8))
            await reader.readexactly(size - 8)
            if code >> 16 != 1234:  # not a question for encryption but the start-up message
                break
            writer.write(b"N")
        writer.write(b"R" + struct.pack("!II", 8, 3))  # a password, please
        await reader.readexactly(1)
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "reach"\0\0'
        writer.write(b"E" + struct.pack("!I", 4 + len(fields)) + fields)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_sandbox_clock_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, told = await ended(environment(url, tmp_path, clock="sandbox"), *UP)
    assert code == FAILED
    assert len(told) == 1
    assert url.removeprefix("http://") in told[0]


@pytest.mark.server
async def test_a_queue_of_our_name_with_other_arguments_is_refused(
    amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    async with names_on(amqp_url) as names:
        connection = await aio_pika.connect(amqp_url)
        async with connection:
            channel = await connection.channel()
            await channel.declare_queue(names.queues[0], durable=True)
        with empty_database(postgres_url) as database:
            environ = environment(
                NOWHERE, tmp_path, amqp_url=amqp_url, database_url=database, **names.settings
            )
            code, told = await ended(environ, *SERVE)
    assert code == MISCONFIGURED
    assert len(told) == 1
    assert names.queues[0] in told[0]


@pytest.mark.server
async def test_a_broker_that_refuses_keeps_the_process_trying_and_not_ready(
    postgres_url: str, tmp_path: Path
) -> None:
    """Writes by RPC still go to the outbox: the service itself serves."""
    amqp_url = f"amqp://guest:hunter2@127.0.0.1:{free_port()}/"
    with empty_database(postgres_url) as database:
        environ = environment(NOWHERE, tmp_path, amqp_url=amqp_url, database_url=database)
        with Program("notifier", ["-m", "cli.main", *SERVE], environ) as program:
            await asyncio.to_thread(program.ready, 90)
            await statuses_become(
                program.facts["grpc"],
                {
                    "": "NOT_SERVING",
                    "reach.amqp": "NOT_SERVING",
                    "reach.db": "SERVING",
                    "reach.live": "SERVING",
                    "reach.notifier.v1.NotifierService": "SERVING",
                },
            )
            told = [line for line in program.lines if "broker not reachable" in line]
            assert len(told) == 1
            assert "REACH_AMQP_URL" in told[0]
            assert await asyncio.to_thread(program.stop) == 0
    assert "hunter2" not in program.output()
    assert "Traceback" not in program.output()


async def test_a_process_that_has_all_it_needs_is_ready_in_every_respect(tmp_path: Path) -> None:
    async with embedded(NOWHERE, tmp_path) as reach:
        found = await statuses(
            reach.grpc,
            "",
            "reach.live",
            "reach.db",
            "reach.amqp",
            "reach.notifier.v1.NotifierService",
            "reach.nothing",
        )
    assert found.pop("reach.nothing") == "NOT_FOUND"
    assert set(found.values()) == {"SERVING"}


@pytest.mark.fault
async def test_a_database_that_goes_and_comes_back_takes_readiness_with_it(
    postgres_node: object, tmp_path: Path
) -> None:
    node = postgres_node
    environ = environment(NOWHERE, tmp_path, database_url=node.url)  # type: ignore[attr-defined]
    async with started(environ) as reach:
        service = "reach.notifier.v1.NotifierService"
        await asyncio.to_thread(node.kill)  # type: ignore[attr-defined]
        down = {"": "NOT_SERVING", "reach.db": "NOT_SERVING", service: "NOT_SERVING", "reach.live": "SERVING"}
        await statuses_become(reach.grpc, down)
        await asyncio.to_thread(node.start)  # type: ignore[attr-defined]
        await statuses_become(reach.grpc, dict.fromkeys(down, "SERVING"))
