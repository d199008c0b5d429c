"""The wheel that goes into the image holds what the processes read, beside their code."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What runs is more than Python: pages, style sheets, templates.
SOURCES = ("shared", "services", "sandbox", "cli")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel built from this checkout, without touching the network."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (file,) = place.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_sources(wheel: set[str]) -> None:
    files = (path for source in SOURCES for path in (ROOT / source).rglob("*") if path.is_file())
    wanted = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert wanted - wheel == set()


def test_the_wheel_holds_the_generated_contracts_and_no_tests(wheel: set[str]) -> None:
    assert "reach/notifier/v1/notifier_service_pb2_grpc.py" in wheel
    assert "buf/validate/validate_pb2.py" in wheel
    assert not {name for name in wheel if name.startswith(("tests/", "bench/", "deploy/"))}
