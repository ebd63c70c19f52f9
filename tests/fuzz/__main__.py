"""Fuzz the parsers of what others wrote, one after the other; docs/security.md tells more."""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path

from tests.fuzz.hostile import CASES, measured
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import MEMORY, Tally, work

#: Processes for one parser: each but the last was killed by an input.
ATTEMPTS = 10
#: Workers have everything imported, which takes longer than a short run.
_FORK = multiprocessing.get_context("fork")


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz", description=__doc__)
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=0.0, help="of CPU, for all together")
    parser.add_argument("--inputs", type=int, default=0, help="for each, besides the corpus")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other inputs")
    parser.add_argument("--jobs", type=int, default=1, help="parsers at a time")
    parser.add_argument(
        "--hostile", action="store_true", help="the tarballs that are hostile by design, instead"
    )
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), help="where to keep such inputs"
    )
    return parser.parse_args(words)


def finished(name: str, status: int | None, out: Path) -> Tally:
    """What a worker left; an input that killed it is a finding."""
    path = out / "tally"
    tally = Tally(**json.loads(path.read_text())) if path.exists() else Tally()
    if status:
        tally.inputs += 1
        label = f"{out.name}-killed"
        shutil.copy(out / "input", out / label)
        tally.findings[f"the process ended with status {status}"] = label
    return tally


def added(one: Tally, other: Tally) -> Tally:
    """Both together."""
    return Tally(
        inputs=one.inputs + other.inputs,
        refused=one.refused + other.refused,
        seconds=one.seconds + other.seconds,
        slowest=max(one.slowest, other.slowest),
        rss=max(one.rss, other.rss),
        findings=one.findings | other.findings,
    )


@dataclasses.dataclass
class Job:
    """One parser: the process that runs it now, and what came of those before."""

    name: str
    share: float
    tally: Tally = dataclasses.field(default_factory=Tally)
    attempt: int = 0

    def start(self, options: argparse.Namespace, folder: Path) -> None:
        """Start a process with other inputs than those before it had."""
        self.out = folder / f"{self.name}-{self.attempt}"
        self.out.mkdir()
        seed = options.seed + 1000 * self.attempt
        left = max(0.0, self.share - self.tally.seconds)
        words = (TARGETS[self.name], seed, options.inputs, left, self.out)
        self.process = _FORK.Process(target=work, args=words)
        self.process.start()
        self.attempt += 1

    def finish(self, findings: Path) -> bool:
        """Take what the process left; whether the parser is done."""
        self.process.join()
        status = self.process.exitcode
        one = finished(self.name, status, self.out)
        for label in one.findings.values():
            findings.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.out / label, findings / label)
        self.tally = added(self.tally, one)
        enough = self.share and self.tally.seconds >= self.share
        return bool(not status or enough or self.attempt == ATTEMPTS)


def fuzz(jobs: list[Job], options: argparse.Namespace, folder: Path) -> Iterator[Job]:
    """Run *jobs*, so many at a time as *options* say; each as it is done."""
    waiting, running = jobs[::-1], dict[int, Job]()
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                job = waiting.pop()
                job.start(options, folder)
                running[job.process.sentinel] = job
            for sentinel in connection.wait(list(running)):
                job = running.pop(sentinel)  # type: ignore[call-overload]
                if job.finish(options.findings):
                    yield job
                else:
                    waiting.append(job)
    finally:
        for job in running.values():
            job.process.kill()
            job.process.join()


def report(name: str, tally: Tally) -> None:
    """One line of figures, and one for each finding."""
    print(
        f"{name:<9}{tally.inputs:>9} inputs,{tally.refused:>9} refused,{tally.seconds:>8.1f} s CPU,"
        f"{tally.slowest:>6.2f} s slowest,{tally.rss >> 20:>4} MiB,"
        f"{len(tally.findings):>3} findings",
        flush=True,
    )
    for what, label in tally.findings.items():
        print(f"    {label}: {what}", flush=True)


def hostile(name: str, connected: connection.Connection) -> None:
    """In a process of its own: one of the tarballs, with the same limits."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        connected.send(measured(CASES[name], 1.0, Path(folder)))


def all_hostile() -> int:
    """1 if anything was not as it should."""
    failed = 0
    for name, case in CASES.items():
        ours, theirs = _FORK.Pipe()
        process = _FORK.Process(target=hostile, args=(name, theirs))
        process.start()
        theirs.close()
        try:
            told, seconds, rss = ours.recv()
        except EOFError:
            told, seconds, rss = f"the process ended: {process.exitcode}", 0.0, 0
        process.join()
        good = case.outcome in told
        failed |= not good
        figures = f"{seconds:>7.1f} s {rss >> 20:>4} MiB"
        print(f"{'ok' if good else 'NO':<3}{name:<34}{figures}  {told[:80]}", flush=True)
    return failed


def main() -> int:
    """1 if anything was found."""
    options = parsed()
    if options.hostile:
        return all_hostile()
    names = options.parsers or list(TARGETS)
    minutes = options.minutes or (0.0 if options.inputs else 1.0)
    jobs = [Job(name, minutes * 60 / len(names)) for name in names]
    total = Tally()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for job in fuzz(jobs, options, Path(folder)):
            report(job.name, job.tally)
            total = added(total, job.tally)
    report("together", dataclasses.replace(total, findings={}))
    return 1 if total.findings else 0


if __name__ == "__main__":
    sys.exit(main())
