from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.meter import MACHINE, Meter, cpu_seconds, peak_bytes, tree

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_the_time_of_children_counts_also_when_they_have_ended() -> None:
    before = cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert cpu_seconds(os.getpid()) - before >= 0.25


def test_a_tree_holds_grandchildren_and_their_memory() -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'print(1, flush=True); input()'], stdin=sys.stdin)\n"
        "child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        parent.stdout.readline()  # the grandchild runs
        members = list(tree(parent.pid))
        together, alone = peak_bytes(parent.pid), peak_bytes(members[-1])
        parent.stdin.write(b"\n")
    assert len(members) == 2
    assert together > alone > 1_000_000


def test_time_between_two_instants_is_read_off_the_samples() -> None:
    meter = Meter({"own": os.getpid()}, every=0.0)
    before = time.process_time()
    meter.sample()
    start = time.monotonic()
    burned = time.process_time()
    while time.process_time() - burned < 0.2:
        pass
    end = time.monotonic()
    meter.sample()
    all_there_was = time.process_time() - before  # what else this process does meanwhile is its own as well
    spent = meter.between(start, end)
    assert 0.1 < spent["own"] < all_there_was + 0.1
    assert spent[MACHINE] >= spent["own"] - 0.05
    assert meter.between(end + 1, end + 2) == {"own": 0.0, MACHINE: 0.0}
