"""The command line."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench import machine, plot, records, table, tools
from bench.cases import CASES, TOOLS, split_names
from bench.measure import User
from bench.runner import ROOT, Runner, Settings
from bench.schedule import Job, estimate, jobs, minutes
from bench.supplies import Unusable
from bench.tools import Places

RESULTS = Path(__file__).resolve().parent / "results"
DESCRIPTION = "Measure selfinstall beside what people would use instead."
EPILOG = f"""\
All figures go to RESULTS/NAME.jsonl as they come; NAME.md (tables) and NAME.svg
(plot) are made of them at the end.  Started again with the same name it does
what is missing.  Peers that are not installed are skipped, and the results say so;
to have them all, on Debian 12:

  apt-get install --no-install-recommends {tools.PACKAGES}

and fusefat where the kernel has no vfat.  Peers need root, selfinstall does not:
as root, name the ordinary user who runs it.  For figures worth keeping, the
machine must have nothing else to do:

  bench/run --user nobody --tarballs /var/tmp/tarballs
"""


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="bench/run",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--cases", action="append", metavar="A,B", help=f"of: {', '.join(CASES)}; default: all")
    add("--tools", action="append", metavar="A,B", help=f"of: {', '.join(TOOLS)}; default: all")
    add(
        "--runs",
        type=int,
        default=3,
        metavar="N",
        help="counted runs of each tool in each case (3)",
    )
    add("--user", metavar="NAME", help="who runs what needs no root; as root, needed")
    add(
        "--name",
        default=datetime.now(UTC).strftime("%Y-%m-%d"),
        metavar="NAME",
        help="of the results (today's date)",
    )
    add(
        "--tarballs",
        type=Path,
        metavar="DIR",
        help="where trixie-minbase.tar.zst and trixie-complete.tar.zst are, or are made by "
        "mmdebstrap (WORK/tarballs)",
    )
    add(
        "--work",
        type=Path,
        default=Path("/var/tmp/selfinstall-bench"),
        metavar="DIR",
        help="for images, caches and larger tarballs: 20 GB on one file system "
        "(/var/tmp/selfinstall-bench); kept, so that the next time is quicker",
    )
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="(bench/results)")
    add("--selfinstall", type=Path, metavar="PROGRAM", help="(.venv/bin/selfinstall, else PATH's)")
    add("--accel", choices=("tcg", "kvm", "auto"), default="tcg", help="for selfinstall (tcg)")
    add("--size", type=int, default=10, metavar="GB", help="of the images, GiB (10)")
    add("--check-boot", action="store_true", help="boot each tool's uncounted image once")
    add("--timeout", type=float, default=3600, metavar="SECONDS", help="for one run (3600)")
    add("--estimate", action="store_true", help="say what would be done, and stop")
    add("--report", action="store_true", help="make tables and plot of what there is, and stop")
    return made


def main(arguments: Sequence[str]) -> int:
    """0: done; 1: some run failed; 2: usage; 4: the benchmark cannot run here."""
    # SIGTERM as Ctrl-C: what runs is ended and cleans up.
    signal.signal(signal.SIGTERM, _interrupt)
    options = parser().parse_args(arguments)
    if options.runs < 1 or options.size < 2 or "/" in options.name:
        parser().error("--runs from 1, --size from 2, and no / in the name")
    try:
        return _main(options, shlex.join(["bench/run", *arguments]))
    except (Unusable, OSError, ValueError, subprocess.CalledProcessError) as error:
        say(f"bench/run: error: {error}")
        return 4
    except KeyboardInterrupt:
        say("bench/run: interrupted; the same command goes on from here")
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _main(options: argparse.Namespace, command: str) -> int:
    output: Path = options.results / f"{options.name}.jsonl"
    rows = records.read(output)
    if options.report:
        return report(options.results, options.name)
    settings = _settings(options, command, output)
    skipped, usable = _obstacles(settings)
    done = records.rounds_done(rows)
    todo = jobs(settings.cases, settings.tools, settings.runs, done, usable)
    known = _known(options.results, rows)
    _announce(todo, skipped, estimate(todo, known, settings.check_boot))
    if options.estimate:
        return 0
    if not todo:
        return report(options.results, options.name)
    _check_source(rows, options.name)
    _check_program(settings)
    failed = Runner(settings, say).run(todo, known, skipped)
    report(options.results, options.name)
    return 1 if failed else 0


def _known(results: Path, rows: Sequence[records.Row]) -> dict[tuple[str, str], float]:
    """Seconds of earlier runs: of any results, these ones' first."""
    known: dict[tuple[str, str], float] = {}
    for path in sorted(results.glob("*.jsonl")):
        known |= records.known_seconds(records.read(path))
    return known | records.known_seconds(rows)


