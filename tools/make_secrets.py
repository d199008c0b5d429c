"""Write random secrets for docker-compose.yml into deploy/secrets; those that exist are kept."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

PLACE = Path(__file__).resolve().parent.parent / "deploy" / "secrets"


def contents(broker: str, database: str, key: bytes) -> dict[str, str]:
    """The files by name, given the two passwords and the 32 bytes that encrypt stored credentials."""
    return {
        "rabbitmq.conf": f"default_user = reach\ndefault_pass = {broker}\n",
        "postgres_password": f"{database}\n",
        "amqp_url": f"amqp://reach:{broker}@rabbitmq:5672/\n",
        "database_url": f"postgresql://reach:{database}@postgres:5432/reach\n",
        "secret_key": base64.b64encode(key).decode() + "\n",
    }


def write(place: Path = PLACE) -> bool:
    """Write them all, or return False and write nothing when there are some: servers know the old ones."""
    files = contents(secrets.token_urlsafe(24), secrets.token_urlsafe(24), os.urandom(32))
    if any((place / name).exists() for name in files):
        return False
    # Compose mounts a file with its own permissions, and the containers' accounts are not ours: the
    # directory is what keeps others on this host out.
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o700)
    for name, content in files.items():
        (place / name).write_text(content)
        (place / name).chmod(0o644)
    return True


if __name__ == "__main__":
    print("written to deploy/secrets" if write() else "deploy/secrets has secrets already; they are kept")
