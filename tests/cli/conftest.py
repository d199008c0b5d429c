"""A home for each test, and one running suite for the tests that only ask it something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import PORTS, Reach
from tests.support.process import Program

STORE = "s1"


@pytest.fixture
def reach(tmp_path: Path) -> Reach:
    """The command, with an empty home."""
    return Reach(tmp_path)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reach]:
    """The command, pointed at a suite that is up; its sandbox is in ``variables['SANDBOX']``."""
    place = tmp_path_factory.mktemp("up")
    home = {"REACH_HOME": str(place / "home"), "REACH_DEFAULT_STORE": STORE}
    with Program("reach up", ["-m", "cli.main", "up"], {**home, **PORTS}) as program:
        program.ready()
        yield Reach(
            place, **home, REACH_NOTIFIER_TARGET=program.facts["grpc"], SANDBOX=program.facts["sandbox"]
        )
        assert program.stop() == 0, program.output()
