"""A directory that owns processes: when the last user of it is gone, they end and it goes too.

Every user holds a shared lock on a file in the directory; the kernel drops it however the user dies. A
watchdog waits for the exclusive lock, so nothing outlives a test run, not even one that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]  # ships no stubs

# Below the range from which the kernel takes ports for outgoing connections: a server that is stopped on
# purpose must find its port free when it comes back.
PORTS = range(20000, 32000)
GRACE_SECONDS = 10.0


def free_port() -> int:
    """A loopback port nobody listens on now."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Home:
    """A short-named directory under the temporary one, with a lock and a list of processes."""

    def __init__(self, path: Path) -> None:
        """Use the directory at *path* until this process ends or calls ``release``."""
        self.path = path
        self._lock = (path / "users").open("a")
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._children: list[psutil.Popen] = []

    @classmethod
    def create(cls) -> Self:
        """A new home, watched over."""
        # Not under pytest's own directory: it is closed to the account PostgreSQL runs as, and socket
        # paths must stay under a hundred characters.
        path = Path(tempfile.mkdtemp(prefix="reach-"))
        path.chmod(0o711)
        home = cls(path)
        watchdog = psutil.Popen(
            [sys.executable, "-m", "tests.support.home", str(path)],
            cwd=Path(__file__).parents[2],
            start_new_session=True,  # the interrupt key is not for it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        home._children.append(watchdog)
        return home

    def spawn(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        farewell: signal.Signals = signal.SIGTERM,
    ) -> psutil.Popen:
        """Start a process that ends with this home; *farewell* is the signal it is asked to end with."""
        with log.open("ab") as out:
            process = psutil.Popen(
                as_user(user, command),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                start_new_session=True,
            )
        self._children.append(process)
        (self.path / f"{process.pid}.pid").write_text(f"{process.create_time()} {farewell.value}")
        return process

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One user at a time: the first builds what the others then find."""
        with (self.path / "building").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def release(self) -> None:
        """End every process and remove the directory; only when no other user is left."""
        clear(self.path)
        self._lock.close()
        for child in self._children:
            child.wait(GRACE_SECONDS)
            child.poll()  # else Popen, not knowing that it was reaped above, warns of it


def as_user(user: str | None, command: Sequence[str | Path]) -> list[str]:
    """*command*, to be run as *user*, if one is named; under the same process id.

    Not by Popen's own ``user``, for which it forks: in the child of a process that has used gRPC, gRPC's handlers may
    run into descriptors that are not theirs any more, and the command is never reached.
    """
    words = [str(part) for part in command]
    if user is None:
        return words
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *words]


def end(process: psutil.Process, farewell: signal.Signals) -> None:
    """Ask a process to end and wait; after ten seconds end its whole tree."""
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = [process, *process.children(recursive=True)]
        process.send_signal(farewell)
        _, stubborn = psutil.wait_procs(tree, timeout=GRACE_SECONDS)
        kill(stubborn)


def kill(processes: Sequence[psutil.Process]) -> None:
    """End processes without asking, and wait until they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=GRACE_SECONDS)


def clear(path: Path) -> None:
    """End the processes a home lists, then remove it."""
    for entry in path.glob("*.pid"):
        created, farewell = entry.read_text().split()
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(entry.stem))
            if process.create_time() == float(created):  # the number may be somebody else's by now
                end(process, signal.Signals(int(farewell)))
    shutil.rmtree(path, ignore_errors=True)


def wait_for_port(port: int, process: psutil.Popen, log: Path, seconds: float = 60.0) -> None:
    """Return once something listens on *port*; raise with the log's end when *process* ends before that."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} does not listen on {port}:\n{log.read_text()[-2000:]}")


def _watch(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), (path / "users").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # returns when the last user is gone
        clear(path)


if __name__ == "__main__":
    os.chdir("/")
    _watch(Path(sys.argv[1]))