def _check_source(rows: Sequence[records.Row], name: str) -> None:
    """Figures of different programs do not belong under one name."""
    now = machine.source_state(ROOT)
    then = {row["source"] for row in rows if row["kind"] == "session"}
    if then - {now}:
        raise Unusable(
            f"the results called {name} are of source {', '.join(sorted(then))}, "
            f"and this is {now}: choose another --name"
        )


def _settings(options: argparse.Namespace, command: str, output: Path) -> Settings:
    places = Places(work=options.work.absolute(), program=_program(options.selfinstall))
    return Settings(
        places=places,
        user=_user(options.user),
        bases=(options.tarballs or places.work / "tarballs").absolute(),
        output=output,
        cases=split_names(options.cases or CASES, CASES, "case"),
        tools=split_names(options.tools or TOOLS, TOOLS, "tool"),
        runs=options.runs,
        size_gb=options.size,
        accel=options.accel,
        command=command,
        check_boot=options.check_boot,
        timeout=options.timeout,
    )


def _user(name: str | None) -> User | None:
    if os.geteuid() != 0:
        if name is not None:
            raise Unusable("only root can run things as somebody else: leave out --user")
        return None
    if name is None:
        raise Unusable("as root, name the user who runs selfinstall: --user NAME")
    try:
        user = tools.user_named(name)
    except KeyError:
        raise Unusable(f"there is no user {name}") from None
    if user.uid == 0:
        raise Unusable("selfinstall is measured as an ordinary user, not as root")
    return user


def _program(named: Path | None) -> Path:
    own = ROOT / ".venv" / "bin" / "selfinstall"
    found = named or (own if own.exists() else shutil.which("selfinstall"))
    if found is None:
        raise Unusable("there is no selfinstall: name it with --selfinstall PROGRAM")
    return Path(found).absolute()


def _check_program(settings: Settings) -> None:
    """Let the user try, before an hour is spent."""
    user = settings.user
    done = subprocess.run(
        [str(settings.places.program), "--version"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=tools.environment(Path("/nonexistent"), {}),
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=user.groups if user else None,
    )
    if done.returncode:
        who = user.name if user else "you"
        words = " ".join(done.stderr.split())
        raise Unusable(f"{settings.places.program} cannot be run by {who}: {words}")


def _obstacles(
    settings: Settings,
) -> tuple[dict[tuple[str, str], str], set[tuple[str, str]]]:
    """By case and tool: why something cannot be measured, and what can be."""
    root = os.geteuid() == 0
    reasons: dict[tuple[str, str], str] = {}
    usable = set()
    for name in settings.cases:
        for tool in (t for t in CASES[name].tools if t in settings.tools):
            reason = tools.obstacle(TOOLS[tool], CASES[name], root=root)
            if reason is None:
                usable.add((name, tool))
            else:
                reasons[name, tool] = reason
    return reasons, usable


def _announce(todo: Sequence[Job], skipped: dict[tuple[str, str], str], seconds: float) -> None:
    for tool, reason in dict.fromkeys((tool, reason) for (_, tool), reason in skipped.items()):
        say(f"skipped: {TOOLS[tool].title}: {reason}")
    for case in dict.fromkeys(job.case.name for job in todo):
        names = dict.fromkeys(job.tool.name for job in todo if job.case.name == case)
        say(f"{case}: {', '.join(names)}")
    say(f"{len(todo)} runs, about {minutes(seconds)}; load now {machine.load()[0]}")


def report(folder: Path, name: str) -> int:
    """Write table and plot; gives the exit status."""
    rows = records.read(folder / f"{name}.jsonl")
    if not any(True for _ in records.counted(rows)):
        say(f"{folder / name}.jsonl: no figures yet")
        return 1
    (folder / f"{name}.md").write_text(table.page(name, rows), encoding="utf-8")
    found = records.summaries(rows)
    (folder / f"{name}.svg").write_text(plot.svg(name, found), encoding="utf-8")
    say(f"{folder / name}.md and .svg")
    return 0
