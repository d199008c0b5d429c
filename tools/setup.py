"""Make .venv and install what the hashed requirements name; standard library only, any Python from 3.11.

Where packages come from is the machine's affair: pip's configuration is read, handed to uv, and nothing here
names an index.
"""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"

# pip's settings and the variables by which uv knows the same thing; uv does not read pip's configuration.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
}


def _run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    subprocess.run([str(part) for part in command], cwd=ROOT, env=env, check=True, stdin=subprocess.DEVNULL)


def _pip(*arguments: str | Path) -> None:
    _run(PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def uv_environment() -> dict[str, str]:
    """This process's environment plus pip's configuration in uv's words; what uv is told already stays."""
    listing = subprocess.run(
        [PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    # The best match of all indexes, as pip does it; the hashes leave no room for a foreign package.
    env = {"UV_INDEX_STRATEGY": "unsafe-best-match", **os.environ}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, setting = key.partition(".")
        if section in ("global", "install", ":env:") and setting in UV_NAMES:
            env.setdefault(UV_NAMES[setting], " ".join(value.strip("'\"").replace("\\n", " ").split()))
    return env


def main() -> None:
    """Create, synchronise, install the checkout; each step may be repeated."""
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    _pip("install", "--require-hashes", "-r", "tools/uv.txt")
    env, uv = uv_environment(), ENVIRONMENT / "bin" / "uv"
    try:
        _run(
            uv,
            "pip",
            "sync",
            "--quiet",
            "--require-hashes",
            "--python",
            PYTHON,
            "requirements-dev.txt",
            env=env,
        )
    except subprocess.CalledProcessError:
        # pip knows mirrors and certificates that uv may not; it takes a minute instead of seconds.
        print("uv could not fetch the requirements; trying pip")
        _pip("install", "--require-hashes", "-r", "requirements-dev.txt")
    _pip("install", "--no-deps", "--no-build-isolation", "--editable", ".")
    print(f"ready: {ENVIRONMENT.name}")


if __name__ == "__main__":
    main()
