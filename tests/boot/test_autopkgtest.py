"""An image of ours under autopkgtest itself, as Debian's package has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_images import selfinstall

from selfinstall.arch import all_arches

#: A source package with tests that pass, break their testbed, want a shared folder, reboot, fail.
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


pytestmark = [
    pytest.mark.skipif(shutil.which("autopkgtest") is None, reason="there is no autopkgtest"),
    # One worker, since they share an image.
    pytest.mark.xdist_group("autopkgtest"),
]


def summary(folder: Path) -> dict[str, str]:
    """What came of each test."""
    lines = (folder / "summary").read_text().splitlines()
    return {line.split()[0]: line.split()[1] for line in lines if not line.startswith(" ")}


@pytest.fixture(scope="module")
def testbed(complete: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image for both, with its key beside it."""
    folder = tmp_path_factory.mktemp("testbed")
    image, key = folder / "testbed.qcow2", folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    selfinstall(
        "--tarball", complete, "-o", image, "--profile", "autopkgtest", "--profile", "ssh",
        "--ssh-key", f"{key}.pub", "--no-verify",
    )  # fmt: skip
    return image


def autopkgtest(out: Path, *words: str | Path, **environment: str) -> tuple[int, str]:
    """Its exit status and what it said."""
    # To a file, and that for appending: autopkgtest opens /dev/stderr again.
    with (out.parent / "said").open("a+") as said:
        done = subprocess.run(
            ["autopkgtest", "--output-dir", out, "--timeout-factor", "5", *words],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
        said.seek(0)
        return done.returncode, said.read()


def test_over_serial_ports(testbed: Path, tmp_path: Path) -> None:
    out, machine = tmp_path / "out", all_arches()["amd64"].qemu
    qemu = tmp_path / "qemu"
    qemu.write_text(EMULATED.format(program=machine.program))
    qemu.chmod(0o755)
    status, said = autopkgtest(
        out, "--skip-test=breaks", "-B", f"{TRIAL}/",
        "--", "qemu", "--qemu-command", qemu, "--timeout-reboot", "600",
        "--overlay-dir", tmp_path, f"--qemu-options=-cpu {machine.cpu_tcg}", testbed,
    )  # fmt: skip
    assert status == TESTS_FAILED, said
    assert summary(out) == {
        "passes": "PASS", "shares": "PASS", "reboots": "PASS", "fails": "FAIL"
    }, said  # fmt: skip
    assert (out / "passes-stdout").read_text() == "user\n"
    assert (out / "fails-stdout").read_text() == "this one shall fail\n"


def setup_script(folder: Path) -> Path:
    """The installed program, or where the tree is not installed, one that runs it."""
    installed = Path(sys.executable).with_name("selfinstall-virt-ssh")
    if installed.exists():
        return installed
    script = folder / installed.name
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m selfinstall.virtssh "$@"\n')
    script.chmod(0o755)
    return script


def ours(folder: Path) -> list[str]:
    """Processes that have *folder* in their command line."""
    done = subprocess.run(["pgrep", "-af", "--", folder], capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if "pgrep" not in line]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Where autopkgtest-virt-ssh has ssh's control socket, whose path may have 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def test_over_ssh(testbed: Path, tmp_path: Path, short_folder: Path) -> None:
    """With a testbed that is reverted, and nothing left in the end."""
    out, state = tmp_path / "out", short_folder
    before = testbed.stat().st_mtime_ns
    status, said = autopkgtest(
        out, "--skip-test=shares", "-B", f"{TRIAL}/",
        "--", "ssh", "-s", setup_script(tmp_path), "--timeout-ssh=900",
        "--", testbed, "--identity", testbed.with_name("key"),
        TMPDIR=str(state),
    )  # fmt: skip
    assert status == TESTS_FAILED, said
    assert summary(out) == {
        "breaks": "PASS", "passes": "PASS", "reboots": "PASS", "fails": "FAIL"
    }, said  # fmt: skip
    assert testbed.stat().st_mtime_ns == before
    assert ours(state) == [] and list(state.glob("selfinstall-*")) == []
