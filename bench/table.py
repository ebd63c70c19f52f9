"""The figures as Markdown.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.cases import CASES, SELFINSTALL, TOOLS
from bench.records import Row, Summary, failures, ratio, summaries
from bench.targets import TARGETS, growth

Summaries = Mapping[tuple[str, str], Summary]
NONE = "–"
#: Steps of the host that go on while its guest runs.
BESIDE = frozenset({"unpack"})

METHOD = """\
Wall time is from starting the command to its end; CPU is user and system time of
the command and everything that it started and waited for, qemu among it (wait4);
machine CPU is what all CPUs did meanwhile, the kernel's own threads included. The
tools take turns (A B C A B C …). Before each run the tarball is read once and
earlier writes are flushed, so the page cache is warm and no earlier run's writing
is in the way. An uncounted round fills package caches (lists and .debs), builds
guestfish's appliance and warms programs; selfinstall's is done with another
tarball, so that nothing of the measured one is in its cache, and its cache is
put back to that state before each run (not in the case of the second build).
All runs that ended well count."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first *left* columns to the left, the others to the right."""
    rule = [*[":--"] * left, *["--:"] * (len(header) - left)]
    lines = [header, rule, *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def number(value: float | None) -> str:
    """Three digits that mean something."""
    if value is None:
        return NONE
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"


def spread(middle: float, low: float, high: float) -> str:
    """A median and its range."""
    return f"{number(middle)} ({number(low)}–{number(high)})"


def factor(value: float | None) -> str:
    """A ratio."""
    return NONE if value is None else f"{value:.2f}"


def megabytes(value: int | None) -> str:
    """Bytes in units of 10^6."""
    return NONE if value is None else f"{value / 1e6:.0f}"


def page(name: str, rows: Sequence[Row]) -> str:
    """The whole document."""
    found = summaries(rows)
    parts = [
        f"# Benchmark {name}\n",
        f"![wall time]({name}.svg)\n",
        _sessions(rows),
        "## How it was measured\n",
        METHOD + "\n",
        "## Times\n",
        "Seconds: median (lowest–highest). Ratio: selfinstall's wall time to that tool's.\n",
        times(found),
        _failures(rows),
        _skipped(rows),
        _booted(rows),
        "## Where selfinstall's time goes\n",
        "Seconds, medians. The steps of the host, and below `guest` those in it.\n",
        phases(found),
        "## Growth with the tarball\n",
        grown(found),
        "## Targets\n",
        targets(found),
        "## Tarballs\n",
        _tarballs(rows),
    ]
    return "\n".join(part for part in parts if part)


def times(found: Summaries) -> str:
    """A row for each case and tool."""
    rows = []
    for case in CASES.values():
        ours = found.get((case.name, SELFINSTALL))
        title = case.title
        for name in case.tools:
            summary = found.get((case.name, name))
            if summary is None:
                continue
            rows.append(
                (
                    title,
                    TOOLS[name].title,
                    spread(summary.wall, summary.wall_min, summary.wall_max),
                    NONE if name == SELFINSTALL else factor(ratio(ours, summary)),
                    spread(summary.cpu, summary.cpu_min, summary.cpu_max),
                    number(summary.machine_cpu),
                    megabytes(summary.qemu_rss),
                    megabytes(summary.host_rss) if name == SELFINSTALL else NONE,
                    str(summary.runs),
                )
            )
            title = ""
    header = (
        "case",
        "tool",
        "wall",
        "ratio",
        "CPU",
        "machine CPU",
        "qemu MB",
        "program MB",
        "runs",
    )
    return table(header, rows, left=2)


def phases(found: Summaries) -> str:
    """A row for each step, a column for each case."""
    cases = [
        found[case.name, SELFINSTALL]
        for case in CASES.values()
        if (case.name, SELFINSTALL) in found and found[case.name, SELFINSTALL].guest
    ]
    host = dict.fromkeys(n for s in cases for n in s.guest if not is_hook(n))
    hooks = sorted({n for s in cases for n in s.guest if is_hook(n)})

    def row(title: str, values: Iterable[float | None]) -> tuple[str, ...]:
        return (title, *(number(value) for value in values))

    rows = [row(f"`{name}`", (s.guest.get(name) for s in cases)) for name in host]
    rows.append(row("other work of the host", (other(s) for s in cases)))
    rows += [row(f"guest `{name}`", (s.guest.get(name) for s in cases)) for name in hooks]
    rows.append(row("guest, before and after its hooks", (around_hooks(s) for s in cases)))
    rows.append(row("**wall**", (s.wall for s in cases)))
    return table(("step", *(CASES[s.case].title for s in cases)), rows)


def is_hook(name: str) -> bool:
    """Whether a step is one of the guest's hooks, which have numbers."""
    return name[:1].isdigit()


def other(summary: Summary) -> float:
    """What no step of the host accounts for: reading the tarball, starting, cleaning up."""
    steps = (v for n, v in summary.guest.items() if not is_hook(n) and n not in BESIDE)
    return summary.wall - sum(steps)


def around_hooks(summary: Summary) -> float | None:
    """The guest's time outside of hooks: firmware, kernel, unpacking the initramfs, power-off."""
    guest = summary.guest.get("guest")
    if guest is None:
        return None
    return guest - sum(v for n, v in summary.guest.items() if is_hook(n))


def grown(found: Summaries) -> str:
    """Seconds that each GB adds, by tool."""
    bases = ("complete", "minbase")
    rows = []
    for tool in TOOLS.values():
        values = [growth(found, tool.name, base, f"{base}+3g", 3) for base in bases]
        if any(value is not None for value in values):
            rows.append((tool.title, *(number(value) for value in values)))
    header = ("seconds for each GB of rootfs", *(CASES[base].title for base in bases))
    return table(header, rows) if rows else "Not measured.\n"


def targets(found: Summaries) -> str:
    """What is to be reached, and whether it is."""
    rows = []
    for target in TARGETS:
        value = target.value(found)
        met = NONE if value is None else ("yes" if value <= target.limit else "no")
        show = factor if target.unit == "×" else number
        rows.append((target.text, f"≤ {target.limit:g} {target.unit}", show(value), met))
    return table(("target", "limit", "measured", "met"), rows)


def _sessions(rows: Iterable[Row]) -> str:
    parts = []
    for row in rows:
        if row["kind"] != "session":
            continue
        machine = row["machine"]
        versions = ", ".join(f"{n} {v}" for n, v in row["versions"].items() if v)
        parts.append(
            f"- {row['started']}: `{row['command']}`\n"
            f"  - {machine['cpu']}, {machine['cores']} cores, {machine['memory'] / 1e9:.0f} GB, "
            f"Linux {machine['kernel']}, {machine['file_system']}; accelerator {row['accel']}\n"
            f"  - load before {_load(row['load_before'])}, after {_load(_load_after(row, rows))}\n"
            f"  - source {row['source']}; {versions}\n"
        )
    return "".join(parts)


def _load_after(session: Row, rows: Iterable[Row]) -> Sequence[float] | None:
    return next(
        (r["load"] for r in rows if r["kind"] == "end" and r["session"] == session["session"]), None
    )


def _load(values: Sequence[float] | None) -> str:
    return " ".join(f"{value:.2f}" for value in values) if values else "unknown"


def _failures(rows: Sequence[Row]) -> str:
    found = failures(rows)
    lines = [
        f"- {CASES[case].title}, {TOOLS[tool].title}: {count} failed and are not in the table\n"
        for (case, tool), count in found.items()
        if case in CASES and tool in TOOLS
    ]
    return "Runs that failed:\n\n" + "".join(lines) if lines else ""


def _skipped(rows: Iterable[Row]) -> str:
    lines = dict.fromkeys(
        f"- {TOOLS[row['tool']].title}: {row['reason']}\n"
        for row in rows
        if row["kind"] == "skip" and row["tool"] in TOOLS
    )
    return "Not measured here:\n\n" + "".join(lines) if lines else ""


def _booted(rows: Iterable[Row]) -> str:
    lines = [
        f"- {CASES[row['case']].title}, {TOOLS[row['tool']].title}: "
        f"{'boots under BIOS and UEFI' if row['status'] == 0 else 'does not boot'}\n"
        for row in rows
        if row["kind"] == "boot"
    ]
    lines = list(dict.fromkeys(lines))
    return (
        "Images of the uncounted runs, booted by `selfinstall verify`:\n\n" + "".join(lines)
        if lines
        else ""
    )


def _tarballs(rows: Iterable[Row]) -> str:
    found = {row["name"]: row for row in rows if row["kind"] == "tarball"}
    return table(
        ("tarball", "packed MB", "unpacked MB", "sha256"),
        [
            (name, number(r["packed"] / 1e6), number(r["unpacked"] / 1e6), f"`{r['sha256'][:16]}…`")
            for name, r in found.items()
        ],
    )
