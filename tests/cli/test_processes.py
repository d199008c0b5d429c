"""``reach up``, ``serve``, ``sandbox`` and ``health``: processes that start, answer and end."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest

from tests.cli.support import PORTS, Reach
from tests.support.process import Program


def start(reach: Reach, *arguments: str, **extra: str) -> Program:
    return Program(" ".join(arguments), ["-m", "cli.main", *arguments], {**reach.variables, **extra})


def test_up_says_where_it_serves_answers_health_and_ends_on_sigterm(reach: Reach) -> None:
    with start(reach, "up", **PORTS) as program:
        facts = program.ready().facts
        ready = [line for line in program.lines if line.startswith("ready ")]
        assert len(ready) == 1
        assert ready[0].startswith("ready up grpc=127.0.0.1:")
        assert set(facts) >= {"grpc", "http", "sandbox"}
        done = reach.process("health", facts["grpc"])
        assert (done.code, done.out) == (0, "SERVING\n")
        with urllib.request.urlopen(f"{facts['sandbox']}/sandbox/healthz", timeout=5) as answer:
            assert json.load(answer) == {"status": "serving"}
        assert program.stop() == 0, program.output()
        assert "Traceback" not in program.output()
    assert reach("health", facts["grpc"]).code == 1


def test_up_sends_through_its_sandbox_with_nothing_configured(reach: Reach) -> None:
    with start(reach, "up", **PORTS) as program:
        facts = program.ready().facts
        asking = reach.with_(REACH_NOTIFIER_TARGET=facts["grpc"])
        app = asking("send", "开门了", "--store", "s1", "--user", "zhangsan")
        robot = asking("send", "开门了", "--store", "s1", "--robot", "default")
        assert "accepted app:default zhangsan" in app.err, app.err + program.output()
        assert "accepted robot:default" in robot.err, robot.err + program.output()
        with urllib.request.urlopen(f"{facts['sandbox']}/sandbox/messages", timeout=5) as answer:
            kinds = sorted(one["kind"] for one in json.load(answer)["messages"])
        assert kinds == ["robot", "user"]


def test_up_uses_the_wecom_it_was_given_and_brings_no_sandbox(reach: Reach) -> None:
    with start(reach, "sandbox", **PORTS) as sandbox:
        url = sandbox.ready().lines[0].split()[-1]
        with start(reach, "up", **PORTS, REACH_WECOM_BASE_URL=url) as program:
            assert "sandbox" not in program.ready().facts


def test_one_home_serves_one_process(reach: Reach) -> None:
    with start(reach, "up", **PORTS) as program:
        program.ready()
        done = reach.process("up", **PORTS)
        assert done.code == 1
        assert f"in use by process {program.process.pid}" in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize("port", ["grpc", "http", "sandbox"])
def test_a_taken_port_is_one_clear_line(reach: Reach, tmp_path: Path, port: str) -> None:
    with start(reach, "up", **PORTS) as program:
        taken = program.ready().facts[port].removeprefix("http://")
        variable = f"REACH_{port.upper()}_LISTEN"
        elsewhere = {**PORTS, "REACH_HOME": str(tmp_path / "other"), variable: taken}
        second = reach.process("up", **elsewhere)
        assert second.code == 2
        said = [line for line in second.lines if line.startswith("reach: ")]
        assert len(said) == 1
        assert taken in said[0]
        assert variable in said[0]
        assert "Traceback" not in second.err


def test_up_names_every_wrong_setting_at_once(reach: Reach) -> None:
    done = reach.process("up", REACH_GRPC_LISTEN="nowhere", REACH_LOG_LEVEL="loud", REACH_HOOME="x")
    assert done.code == 2
    assert len(done.lines) == 3
    assert all(any(name in line for line in done.lines) for name in ("GRPC_LISTEN", "LOG_LEVEL", "HOOME"))


def test_serve_without_a_broker_exits_2_and_lists_everything(reach: Reach) -> None:
    done = reach.process("serve", "notifier", REACH_CLOCK="moon")
    assert done.code == 2
    assert any("REACH_AMQP_URL" in line for line in done.lines)
    assert any("REACH_CLOCK" in line for line in done.lines)


def test_serve_says_which_services_there_are(reach: Reach) -> None:
    done = reach("serve", "nonsense")
    assert done.code == 2
    assert len(done.lines) == 1
    assert "nonsense" in done.err
    assert "notifier" in done.err


@pytest.mark.parametrize("service", ["notifier", "ai_orchestrator", "campaign"])
def test_serve_runs_one_service_over_the_broker(reach: Reach, amqp_vhost: str, service: str) -> None:
    where = {**PORTS, "REACH_AMQP_URL": amqp_vhost, "REACH_WECOM_BASE_URL": "http://127.0.0.1:9"}
    with start(reach, "serve", service, **where) as program:
        facts = program.ready().facts
        assert any(line.startswith(f"ready {service} grpc=") for line in program.lines)
        assert reach("health", facts["grpc"]).out == "SERVING\n"
        assert program.stop() == 0, program.output()


def test_the_sandbox_listens_where_it_is_told(reach: Reach) -> None:
    with start(reach, "sandbox", "--listen", "127.0.0.1:0") as program:
        program.ready()
        assert program.lines[0].startswith("ready sandbox http://127.0.0.1:")
        assert program.stop() == 0


def test_the_sandbox_refuses_an_address_it_cannot_read(reach: Reach) -> None:
    assert reach("sandbox", "--listen", "nowhere").code == 2


def test_health_of_nothing_is_1_within_five_seconds(reach: Reach) -> None:
    began = time.monotonic()
    done = reach("health", "127.0.0.1:1")
    assert done.code == 1
    assert len(done.lines) == 1
    assert "127.0.0.1:1" in done.err
    assert time.monotonic() - began < 5
