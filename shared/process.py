"""Runs a process: signals, exit codes, and one clear line instead of a traceback where one is enough.

Exit codes: 0 stopped as asked · 1 failed · 2 configured wrongly · 3 did not stop in time.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from shared.environment import ConfigurationError
from shared.errors import Unavailable
from shared.telemetry.redaction import redact

EXIT_OK, EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_STUCK = 0, 1, 2, 3

GRACE = timedelta(seconds=28)
"""From the first signal to the hard stop; container runtimes kill after 30 s."""

# One request to stop often comes twice: to the process, and to its whole group (a terminal, timeout(1)).
_ECHO = 0.5


_UNREACHABLE = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)


class StartupError(Exception):
    """The process cannot start, for a reason an operator can act on; the message says what to do."""


class Stop:
    """Says that the process was asked to stop, and how long it may still take."""

    def __init__(self, grace: timedelta = GRACE) -> None:
        self._event = asyncio.Event()
        self._grace = grace.total_seconds()
        self._until: float | None = None

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def request(self) -> None:
        """Ask for the stop, from the loop's thread; asking again changes nothing."""
        if self._until is None:
            self._until = time.monotonic() + self._grace
        self._event.set()

    async def wait(self) -> None:
        """Return once a stop was asked for."""
        await self._event.wait()

    def remaining(self) -> timedelta:
        """How long until the hard stop; the whole grace as long as nobody asked."""
        until = self._until
        return timedelta(seconds=self._grace if until is None else max(0.0, until - time.monotonic()))


def run(main: Callable[[Stop], Awaitable[None]], *, grace: timedelta = GRACE) -> int:
    """Run *main* until it returns, and return the exit code. Call it from the main thread, once.

    SIGTERM or SIGINT sets the ``Stop``; a second one, or *grace* running out, ends the process at once
    (code 3) from a thread that needs nothing of the event loop. Failures that were to be expected (the
    configuration, a port, a server) are one line each on stderr; anything else is a bug and shows its
    traceback. Secrets are masked in both.
    """
    with _Watch(grace) as watch, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_main(main, watch, grace))
        except ConfigurationError as error:
            for problem in error.problems:
                _say(problem)
            return EXIT_MISCONFIGURED
        except Exception as error:
            if line := expected(error):
                _say(line)
            else:
                sys.stderr.write(redact("".join(traceback.format_exception(error))))
            return EXIT_FAILED
    return EXIT_OK


async def _main(main: Callable[[Stop], Awaitable[None]], watch: _Watch, grace: timedelta) -> None:
    stop = Stop(grace)
    loop = asyncio.get_running_loop()
    watch.start(lambda: loop.call_soon_threadsafe(stop.request))
    _spare_the_collector()
    await main(stop)


def _spare_the_collector() -> None:
    """Keep the garbage collector from going over what never dies, again and again.

    The libraries alone are 160,000 objects; with the defaults, looking at them all took a third of the time of a
    busy process. What is there now stays for good; new objects are looked at in larger batches.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on every platform; asyncio's own loop does, only slower
        return None
    return uvloop.new_event_loop


def _say(line: str) -> None:
    sys.stderr.write(f"reach: {redact(line)}\n")
    sys.stderr.flush()


def expected(error: BaseException) -> str | None:
    """The one line that explains *error* to an operator, or None when it is not an expected failure."""
    if isinstance(error, BaseExceptionGroup):
        lines = [expected(inner) for inner in error.exceptions]
        return "; ".join(dict.fromkeys(line for line in lines if line)) if all(lines) else None
    if isinstance(error, StartupError):
        return str(error)
    if isinstance(error, Unavailable):
        return f"{error.message}; check that it runs and that its URL is right"
    if isinstance(error, RuntimeError) and "Failed to bind to address" in str(error):  # grpc
        address = str(error).split("address", 1)[1].split(";", 1)[0].strip()
        return f"cannot listen on {address}; stop what uses the port, or set another REACH_..._LISTEN (port 0 picks a free one)"
    return _expected_os_error(error) if isinstance(error, OSError) else None


def _expected_os_error(error: OSError) -> str | None:
    text = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"port taken: {text}; stop what uses it, or set another REACH_..._LISTEN (port 0 picks a free one)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{text}; the host of REACH_..._LISTEN must be an address of this machine"
    if error.filename and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
        return f"{error.filename}: {text.lower()}; make it writable, or set REACH_HOME elsewhere"
    if error.filename and error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"{error.filename}: not a directory; remove what is there, or set REACH_HOME elsewhere"
    if isinstance(error, socket.gaierror):
        return f"a host name cannot be resolved ({text}); check the URLs of REACH_... and the network"
    if isinstance(error, ConnectionError) or error.errno in _UNREACHABLE:
        return f"a server cannot be reached ({error}); check that it runs and that its REACH_..._URL is right"
    return None


class _Watch:
    """Turns signals into a stop, and a stop that takes too long into the end of the process.

    The handlers only write a byte to a pipe; a thread reads it. So the clock of the hard stop runs
    even when the event loop is stuck in somebody's endless loop.
    """

    def __init__(self, grace: timedelta) -> None:
        self._grace = grace.total_seconds()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._previous: dict[int, Any] = {}
        self._thread: threading.Thread | None = None

    def __enter__(self) -> _Watch:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        os.write(self._write, b"s")

    def start(self, request: Callable[[], object]) -> None:
        """Begin to listen; *request* is called from the watching thread at the first signal."""
        self._thread = threading.Thread(target=self._watch, args=(request,), name="reach-stop", daemon=True)
        self._thread.start()

    def _watch(self, request: Callable[[], object]) -> None:
        if os.read(self._read, 1) == b"q":
            return
        first = time.monotonic()
        try:
            request()
        except RuntimeError:  # the loop closed this very moment: the process is already leaving
            return
        while (left := first + self._grace - time.monotonic()) > 0:
            byte = self._next(left)
            if byte == b"q":
                return
            if byte == b"s" and time.monotonic() - first > _ECHO:
                _hard_stop("second signal")
        _hard_stop(f"not stopped after {self._grace:g} s")

    def _next(self, timeout: float) -> bytes | None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._read, selectors.EVENT_READ)
            return os.read(self._read, 1) if selector.select(timeout) else None

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.write(self._write, b"q")
        if self._thread is not None:
            self._thread.join(timeout=1)
        os.close(self._write)
        os.close(self._read)


def _hard_stop(why: str) -> None:
    # Not through sys.stderr: its lock may be held by the very thread that is stuck.
    os.write(
        2, f"reach: stopped hard, {why}; what was in flight is taken up again at the next start\n".encode()
    )
    os._exit(EXIT_STUCK)


class HomeLock:
    """Keeps a home directory to one process, for as long as the ``with`` block lasts.

    The kernel releases the lock with the process, however it ends. Raises ``StartupError`` when
    another process holds it. Creates the directory, readable by its owner only.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file: int | None = None

    def __enter__(self) -> HomeLock:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            os.close(file)
            by = f"process {holder}" if holder.isdigit() else "another process"
            raise StartupError(
                f"{self._home} is in use by {by}; stop it, or set REACH_HOME to another directory"
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
