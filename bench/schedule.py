"""Which runs, in which order, and how long they may take.  Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from bench.cases import CASES, SELFINSTALL, TOOLS, Case, Tool, guess

#: Seconds between two runs: flushing, reading the tarball, putting the cache back.
BETWEEN = 5.0
#: Seconds that booting an image under each of its firmwares may take.
BOOT_CHECK = 110.0


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One run to come; round 0 is the uncounted one."""

    case: Case
    tool: Tool
    round: int


def jobs(
    cases: Iterable[str],
    chosen: Sequence[str],
    runs: int,
    done: set[tuple[str, str, int]],
    usable: set[tuple[str, str]],
) -> list[Job]:
    """What is left to do: case after case, the tools of a case taking turns.

    Before a tool's first counted run from each base tarball comes an uncounted
    one, also when earlier figures are there: another session's caches are not this one's.

    :param chosen: names of tools.
    :param done: case, tool and round of what need not run again.
    :param usable: case and tool of what can run here.
    """
    found: list[Job] = []
    warmed: set[tuple[str, str]] = set()
    for case in (CASES[name] for name in cases):
        able = [TOOLS[t] for t in case.tools if t in chosen and (case.name, t) in usable]
        left = [
            Job(case, tool, number)
            for number in range(1, runs + 1)
            for tool in able
            if (case.name, tool.name, number) not in done
        ]
        for tool in dict.fromkeys(job.tool.name for job in left):
            key = _warmth(case, tool)
            if key is not None and key not in warmed:
                warmed.add(key)
                found.append(Job(case, TOOLS[tool], 0))
        found += left
    return found


def _warmth(case: Case, tool: str) -> tuple[str, str] | None:
    """What an uncounted run warms; None when there is nothing to warm."""
    if case.kind == "verify":
        return None
    # Only selfinstall remembers a first build; others need nothing more for a second.
    second = case.kind == "second" and tool == SELFINSTALL
    return (tool, case.name if second else case.base)


def estimate(
    todo: Iterable[Job], known: Mapping[tuple[str, str], float], check_boot: bool
) -> float:
    """Seconds that *todo* may take, with what lies between."""
    total = 0.0
    for job in todo:
        total += guess(job.case, job.tool, known) + BETWEEN
        if check_boot and job.round == 0 and job.case.kind == "build":
            total += BOOT_CHECK
    return total


def minutes(seconds: float) -> str:
    """A time for people."""
    whole = max(1, round(seconds / 60))
    return f"{whole // 60} h {whole % 60:02d} min" if whole >= 60 else f"{whole} min"
