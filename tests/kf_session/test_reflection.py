"""Whoever has no stubs calls by reflection: the service must be known to a process that loads nothing but itself."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import services.kf_session.assembly
from google.protobuf import descriptor_pool

found = descriptor_pool.Default().FindServiceByName("reach.kf_session.v1.KfSessionService")
print(len(found.methods))
"""


def test_reflection_knows_the_service_in_a_process_that_loads_only_it() -> None:
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    assert int(asked.stdout) > 20
