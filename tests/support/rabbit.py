"""A private RabbitMQ from an installed package, without its system service."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no stubs

from tests.support.home import Home, end, free_port, kill, wait_for_port
from tests.support.node import Broker

# Debian's wrapper in /usr/sbin changes to the package's own account and data; the scripts beneath do not.
PLACES = (Path("/usr/lib/rabbitmq/bin"),)


def scripts() -> Path | None:
    """Where RabbitMQ's scripts are, or None when it is not installed."""
    found = shutil.which("rabbitmq-server")
    places = [*PLACES, *([Path(found).resolve().parent] if found else [])]
    return next((place for place in places if (place / "rabbitmq-server").exists()), None)


class RabbitNode(Broker):
    """A RabbitMQ process; log and data in its home. About 3 s to start, 120 MB."""

    def __init__(self, home: Home | None = None) -> None:
        """A node in a home of its own, or in *home*, where one may already run."""
        place = scripts()
        if place is None:
            raise RuntimeError("RabbitMQ is not installed (Debian package rabbitmq-server)")
        self._scripts = place
        self._home = home or Home.create()
        self._base = self._home.path / "rabbit"
        self._base.mkdir(exist_ok=True)
        self._processes: list[psutil.Popen] = []
        known = self._base / "node.json"
        if not known.exists():
            node = {"name": f"reach{secrets.token_hex(6)}@localhost"}
            ports = {role: free_port() for role in ("amqp", "dist", "epmd")}
            known.write_text(json.dumps(node | ports))
        self._node = json.loads(known.read_text())
        self.url = f"amqp://guest:guest@127.0.0.1:{self._node['amqp']}/"

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return inherited | {
            "HOME": str(self._base),  # keeps this node's Erlang cookie to itself
            # A name server of its own: the machine's would be started as a daemon and stay.
            "ERL_EPMD_PORT": str(self._node["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Busy-waiting schedulers would take the machine's few cores from the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
            "RABBITMQ_NODENAME": self._node["name"],
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._node["amqp"]),
            "RABBITMQ_DIST_PORT": str(self._node["dist"]),
            "RABBITMQ_MNESIA_BASE": str(self._base / "db"),
            "RABBITMQ_LOG_BASE": str(self._base / "log"),
            "RABBITMQ_PID_FILE": str(self._base / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._base / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._base / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self._base / "none"),
        }

    def start(self) -> None:
        """Start, or start again on the same port and data; return when it answers."""
        env, log = self._environment(), self._base / "out.log"
        epmd = shutil.which("epmd")
        if epmd is None:
            raise RuntimeError("epmd, a part of Erlang, is not on PATH")
        names = self._home.spawn([epmd], log, env=env)
        self._processes.append(names)
        wait_for_port(self._node["epmd"], names, log)
        server = self._home.spawn([self._scripts / "rabbitmq-server"], log, env=env)
        self._processes.append(server)
        wait_for_port(self._node["amqp"], server, log)

    def stop(self) -> None:
        """Shut down in good order and wait."""
        while self._processes:
            end(self._processes.pop(), signal.SIGTERM)

    def kill(self) -> None:
        """End it the way a power cut does."""
        trees = [[process, *process.children(recursive=True)] for process in self._processes]
        kill([process for tree in trees for process in tree])
        self._processes.clear()

    def close(self) -> None:
        """End it and delete its data."""
        self.stop()
        self._home.release()

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` against this node and return what it prints."""
        command = [str(self._scripts / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout
