"""What goes wrong in a guest: the right status, one clear error, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from machine import SELFINSTALL
from test_images import selfinstall


@pytest.fixture
def private_tmp(tmp_path: Path) -> Path:
    """A TMPDIR of the test's own, so that leftovers show."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def nothing_left(tmp_path: Path, private_tmp: Path) -> None:
    assert [p for p in private_tmp.iterdir() if p.suffix != ".log"] == []
    assert [p.name for p in tmp_path.iterdir() if ".part" in p.name or p.suffix == ".img"] == []
    found = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert found.stdout == b"", subprocess.check_output(["ps", "-ef"], text=True)


def hook(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    return path


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("echo my last words; exit 3", 5, ["70-customize", "my last words"]),
        ("while :; do :; done", 6, ["70-customize", "--stall"]),
        ("echo c >/proc/sysrq-trigger", 5, ["panic"]),
        ("exec tail /dev/zero", 5, ["memory"]),
        ("exec cat /dev/zero >/big", 5, ["70-customize", "No space left"]),
    ],
    ids=["hook fails", "hook hangs", "kernel panics", "memory full", "disk full"],
)
def test_a_guest_that_fails(
    complete: Path, tmp_path: Path, private_tmp: Path, script: str, status: int, words: list[str]
) -> None:
    done = selfinstall(
        "--tarball", complete, "-o", tmp_path / "x.img", "--size", "2400M", "--stall", "60",
        "--customize-hook", hook(tmp_path, script), check=False,
        env={**os.environ, "TMPDIR": str(private_tmp)},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("selfinstall: error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    nothing_left(tmp_path, private_tmp)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@pytest.mark.parametrize("moment", ["inspect", "20-partition", "40-unpack"])
def test_a_signal(
    complete: Path, tmp_path: Path, private_tmp: Path, number: signal.Signals, moment: str
) -> None:
    process = subprocess.Popen(
        [*SELFINSTALL, "--tarball", complete, "-o", tmp_path / "x.img", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(private_tmp)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if f'"step": "{moment}"' in line:
            break
    process.send_signal(number)
    began = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number, said
    assert time.monotonic() - began < 10
    assert said.count("selfinstall: error: ") == 1 and "Traceback" not in said
    nothing_left(tmp_path, private_tmp)


def test_an_image_that_does_not_boot(complete: Path, tmp_path: Path, private_tmp: Path) -> None:
    """The boot menu has no entries: the loader comes up and finds nothing to start."""
    done = selfinstall(
        "--tarball", complete, "-o", tmp_path / "x.img", "--firmware", "bios", "--stall", "60",
        "--customize-hook",
        hook(tmp_path, "chmod -x /etc/grub.d/[1-9]*"),
        check=False, env={**os.environ, "TMPDIR": str(private_tmp)},
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert "does not boot" in done.stderr
    nothing_left(tmp_path, private_tmp)


def test_a_full_host_disk(complete: Path, tmp_path: Path, private_tmp: Path) -> None:
    """A file-size limit stands in for a full disk: both end a write early."""
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 200000; exec "$@"', "sh", *SELFINSTALL, "--tarball", str(complete),
         "-o", str(tmp_path / "x.img")],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(private_tmp)},
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    nothing_left(tmp_path, private_tmp)
