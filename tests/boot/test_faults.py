"""What goes wrong in a guest: the right status, one clear error, nothing left behind."""

from __future__ import annotations

import json
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


def one_error(said: str) -> str:
    """The one line that names the cause."""
    errors = [line for line in said.splitlines() if line.startswith("selfinstall: error: ")]
    assert len(errors) == 1 and "Traceback" not in said, said
    return errors[0]


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
    ("script", "status", "error", "words"),
    [
        (
            "echo my last words; exec cat /dev/zero >/big",
            5, "75-customize failed: exit status 1", ["my last words", "No space left", ".log"],
        ),
        # What is still to be written to the disk would be a sign of life.
        ("sync; while :; do :; done", 6, "hung in 75-customize", ["--stall"]),
        ("echo c >/proc/sysrq-trigger", 5, "panicked in 75-customize: sysrq", ["RIP"]),
        ("exec tail /dev/zero", 5, "status 137 (it ran out of memory)", ["--memory"]),
    ],
    ids=["hook fails, disk full", "hook hangs", "kernel panics", "memory full"],
)  # fmt: skip
def test_a_guest_that_fails(
    complete: Path,
    tmp_path: Path,
    private_tmp: Path,
    script: str,
    status: int,
    error: str,
    words: list[str],
) -> None:
    done = selfinstall(
        "--tarball", complete, "-o", tmp_path / "x.img", "--size", "2400M", "--stall", "40",
        "--customize-hook", hook(tmp_path, script), check=False,
        env={**os.environ, "TMPDIR": str(private_tmp)},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert error in one_error(done.stderr)
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    nothing_left(tmp_path, private_tmp)


@pytest.mark.parametrize(
    ("event", "step", "number"),
    [
        ("begin", "inspect", signal.SIGINT),
        ("begin", "20-partition", signal.SIGTERM),
        ("progress", "40-unpack", signal.SIGINT),
        ("begin", "verify-bios", signal.SIGTERM),
    ],
)
def test_a_signal(
    complete: Path,
    tmp_path: Path,
    private_tmp: Path,
    event: str,
    step: str,
    number: signal.Signals,
) -> None:
    process = subprocess.Popen(
        # Without layers: all hooks run, whatever earlier tests left in the cache.
        [*SELFINSTALL, "--tarball", complete, "-o", tmp_path / "x.img", "--json", "--no-cache"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(private_tmp)},
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        if (said["event"], said["step"]) == (event, step):
            break
    else:
        pytest.fail(f"no {event} of {step}: {process.communicate()[1]}")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    began = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number, errors
    assert time.monotonic() - began < 10
    one_error(errors)
    nothing_left(tmp_path, private_tmp)


def test_an_image_that_does_not_boot(complete: Path, tmp_path: Path, private_tmp: Path) -> None:
    """The boot menu has no entries: the loader comes up and finds nothing to start."""
    began = time.monotonic()
    done = selfinstall(
        "--tarball", complete, "-o", tmp_path / "x.img", "--firmware", "bios", "--stall", "200",
        "--customize-hook", hook(tmp_path, "chmod -x /etc/grub.d/[1-9]*"),
        check=False, env={**os.environ, "TMPDIR": str(private_tmp)},
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert "does not boot under SeaBIOS: GRUB found no" in one_error(done.stderr)
    # It was seen at the prompt, not when patience ended.
    assert time.monotonic() - began < 200
    nothing_left(tmp_path, private_tmp)


def test_a_full_folder_for_temporary_files(
    complete: Path, tmp_path: Path, private_tmp: Path
) -> None:
    """A file-size limit stands in for a full disk: both end a write early."""
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 200000; exec "$@"', "sh", *SELFINSTALL, "--tarball", str(complete),
         "-o", str(tmp_path / "x.img"), "--no-cache"],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(private_tmp)},
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert str(private_tmp) in one_error(done.stderr)
    nothing_left(tmp_path, private_tmp)


def test_a_full_folder_for_the_image(complete: Path, tmp_path: Path, private_tmp: Path) -> None:
    """A small file system, which users may mount in a namespace of their own, fills up."""
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("this user may make no namespaces")
        pytest.skip("this user may make no namespaces")
    out = tmp_path / "out"
    out.mkdir()
    script = 'mount -t tmpfs -o size=150M tmpfs "$0"; "$@"; status=$?; ls -A "$0"; exit $status'
    done = subprocess.run(
        [*private, "sh", "-c", script, str(out), *SELFINSTALL, "--tarball", str(complete),
         "-o", str(out / "x.img"), "--no-cache"],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(private_tmp)},
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "no space left" in (error := one_error(done.stderr)) and str(out) in error
    assert done.stdout == ""
    nothing_left(tmp_path, private_tmp)
