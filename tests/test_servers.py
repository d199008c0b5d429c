"""How the tests get their servers: the order of the ways, and what each way does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import debian, servers
from tests.support.compose import ComposeRabbit, engine_answers
from tests.support.home import Home
from tests.support.servers import Kind, ServerMissing


@pytest.fixture
def home() -> Iterator[Home]:
    opened = Home.create()
    yield opened
    opened.release()


@pytest.fixture
def nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, no package, no server, no engine, not root."""
    monkeypatch.setattr(servers, "_installed", lambda kind: False)
    monkeypatch.setattr(servers, "_answers", lambda kind: False)
    monkeypatch.setattr(servers, "engine_answers", lambda: False)
    monkeypatch.setattr(debian, "may_install", lambda: False)
    for kind in Kind:
        monkeypatch.delenv(kind.variable, raising=False)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that only write down how they were called, and where they do."""
    log = tmp_path / "commands"
    for name in ("docker", "apt-get"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >>{log}\n[ -f "$POLICY" ] && echo held >>{log}\nexit 0\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return log


def test_a_named_server_wins(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACH_TEST_AMQP_URL", "amqp://elsewhere/")
    assert servers.provide(Kind.RABBITMQ, home).url == "amqp://elsewhere/"


@pytest.mark.usefixtures("nothing_there")
def test_a_server_that_is_there_is_used_when_no_package_is(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_answers", lambda kind: True)
    found = servers.provide(Kind.POSTGRESQL, home)
    assert (found.url, found.node) == (Kind.POSTGRESQL.default_url, None)


@pytest.mark.usefixtures("nothing_there")
@pytest.mark.parametrize("kind", Kind)
def test_a_missing_server_is_an_error_that_says_what_to_install(home: Home, kind: Kind) -> None:
    for attempt in (lambda: servers.provide(kind, home), lambda: servers.private(kind)):
        with pytest.raises(ServerMissing, match=f"install the Debian package {kind.package}") as caught:
            attempt()
        assert kind.variable in str(caught.value)


@pytest.mark.usefixtures("nothing_there")
def test_preparing_says_each_missing_server_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert servers.prepare() == 1
    assert len(capsys.readouterr().err.splitlines()) == len(Kind)


@pytest.mark.usefixtures("nothing_there")
def test_processes_of_one_run_share_their_container(
    home: Home, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "engine_answers", lambda: True)
    first, second = (servers.provide(Kind.RABBITMQ, home) for _ in range(2))
    assert first.url == second.url
    assert commands.read_text().count(" up --detach --wait rabbitmq") == 1
    servers.close_compose(home)
    assert " down --volumes" in commands.read_text()


@pytest.mark.parametrize("kind", Kind)
def test_processes_of_one_run_share_their_private_node(home: Home, kind: Kind) -> None:
    if not servers._installed(kind):
        pytest.skip(f"no package for {kind.name}: the container test says the same")
    first, second = (servers._node(kind, home, durable=False) for _ in range(2))
    assert first.url == second.url


def test_a_container_can_be_broken_like_a_process(commands: Path) -> None:
    node = ComposeRabbit()
    for act in (node.start, node.kill, node.start, node.stop, lambda: node.alarm(on=True), node.close):
        act()
    acts = [line.partition("compose.yml ")[2] for line in commands.read_text().splitlines()]
    assert [words.split()[0] for words in acts] == ["up", "kill", "up", "stop", "exec", "down"]


def test_an_engine_that_does_not_answer_is_no_engine(commands: Path, tmp_path: Path) -> None:
    assert engine_answers()
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
    assert not engine_answers()


def test_a_package_is_installed_after_an_update_and_its_service_stays_down(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(debian, "POLICY", policy)
    monkeypatch.setenv("POLICY", str(policy))
    debian.install("rabbitmq-server")
    said = commands.read_text().splitlines()
    assert said[0].startswith("apt-get -qq update")
    assert said[2].startswith("apt-get -qq install")
    assert said[1] == said[3] == "held"
    assert not policy.exists()
