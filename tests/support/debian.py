"""Debian's server packages, installed without starting their system services."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

# What package scripts ask before they start a service; 101 forbids it.
POLICY = Path("/usr/sbin/policy-rc.d")
LOCK = Path(tempfile.gettempdir(), "reach-apt.lock")


def may_install() -> bool:
    """Whether this is a Debian on which we are root."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


@contextlib.contextmanager
def _services_stay_down() -> Iterator[None]:
    if POLICY.exists():  # a container image's own, which says the same
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def install(package: str) -> None:
    """Install *package* with apt; raises ``RuntimeError`` with apt's own words when it cannot."""
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _services_stay_down():
            _apt(env, package)


def _apt(env: dict[str, str], package: str) -> None:
    for command in (["update"], ["install", "--yes", "--no-install-recommends", package]):
        done = subprocess.run(
            ["apt-get", "-qq", *command], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"apt-get {command[0]} failed: {done.stderr.strip()[-500:]}")
