"""Measuring: one run after the other, each figure on disk before the next."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import machine, records, tools
from bench.cases import SELFINSTALL, TOOLS, Case, Tool
from bench.folders import flushed, warm
from bench.measure import Cost, User, measure
from bench.schedule import Job, estimate, minutes
from bench.supplies import Supplies, Unusable
from bench.tools import Build, Places

ROOT = Path(__file__).resolve().parents[1]
#: Bytes of what a run said that are kept when it failed.
LAST_WORDS = 2000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What was asked for.

    :param user: who runs what needs no root; None for the caller.
    :param bases: the folder of the tarballs.
    :param output: the file of raw figures.
    :param command: the benchmark's own command line, for the record.
    :param check_boot: boot each tool's uncounted image.
    """

    places: Places
    user: User | None
    bases: Path
    output: Path
    cases: tuple[str, ...]
    tools: tuple[str, ...]
    runs: int
    size_gb: int
    accel: str
    command: str
    check_boot: bool
    timeout: float


class Runner:
    """Does the jobs of one session."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.places = settings.places
        self.say = say
        self.session = secrets.token_hex(4)
        self.supplies = Supplies(settings.places, settings.bases, self._ask, say)
        self._primed: set[str] = set()
        #: By the tarball that they were made of.
        self._images_to_boot: dict[Path, Path] = {}

    def run(
        self,
        todo: Sequence[Job],
        known: Mapping[tuple[str, str], float],
        skipped: Mapping[tuple[str, str], str],
    ) -> int:
        """Do *todo*; gives how many runs failed.

        :param known: seconds of earlier runs, by case and tool.
        :param skipped: why something is not done, by case and tool.
        """
        self._make_folders()
        self._begin(skipped)
        failed = 0
        try:
            for index, job in enumerate(todo):
                left = estimate(todo[index:], known, self.settings.check_boot)
                self.say(
                    f"[{index + 1}/{len(todo)}, {minutes(left)} left] {job.case.title}: "
                    f"{job.tool.title}, {f'run {job.round}' if job.round else 'uncounted'}"
                )
                failed += not self._do(job)
        finally:
            self._append("end", ended=now(), load=machine.load())
        return failed

    def _append(self, kind: str, **fields: Any) -> None:
        row = {"kind": kind, "session": self.session, **fields}
        records.append(self.settings.output, row)

    def _make_folders(self) -> None:
        p = self.places
        for folder in (p.work, p.work / "tarballs", p.work / "logs", p.root, p.root / "images"):
            folder.mkdir(parents=True, exist_ok=True)
        p.user.mkdir(exist_ok=True)
        self.supplies.empty_cache()
        for folder in (p.user, p.user / "tmp", p.user / "images", p.cache, p.primed):
            folder.mkdir(exist_ok=True)
            if self.settings.user is not None:
                os.chown(folder, self.settings.user.uid, self.settings.user.gid)

    def _begin(self, skipped: Mapping[tuple[str, str], str]) -> None:
        version = machine.first_line([str(self.places.program), "--version"])
        emulator = machine.first_line(["qemu-system-x86_64", "--version"])
        self._append(
            "session",
            started=now(),
            command=self._plain(self.settings.command),
            machine=machine.state(self.places.work),
            load_before=machine.load(),
            accel=self.settings.accel,
            source=machine.source_state(ROOT),
            versions={
                "selfinstall": version.removeprefix("selfinstall "),
                "qemu": emulator.removeprefix("QEMU emulator version "),
                **{n: machine.package_version(n) for n in ("vmdb2", "guestfish", "zerofree")},
            },
        )
        for (case, tool), reason in skipped.items():
            self._append("skip", tool=tool, case=case, reason=reason)
        if machine.load()[0] > 0.5:
            self.say("warning: this machine is busy; figures will be too high and uneven")

    def _do(self, job: Job) -> bool:
        if job.case.kind == "verify":
            return self._boot(job)
        if job.tool.program == "guestfish":
            self.supplies.appliance_kernel()
        tarball = self._tarball(job.case)
        if job.tool.name == SELFINSTALL:
            tarball = self._prepare(job, tarball)
        build = self._build(job, tarball)
        command = tools.build_command(job.tool, self.places, build, self.settings.accel)
        warm(tarball)
        cost = self._measured(job, command, build.image)
        if cost is not None and job.round == 0 and job.case.kind == "build":
            if job.tool.name == SELFINSTALL:
                self._keep_cache(job.case)
            if self.settings.check_boot:
                self._check_boot(job, build.image)
        build.image.unlink(missing_ok=True)
        return cost is not None

    def _prepare(self, job: Job, tarball: Path) -> Path:
        """The cache in its state for this run of selfinstall; gives the tarball to use.

        Before an uncounted build and before each first build: without anything of a measured
        tarball.  Before a second build: as the first one left it.
        """
        if job.case.kind == "second" and job.round:
            return tarball
        uncounted = job.case.kind == "build" and job.round == 0
        if not uncounted and job.case.base not in self._primed:
            self._prime(job.case)
        self.supplies.reset_cache()
        return self.supplies.salted(job.case) if uncounted else tarball

    def _prime(self, case: Case) -> None:
        """What an uncounted build does, where there was none."""
        self.say("  first a build of another tarball, to fill the cache")
        self.supplies.reset_cache()
        self._make_image(self.supplies.salted(case), f"{case.name}-prime").unlink()
        self._keep_cache(case)

    def _keep_cache(self, case: Case) -> None:
        self.supplies.keep_cache()
        self._primed.add(case.base)

    def _build(self, job: Job, tarball: Path) -> Build:
        image = self.places.image(job.tool)
        image.unlink(missing_ok=True)
        # A second build differs from the first, which is round 0, and from other seconds.
        number = job.round if job.case.kind == "second" else 0
        return Build(
            tarball=tarball,
            image=image,
            size=f"{self.settings.size_gb + number}G",
            hostname=f"bench-{number}" if number else "bench",
            packages=self.supplies.packages(job.case),
        )

    def _make_image(self, tarball: Path, name: str) -> Path:
        """An image by selfinstall that is not measured.

        :raises Unusable: it fails.
        """
        image = self.places.user / "images" / f"{name}.img"
        image.unlink(missing_ok=True)
        size = f"{self.settings.size_gb}G"
        build = Build(tarball=tarball, image=image, size=size, hostname="bench", packages=())
        tool = TOOLS[SELFINSTALL]
        self._ask(tools.build_command(tool, self.places, build, self.settings.accel), name)
        Path(f"{image}.json").unlink(missing_ok=True)
        return image

    def _boot(self, job: Job) -> bool:
        tarball = self._tarball(job.case)
        if tarball not in self._images_to_boot:
            self.say("  first an image to boot")
            self._images_to_boot[tarball] = self._make_image(tarball, f"verify-{job.case.base}")
        command = tools.verify_command(
            self.places, self._images_to_boot[tarball], self.settings.accel, job.case.firmware
        )
        return self._measured(job, command, None) is not None

    def _check_boot(self, job: Job, image: Path) -> None:
        command = tools.verify_command(self.places, image, self.settings.accel)
        cost, output = self._run(
            TOOLS[SELFINSTALL], command, f"{job.case.name}-{job.tool.name}-boot"
        )
        self._append(
            "boot", case=job.case.name, tool=job.tool.name, status=cost.status, wall=cost.wall
        )
        self.say("  its image boots" if cost.status == 0 else f"  does NOT boot, see {output}")

    def _measured(self, job: Job, command: Sequence[str], image: Path | None) -> Cost | None:
        """Run it and put it on record; None when it failed."""
        os.sync()
        before, started = machine.load(), now()
        cost, output = self._run(job.tool, command, f"{job.case.name}-{job.tool.name}-{job.round}")
        after = machine.load()
        seconds, size = flushed(image) if image and cost.status == 0 else (None, None)
        words = output.read_bytes()[-LAST_WORDS:].decode("utf-8", "replace")
        self._append(
            "run",
            case=job.case.name,
            tool=job.tool.name,
            round=job.round,
            counted=job.round > 0,
            started=started,
            command=self._plain(shlex.join(command)),
            **dataclasses.asdict(cost),
            load_before=before,
            load_after=after,
            fsync=seconds,
            image_bytes=size,
            **(manifest_of(image) if image else {}),
            **({"last_words": self._plain(words)} if cost.status else {}),
        )
        if cost.status:
            last = "\n".join(f"    {line}" for line in words.splitlines()[-8:])
            self.say(f"  failed with status {cost.status}; see {output}\n{last}")
            return None
        self.say(f"  {cost.wall:.1f} s wall, {cost.user + cost.system:.1f} s CPU")
        return cost

    def _run(self, tool: Tool, command: Sequence[str], name: str) -> tuple[Cost, Path]:
        """Run a command as the user it is for; gives its cost and the file of its output."""
        home = self.places.root if tool.root else self.places.user
        extra = dict(tool.environment)
        if not tool.root:
            extra["TMPDIR"] = str(home / "tmp")
        if tool.program == "guestfish" and not tools.host_has_kernel():
            extra["BENCH_KERNEL"] = str(self.places.kernel)
        output = self.places.work / "logs" / f"{name}.log"
        cost = measure(
            command,
            environment=tools.environment(home, extra),
            output=output,
            user=None if tool.root else self.settings.user,
            timeout=self.settings.timeout,
        )
        return cost, output

    def _ask(self, command: Sequence[str], name: str) -> str:
        cost, output = self._run(TOOLS[SELFINSTALL], command, name)
        if cost.status:
            raise Unusable(f"selfinstall failed with status {cost.status}; see {output}")
        return output.read_text(errors="replace")

    def _tarball(self, case: Case) -> Path:
        found, new = self.supplies.tarball(case)
        if new:
            self._append(
                "tarball",
                name=case.tarball,
                packed=found.packed,
                unpacked=found.unpacked,
                sha256=found.sha256,
            )
        return found.path

    def _plain(self, text: str) -> str:
        """Without folders that mean nothing elsewhere."""
        for path, name in (
            (self.places.program, "selfinstall"),
            (self.places.work, "WORK"),
            (self.settings.bases, "TARBALLS"),
            (self.settings.output.parent, "RESULTS"),
            (ROOT, "."),
        ):
            text = text.replace(str(path), name)
        return text


def manifest_of(image: Path) -> dict[str, Any]:
    """What selfinstall's manifest tells about its run; the file is gone afterwards."""
    path = Path(f"{image}.json")
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    path.unlink()
    return {"qemu": content.get("qemu", {}), "steps": content.get("seconds", {})}


def now() -> str:
    """The time in UTC, as ISO 8601 writes it, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
