"""Many at once: plans, builds into one cache, builds of one name."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import CLEANUP, OLD, WHOLE, Stage, Table, failed, processes
from tar_helpers import member, rootfs, stanza, tar

from selfinstall import arch, loader, plan

PLANS = 200 if WHOLE else 24


def test_plans(tmp_path: Path, table: Table) -> None:
    """Of a tiny tarball: what costs is the start of Python, two at a time on each CPU."""
    stage = Stage(tmp_path, tiny(tmp_path / "tiny.tar"))

    def plan(_: int) -> tuple[int, str, str]:
        done = subprocess.run(
            stage.command("--dry-run"),
            capture_output=True, text=True, check=False, env=stage.environment,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    with table.point(f"{PLANS} plans at once", "all"):
        with ThreadPoolExecutor(PLANS) as pool:
            told = set(pool.map(plan, range(PLANS)))
        assert len(told) == 1, told
        (said,) = told
        assert said[0] == 0, said
        stage.kept()
    table.settle()


def test_builds_into_one_cache(complete: Path, tmp_path: Path, table: Table) -> None:
    """A sample as far as to the guest, where CPUs would be short."""
    first = Stage(tmp_path / "0", complete, tmp_path / "cache")
    many = [Stage(tmp_path / str(n), complete, first.cache) for n in range(8 if WHOLE else 3)]
    with table.point("builds into one cache", f"{len(many)} until the guest"):
        with contextlib.ExitStack() as stack:
            runs = [stack.enter_context(stage.start("--no-verify")) for stage in many]
            for run in runs:
                run.until("begin", "guest")
            for run in runs:
                run.signal(signal.SIGTERM)
            for run in runs:
                status, errors = run.end(CLEANUP)
                assert status == 128 + signal.SIGTERM, errors
        for stage in many:
            stage.kept()
    if WHOLE:
        with table.point("builds into one cache", f"{len(many)} whole"):
            _side_by_side(many)
            assert len(list((first.cache / "layers").iterdir())) == 1
            first.output.unlink()
            first.output.write_bytes(OLD)
        with table.point("builds into one cache", "one after them"):
            with first.start("--no-verify") as run:
                run.until("end", "guest")
                assert ("begin", "70-grow") in run.seen and ("begin", "unpack") not in run.seen
                assert run.end()[0] == 0
            first.kept(new=True)
    table.settle()


def _side_by_side(stages: Sequence[Stage]) -> None:
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(stage.start("--no-verify")) for stage in stages]
        with ThreadPoolExecutor(len(runs)) as pool:
            ended = list(pool.map(lambda run: run.end(), runs))
        assert [status for status, _ in ended] == [0] * len(runs), ended
    for stage in stages:
        stage.kept(new=True)


def test_the_same_name_twice(complete: Path, tmp_path: Path, table: Table) -> None:
    stage = Stage(tmp_path, complete)
    with table.point("one name, two builds", "while the first reads"), stage.start() as first:
        first.until("begin", "inspect")
        for _ in range(2):
            failed(stage.build(), 4, "another build is making", str(stage.output), "choose another")
        assert stage.output.read_bytes() == OLD
        assert first.process.poll() is None
        first.signal(signal.SIGTERM)
        failed(first.end(CLEANUP), 143, "interrupted")
        stage.kept()
    with table.point("one name, two builds", "after the first was killed"):
        with stage.start() as first:
            first.until("begin", "inspect")
            first.signal(signal.SIGKILL)
            first.end(CLEANUP)
        stage.next_run()
        stage.kept()
    assert processes(stage.mark) == [] and os.listdir(stage.tmp) == []  # noqa: PTH208
    table.settle()


def tiny(path: Path) -> Path:
    """A tarball that is complete as far as its plan looks."""
    names = {*plan.BASE_PACKAGES, *plan.USEFUL_PACKAGES, *plan.INIT_PACKAGES["systemd"], "dpkg"}
    for use in arch.get("amd64").loaders:
        names |= {use.package or "dpkg", *loader.all_loaders()[use.loader].packages}
    kernel = [member("./boot/vmlinuz-6.1", "kernel"), member("./boot/initrd.img-6.1", "initrd")]
    modules = member("./usr/lib/modules/6.1/modules.dep", "")
    status = "".join(stanza(name) for name in sorted({*names, "initramfs-tools"}))
    path.write_bytes(tar(rootfs([*kernel, modules], status=status)))
    return path
