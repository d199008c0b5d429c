"""A private server through Docker Compose, for machines with an engine and without the packages."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path

from tests.support.home import free_port
from tests.support.node import Broker, Node

FILE = Path(__file__).with_name("compose.yml")


def engine_answers() -> bool:
    """Whether ``docker compose`` exists and has an engine behind it; the command alone proves nothing."""
    for question in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(question, capture_output=True, timeout=15, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        if done.returncode != 0:
            return False
    return True


class ComposeNode(Node):
    """One service of ``compose.yml`` as a project of its own."""

    service: str
    scheme: str

    def __init__(self, home: Path | None = None, *, durable: bool = True) -> None:
        """A project of its own; *home*, where given, remembers it for the other processes of a run."""
        memory = home / f"{self.service}.json" if home else None
        if memory and memory.exists():
            self._project, self._port = json.loads(memory.read_text())
        else:
            self._project, self._port = f"reach-{secrets.token_hex(4)}", free_port()
            if memory:
                memory.write_text(json.dumps([self._project, self._port]))
        self._durable = "on" if durable else "off"
        self.url = self.scheme.format(port=self._port)

    def _compose(self, *arguments: str) -> str:
        command = ["docker", "compose", "--project-name", self._project, "--file", str(FILE), *arguments]
        env = os.environ | {"PORT": str(self._port), "DURABLE": self._durable}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"docker compose {arguments[0]}: {done.stderr[-2000:]}")
        return done.stdout

    def start(self) -> None:
        """Start, or start again on the same port and data; return when it is healthy."""
        self._compose("up", "--detach", "--wait", self.service)

    def stop(self) -> None:
        """Shut down in good order and wait."""
        self._compose("stop", self.service)

    def kill(self) -> None:
        """End it the way a power cut does."""
        self._compose("kill", self.service)

    def close(self) -> None:
        """End it and delete its data."""
        self._compose("down", "--volumes", "--timeout", "5")


class ComposeRabbit(ComposeNode, Broker):
    """RabbitMQ in a container."""

    service = "rabbitmq"
    scheme = "amqp://guest:guest@127.0.0.1:{port}/"

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` against this node and return what it prints."""
        return self._compose("exec", "-T", self.service, "rabbitmqctl", "--quiet", *arguments)


class ComposePostgres(ComposeNode):
    """PostgreSQL in a container."""

    service = "postgres"
    scheme = "postgresql://reach@127.0.0.1:{port}/postgres"
