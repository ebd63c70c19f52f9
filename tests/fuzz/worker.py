"""One parser under one stream of inputs, in a process of its own with limits."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import random
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from selfinstall.errors import SelfinstallError
from tests.fuzz.targets import CORPUS, Target

#: Bytes of address space.
MEMORY = 500 << 20
#: Seconds of CPU that one input may take.
PATIENCE = 10.0


class Hang(BaseException):
    """An input took too long.  Nothing that catches Exception may catch it."""


@dataclasses.dataclass(slots=True)
class Tally:
    """What came of one parser's inputs.

    :param seconds: of CPU.
    :param slowest: seconds of CPU of one input.
    :param rss: peak, bytes.
    :param findings: by what they are: the input's file name.
    """

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    rss: int = 0
    findings: dict[str, str] = dataclasses.field(default_factory=dict)


def cpu() -> float:
    """Seconds of CPU of this process and of those that it waited for."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    """Raises Hang inside after PATIENCE; where no Python code runs any more, the kernel kills."""
    spent = int(time.process_time())
    limit = spent + math.ceil(3 * PATIENCE) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hang(signum: int, frame: object) -> None:
    raise Hang(f"more than {PATIENCE:.0f} s of CPU")


def what_happened(target: Target, data: bytes, folder: Path) -> str | bool:
    """Whether *data* was refused as it should, or else (a text) what went wrong, and where."""
    try:
        with _hurried():
            target.run(data, folder)
    except SelfinstallError as error:
        if not error.message or "\n" in error.message:
            return f"an error of more than a line: {error.message[:80]!r}"
        return True
    except target.expected:
        return True
    except (Exception, Hang) as error:  # noqa: BLE001  # that is what is looked for
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "/selfinstall/" in f.filename] or frames[-1:]
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        return f"{type(error).__name__} at {place}: {str(error)[:100]!r}"
    return False


def inputs_of(target: Target, seed: int, inputs: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each input: what once found something, the seeds, and mutations.

    :param inputs: mutations at most, 0 for no limit.
    """
    folder = CORPUS / target.name
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield path.name, path.read_bytes()
    for number, data in enumerate(target.seeds):
        yield f"{target.name}-seed-{number}", data
    dice = random.Random(f"{target.name} {seed}")
    for number in range(inputs) if inputs else itertools.count():
        yield f"{target.name}-{seed}-{number}", target.make(dice)


def work(target: Target, seed: int, inputs: int, seconds: float, out: Path) -> None:
    """Run inputs; leave the tally, the present input and what went wrong in the folder *out*.

    :param seconds: of CPU at most, 0 for no limit.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _hang)
    tally = Tally()
    seen: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        start = told = cpu()
        for label, data in inputs_of(target, seed, inputs):
            (out / "input").write_bytes(data)
            began = cpu()
            found = what_happened(target, data, Path(name))
            now = cpu()
            tally.inputs += 1
            tally.refused += found is True
            tally.slowest = max(tally.slowest, now - began)
            tally.seconds = now - start
            # The same fault of the same line is one finding, whatever its words.
            if isinstance(found, str) and (kind := found.partition(": ")[0]) not in seen:
                seen.add(kind)
                (out / label).write_bytes(data)
                tally.findings[found] = label
                told = -math.inf  # the next one may end the process
            if now - told > 1:
                told = now
                _tell(tally, out)
            if seconds and tally.seconds > seconds:
                break
        _tell(tally, out)


def _tell(tally: Tally, out: Path) -> None:
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally.rss = 1024 * max(ours, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    (out / "tally.new").write_text(json.dumps(dataclasses.asdict(tally)))
    (out / "tally.new").replace(out / "tally")
