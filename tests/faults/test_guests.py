"""What goes wrong in the guest, and with the emulator."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from harness import LAYERED, WHOLE, Stage, Table, failed, hook


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        (
            "echo my last words; exit 1",
            5, ["75-customize failed: exit status 1", "my last words", ".log",
                "selfinstall: again: cd ", "selfinstall: with: selfinstall "],
        ),
        (
            # Most of it at once, without writing it.
            "n=0; while fallocate -l 32M /big$n; do n=$((n + 1)); done\n"
            "exec cat /dev/zero >/big",
            5, ["75-customize failed: exit status 1", "cat: write error: No space left"],
        ),
        # What is still to be written to the disk would be a sign of life.
        ("sync; exec sleep 10000", 6, ["hung in 75-customize", "--stall"]),
        ("echo c >/proc/sysrq-trigger", 5, ["panicked in 75-customize: sysrq", "RIP"]),
        ("exec tail /dev/zero", 5, ["status 137 (it ran out of memory)", "--memory"]),
    ],
    ids=["hook fails", "guest's disk full", "hook hangs", "kernel panics", "guest's memory full"],
)  # fmt: skip
def test_a_guest_that_fails(
    complete: Path,
    tmp_path: Path,
    warm: Path,
    table: Table,
    request: pytest.FixtureRequest,
    script: str,
    status: int,
    words: list[str],
) -> None:
    stage = Stage(tmp_path, complete, warm)
    options = ("--size", "2400M", "--stall", "40", "--customize-hook", hook(tmp_path, script))
    with table.point(request.node.callspec.id, "75-customize"):
        failed(stage.build(*LAYERED, *options), status, *words)
        stage.kept()
    table.settle()


def test_an_image_that_does_not_boot(
    complete: Path,
    tmp_path: Path,
    warm: Path,
    table: Table,
) -> None:
    """The boot menu has no entries: the loader comes up and finds nothing to start."""
    stage = Stage(tmp_path, complete, warm)
    options = ("--firmware", "bios", "--stall", "200")
    menu = hook(tmp_path, "chmod -x /etc/grub.d/[1-9]*")
    began = time.monotonic()
    with table.point("image does not boot", "verify-bios"):
        result = stage.build(*options, "--customize-hook", menu)
        failed(result, 7, "does not boot under SeaBIOS: GRUB found no", "selfinstall: again: ")
        if not WHOLE:
            # It was seen at the prompt, not when patience ended.
            assert time.monotonic() - began < 200
        stage.kept()
    table.settle()


MOMENTS = [("begin", "10-modules"), ("begin", "50-configure"), ("begin", "verify-bios")]


@pytest.mark.parametrize(("event", "step"), MOMENTS if WHOLE else MOMENTS[:1])
def test_qemu_is_killed(
    complete: Path,
    tmp_path: Path,
    table: Table,
    event: str,
    step: str,
) -> None:
    stage = Stage(tmp_path, complete)
    with table.point("qemu killed", f"{event} {step}"), stage.start("--firmware", "bios") as run:
        run.until(event, step)
        os.kill(_qemu(run), signal.SIGKILL)
        failed(run.end(60), 4, "qemu was ended by signal 9", "--memory")
        stage.kept()
    table.settle()


@pytest.mark.parametrize(("event", "step"), MOMENTS if WHOLE else MOMENTS[:1])
def test_qemu_freezes(
    complete: Path,
    tmp_path: Path,
    table: Table,
    event: str,
    step: str,
) -> None:
    stage = Stage(tmp_path, complete)
    options = ("--firmware", "bios", "--stall", "40")
    with table.point("qemu frozen", f"{event} {step}"), stage.start(*options) as run:
        run.until(event, step)
        os.kill(_qemu(run), signal.SIGSTOP)
        failed(run.end(200), 7 if "verify" in step else 6, "hung", "--stall")
        stage.kept()
    table.settle()


def _qemu(run) -> int:  # type: ignore[no-untyped-def]
    """The emulator's process; its event may be told before it runs."""
    end = time.monotonic() + 30
    while not (found := run.children("qemu-system")):
        assert time.monotonic() < end and run.process.poll() is None, "no qemu"
        run.pause(0.05)
    return int(found[0])
