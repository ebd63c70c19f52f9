"""A clock that jumps: durations, ages and the order of use come out as nonsense, builds do not."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from harness import LAYERED, Stage, Table

#: Seconds since 1970 in 2100 and in 1971.
FUTURE, PAST = 4_102_444_800, 31_536_000
#: Found by Python at its start: each look at the clock is days from the one before.
JUMPS = """
import itertools, time
_jumps, _time, _time_ns = itertools.count(), time.time, time.time_ns
def _jump():
    number = next(_jumps)
    return (-1) ** number * number * 86400
time.time = lambda: _time() + _jump()
time.time_ns = lambda: _time_ns() + _jump() * 10**9
"""


def test_a_clock_that_jumps(complete: Path, tmp_path: Path, warm: Path, table: Table) -> None:
    stage = Stage(tmp_path, complete, warm)
    (tmp_path / "jumps").mkdir()
    (tmp_path / "jumps" / "sitecustomize.py").write_text(JUMPS)
    before = os.environ.get("PYTHONPATH")
    stage.more["PYTHONPATH"] = os.pathsep.join(filter(None, (str(tmp_path / "jumps"), before)))
    times = itertools.cycle((FUTURE, PAST))
    for path in stage.cache.rglob("*"):
        os.utime(path, (next(times),) * 2)
    with table.point("clock jumps", "all"), stage.start(*LAYERED) as run:
        run.until("end", "guest")
        assert ("begin", "70-grow") in run.seen and ("begin", "unpack") not in run.seen
        status, errors = run.end()
        assert status == 0, errors
        stage.kept(new=True)
    table.settle()
