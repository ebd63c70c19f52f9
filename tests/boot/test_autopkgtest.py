"""An image of the profile autopkgtest under autopkgtest itself, as Debian's package has it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_images import selfinstall

from selfinstall.arch import all_arches

#: A source package with a test that passes, one that reboots and one that fails.
TRIAL = Path(__file__).parent / "trial"
#: autopkgtest(1): at least one test failed, and nothing else was wrong.
TESTS_FAILED = 4
#: autopkgtest asks for KVM wherever there is /dev/kvm, which says nothing of guests running
#: under it; and for the host's CPU with it.
EMULATED = """#!/bin/sh
for word; do
	shift
	[ "$word" = -enable-kvm ] || set -- "$@" "$word"
done
exec {program} "$@"
"""


def summary(folder: Path) -> dict[str, str]:
    """What came of each test."""
    lines = (folder / "summary").read_text().splitlines()
    return {line.split()[0]: line.split()[1] for line in lines if not line.startswith(" ")}


@pytest.mark.skipif(shutil.which("autopkgtest") is None, reason="there is no autopkgtest")
def test_autopkgtest_runs_tests_in_an_image(complete: Path, tmp_path: Path) -> None:
    image, out = tmp_path / "a.qcow2", tmp_path / "out"
    selfinstall("--tarball", complete, "-o", image, "--profile", "autopkgtest", "--no-verify")
    machine = all_arches()["amd64"].qemu
    qemu = tmp_path / "qemu"
    qemu.write_text(EMULATED.format(program=machine.program))
    qemu.chmod(0o755)
    # To a file, and that for appending: autopkgtest opens /dev/stderr again.
    with (tmp_path / "said").open("a+") as said:
        done = subprocess.run(
            [
                "autopkgtest", "--output-dir", out, "--timeout-factor", "3", "-B", f"{TRIAL}/",
                "--", "qemu", "--qemu-command", qemu, "--timeout-reboot", "600",
                "--overlay-dir", tmp_path, f"--qemu-options=-cpu {machine.cpu_tcg}", image,
            ],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False,
        )  # fmt: skip
        said.seek(0)
        text = said.read()
    assert done.returncode == TESTS_FAILED, text
    assert summary(out) == {"passes": "PASS", "reboots": "PASS", "fails": "FAIL"}, text
    assert (out / "passes-stdout").read_text() == "user\n"
    assert (out / "fails-stdout").read_text() == "this one shall fail\n"
