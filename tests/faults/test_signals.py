"""Signals at random moments of all phases of a build."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from harness import CLEANUP, LAYERED, SEED, WHOLE, Stage, Table, failed

#: Events of a build that knows no layer, and of one that begins with a layer.
COLD = [
    ("begin", "inspect"),
    ("progress", "inspect"),
    ("begin", "initramfs"),
    ("begin", "guest"),
    ("begin", "20-partition"),
    ("begin", "unpack"),
    ("progress", "unpack"),
    ("begin", "50-configure"),
    ("begin", "69-layer"),
]
WARM = [
    ("begin", "layer"),
    ("begin", "70-grow"),
    ("begin", "90-seal"),
    ("begin", "convert"),
    ("progress", "convert"),
    ("begin", "verify-bios"),
]
#: Seconds after the event, at most.
LONGEST = 2.0
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
#: Moments for each signal.
MOMENTS = 50 if WHOLE else 4


def moments(number: signal.Signals) -> list[tuple[bool, str, str, float]]:
    """(with layer, event, step, seconds after), spread over the phases."""
    chance = random.Random(f"{SEED} {number}")
    every = [(False, *each) for each in COLD] + [(True, *each) for each in WARM]
    chosen = []
    while len(chosen) < MOMENTS:
        chosen += chance.sample(every, len(every))
    return [(*each, round(chance.uniform(0, LONGEST), 2)) for each in chosen[:MOMENTS]]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal(
    complete: Path,
    tmp_path: Path,
    warm: Path,
    table: Table,
    number: signal.Signals,
) -> None:
    print(f"seed {SEED}")
    for count, (layered, event, step, seconds) in enumerate(moments(number)):
        stage = Stage(tmp_path / str(count), complete, warm if layered else None)
        point = f"{event} {step} + {seconds} s{', with a layer' if layered else ''}"
        with table.point(number.name, point), stage.start("--firmware", "bios") as run:
            run.until(event, step)
            run.pause(seconds)
            run.signal(number)
            status, errors = run.end(CLEANUP)
            if status == 0:
                stage.kept(new=True)  # it was quicker
            elif number == signal.SIGKILL:
                assert status == -number, errors
                stage.next_run()
                stage.kept()
            else:
                failed((status, errors), 128 + number, "interrupted")
                stage.kept()
    # What the killed ones worked with is as good as before.
    stage = Stage(tmp_path / "after", complete, warm)
    with table.point(number.name, "a build after all"), stage.start(*LAYERED) as run:
        run.until("end", "guest")
        assert ("begin", "70-grow") in run.seen and ("begin", "unpack") not in run.seen
        status, errors = run.end()
        assert status == 0, errors
        stage.kept(new=True)
    table.settle()
