"""Many builds by one process leave it, and the folders, as they were after the first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness import WHOLE, Stage, Table, processes

#: Rounds, and builds at a time in each.
SOAKS = [(20, 1), (5, 4)] if WHOLE else [(3, 1), (2, 2)]
#: KiB by which memory may differ between two rounds, for all of them.
NOISE = 8 << 10


@pytest.mark.parametrize(("rounds", "at_once"), SOAKS)
def test_builds_leave_the_process_as_it_was(
    complete: Path,
    tmp_path: Path,
    warm: Path,
    table: Table,
    rounds: int,
    at_once: int,
) -> None:
    stage = Stage(tmp_path, complete, warm)
    stage.output.unlink()
    script = str(Path(__file__).with_name("soak.py"))
    words = [sys.executable, script, complete, stage.cache, stage.out, rounds, at_once]
    with table.point("soak", f"{rounds} x {at_once} builds"):
        done = subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            check=False,
            env=stage.environment,
        )
        assert done.returncode == 0, done.stderr
        first, *others = json.loads(done.stdout)
        assert first["children"] == [] and first["temporary"] == [], first
        assert first["images"] == sorted(f"{n}.img" for n in range(at_once)), first
        grown = others[-1]["memory"] - first["memory"]
        assert grown < NOISE, f"memory grew by {grown} KiB: {[s['memory'] for s in others]}"
        for each in others:
            assert {**each, "memory": 0} == {**first, "memory": 0}
        print(f"memory after each round, KiB: {[s['memory'] for s in (first, *others)]}")
        assert processes(stage.mark) == []
    table.settle()
