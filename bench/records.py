"""The raw figures: one JSON object a line, appended as they come; and what is read out of them."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def append(path: Path, row: Row) -> None:
    """Add a row and see that it is on disk: what was measured is never measured again.

    A last line without an end, which a crash left, goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        stream.seek(0)
        whole = stream.read().rpartition(b"\n")
        stream.truncate(len(whole[0]) + len(whole[1]))
        stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read(path: Path) -> list[Row]:
    """All rows; a last line that was cut off is left out.

    :raises ValueError: the file holds something else.
    """
    if not path.exists():
        return []
    rows: list[Row] = []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ValueError(f"{path}: line {number} is no JSON") from None
        if not isinstance(row, dict) or "kind" not in row:
            raise ValueError(f"{path}: line {number} is no row of the benchmark")
        rows.append(row)
    return rows


def counted(rows: Iterable[Row]) -> Iterator[Row]:
    """The runs that count: done to the end, and not to warm a cache."""
    return (r for r in rows if r["kind"] == "run" and r["counted"] and r["status"] == 0)


def rounds_done(rows: Iterable[Row]) -> set[tuple[str, str, int]]:
    """Case, tool and round of what need not run again."""
    return {(r["case"], r["tool"], r["round"]) for r in counted(rows)}


def failures(rows: Iterable[Row]) -> dict[tuple[str, str], int]:
    """How many runs failed, by case and tool."""
    found: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["kind"] == "run" and row["status"] != 0:
            key = (row["case"], row["tool"])
            found[key] = found.get(key, 0) + 1
    return found


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The runs of one tool in one case.  Seconds and bytes; medians where nothing else is said.

    :param cpu: user and system time of the command and its descendants.
    :param machine_cpu: of the whole machine meanwhile.
    :param qemu_rss: peak of the emulator; None where there is none, or it was not seen.
    :param host_rss: peak of the command's own process.
    :param guest: seconds by step and guest hook, of selfinstall.
    """

    case: str
    tool: str
    runs: int
    wall: float
    wall_min: float
    wall_max: float
    cpu: float
    cpu_min: float
    cpu_max: float
    machine_cpu: float
    qemu_rss: int | None
    host_rss: int
    fsync: float | None
    guest: Mapping[str, float]


def summaries(rows: Iterable[Row]) -> dict[tuple[str, str], Summary]:
    """All runs that count, by case and tool."""
    groups: dict[tuple[str, str], dict[int, Row]] = {}
    for row in counted(rows):
        # The first that succeeded stands; a round is never measured twice by the runner.
        groups.setdefault((row["case"], row["tool"]), {}).setdefault(row["round"], row)
    return {key: _summary(key, list(group.values())) for key, group in groups.items()}


def _summary(key: tuple[str, str], rows: list[Row]) -> Summary:
    wall = [row["wall"] for row in rows]
    cpu = [row["user"] + row["system"] for row in rows]
    qemu = [size for row in rows if (size := qemu_peak(row)) is not None]
    synced = [row["fsync"] for row in rows if row.get("fsync") is not None]
    steps: dict[str, list[float]] = {}
    for row in rows:
        for name, seconds in row.get("steps", {}).items():
            steps.setdefault(name, []).append(seconds)
    return Summary(
        case=key[0],
        tool=key[1],
        runs=len(rows),
        wall=statistics.median(wall),
        wall_min=min(wall),
        wall_max=max(wall),
        cpu=statistics.median(cpu),
        cpu_min=min(cpu),
        cpu_max=max(cpu),
        machine_cpu=statistics.median(row["machine_cpu"] for row in rows),
        qemu_rss=round(statistics.median(qemu)) if qemu else None,
        host_rss=round(statistics.median(row["host_rss"] for row in rows)),
        fsync=statistics.median(synced) if synced else None,
        guest={name: statistics.median(values) for name, values in steps.items()},
    )


def qemu_peak(row: Row) -> int | None:
    """Peak bytes of the emulator: what selfinstall's manifest tells, else what was seen."""
    told = (row.get("qemu") or {}).get("max_rss")
    if told:
        return int(told)
    seen = [peak for name, peak in row.get("rss", {}).items() if name.startswith("qemu-system")]
    return max(seen) if seen else None


def known_seconds(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """Medians by case and tool, for estimates."""
    return {key: summary.wall for key, summary in summaries(rows).items()}


def ratio(ours: Summary | None, theirs: Summary | None) -> float | None:
    """Our wall time to theirs; None when one is missing or took no time."""
    if ours is None or theirs is None or theirs.wall <= 0:
        return None
    return ours.wall / theirs.wall
