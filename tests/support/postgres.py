"""A private PostgreSQL from an installed package, without its system service."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no stubs

from tests.support.home import Home, as_user, end, free_port, kill, wait_for_port
from tests.support.node import Node

# What a crash may not lose is off for ordinary tests: they never crash the server, and run twice as fast.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def programs() -> Path | None:
    """Where initdb and postgres are, the newest version first, or None when it is not installed."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    if packaged:
        return packaged[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresNode(Node):
    """A PostgreSQL process with one superuser ``reach``, trusted on loopback. About 2 s to create."""

    def __init__(self, home: Home | None = None, *, durable: bool = True) -> None:
        """A node in a home of its own, or in *home*, where one may already run.

        *durable* keeps ``fsync`` on, for crash and speed runs.
        """
        place = programs()
        if place is None:
            raise RuntimeError("PostgreSQL is not installed (Debian package postgresql)")
        self._programs = place
        self._home = home or Home.create()
        self._base = self._home.path / "pg"
        self._log = self._home.path / "pg.log"
        self._settings = () if durable else FAST
        self._process: psutil.Popen | None = None
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        # Written down, for the other processes of the run bring the same home and must find the same server.
        known = self._home.path / "pg.port"
        if not known.exists():
            known.write_text(str(free_port()))
        self._port = int(known.read_text())
        self.url = f"postgresql://reach@127.0.0.1:{self._port}/postgres"

    def _create(self) -> None:
        self._base.mkdir(mode=0o700)
        if self._user:
            shutil.chown(self._base, self._user, self._user)
        subprocess.run(
            as_user(
                self._user,
                [self._programs / "initdb", "-D", self._base / "d", "-A", "trust", "-U", "reach",
                 "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            ),
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip

    def start(self) -> None:
        """Start, or start again on the same port and data; return when it answers."""
        if not self._base.exists():
            self._create()
        options = ("listen_addresses=127.0.0.1", "max_connections=300", *self._settings)
        where = ("-D", self._base / "d", "-k", self._base, "-p", str(self._port))
        command: list[str | Path] = [self._programs / "postgres", *where]
        for option in options:
            command += ["-c", option]
        # SIGINT is a fast shutdown: open sessions are ended, nothing waits for them.
        self._process = self._home.spawn(command, self._log, user=self._user, farewell=signal.SIGINT)
        wait_for_port(self._port, self._process, self._log)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        # It listens while it still replays its log, and refuses sessions until that is done.
        question: list[str | Path] = [
            self._programs / "pg_isready",
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self._port),
        ]
        until = time.monotonic() + 60.0
        while subprocess.run(question, check=False).returncode != 0:
            if time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL accepts no session:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Shut down in good order and wait."""
        if self._process is not None:
            end(self._process, signal.SIGINT)
            self._process = None

    def kill(self) -> None:
        """End it the way a power cut does."""
        if self._process is not None:
            # Its children leave the process group, so the tree is ended one by one.
            kill([self._process, *self._process.children(recursive=True)])
            self._process = None

    def close(self) -> None:
        """End it and delete its data."""
        self.stop()
        self._home.release()
