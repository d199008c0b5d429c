"""Pin requirements*.in to versions and hashes: ``python -m tools.lock``.

No index option on the command lines, because uv repeats them in the files; where packages come from is read
from pip's configuration, as in ``tools.setup``.
"""

from __future__ import annotations

import subprocess

from tools.setup import ENVIRONMENT, ROOT, uv_environment

OPTIONS = ("--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate")
LOCKS = (
    ("requirements.in", "-o", "requirements.txt"),
    ("requirements.in", "requirements-dev.in", "-o", "requirements-dev.txt", "-c", "requirements.txt"),
    ("tools/uv.in", "-o", "tools/uv.txt"),
)


def main() -> None:
    """Write the three files; versions already pinned stay unless their line asks for another."""
    for arguments in LOCKS:
        command = [str(ENVIRONMENT / "bin" / "uv"), "pip", "compile", *OPTIONS, *arguments]
        subprocess.run(command, cwd=ROOT, env=uv_environment(), check=True)


if __name__ == "__main__":
    main()
