"""Every architecture, suite and boot loader: made without a tarball, booted by its own firmware.

``pytest -m matrix`` runs all of them (hours), ``pytest -m boot`` the few that are marked for
CI.  ``SELFINSTALL_MATRIX_RESULTS`` names a JSON file that takes the results, one cell a
firmware; ``docs/architectures.py`` makes the table in docs/architectures.md of it.
``SELFINSTALL_MATRIX_NAMES`` gives suites another name by which to ask the mirror, as
``trixie=stable``: mirrors renew a suite's folders one after the other.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cells import CELLS, MACHINES, Cell
from conftest import PASSWORD
from machine import SELFINSTALL, Console

from selfinstall.packages import debian

ROWS = [
    pytest.param(cell, id=str(cell), marks=() if cell.ci else (pytest.mark.matrix,))
    for cell in CELLS
]


def place(row: dict[str, Any]) -> list[str]:
    """What tells a row from others; those of older runs may not name their source."""
    return [
        *(row[key] for key in ("suite", "arch", "loader", "firmware")),
        row.get("source", "suite"),
    ]


def record(cell: Cell, firmware: str, **result: Any) -> None:
    """Put a result in the place of an earlier one of the same cell; runs may be side by side."""
    name = os.environ.get("SELFINSTALL_MATRIX_RESULTS")
    if name is None:
        return
    row = {"suite": cell.suite, "arch": cell.arch, "loader": cell.loader, "firmware": firmware}
    row |= {"source": cell.source}
    row |= {"build": None, "login": None, "qemu": "", "problem": None}
    row |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **result}
    with Path(name).open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        rows = json.loads(stream.read() or '{"cells": []}')["cells"]
        rows = [r for r in rows if place(r) != place(row)]
        rows.append(row)
        rows.sort(key=place)
        stream.truncate(0)
        stream.write(json.dumps({"cells": rows}, indent=1) + "\n")


def asked_as(suite: str) -> str:
    """The name by which the mirror is asked for *suite*."""
    words = os.environ.get("SELFINSTALL_MATRIX_NAMES", "").split()
    return dict(word.split("=") for word in words).get(suite, suite)


def source(cell: Cell) -> tuple[str, ...]:
    """What the image is built from, as options."""
    # One suite of one mirror: its pockets can be out of step for a while.
    mirror = debian.mirrors(debian.host_files()).main
    assert mirror is not None, "the host's apt has no mirror of Debian"
    if cell.source == "suite":
        return "--suite", asked_as(cell.suite), "--mirror", mirror
    tarball = f"{cell.suite}-{cell.source}-{cell.arch}.tar.gz"
    return "--tarball", str(Path(os.environ["SELFINSTALL_TEST_FIXTURES"]) / tarball)


def build(cell: Cell, folder: Path, password_file: Path) -> tuple[Path, float, str]:
    """The image, seconds for it, and qemu's version."""
    image, manifest = folder / f"{cell}.qcow2", folder / "manifest.json"
    began = time.monotonic()
    done = subprocess.run(
        [
            *SELFINSTALL, *source(cell), "--arch", cell.arch,
            "--bootloader", cell.loader, "-o", str(image), "--size", "4G", "--no-verify",
            "--root-password-file", str(password_file), "--manifest", str(manifest),
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = round(time.monotonic() - began, 1)
    if done.returncode != 0:
        words = done.stderr.partition("error: ")[2].partition("\n")[0]
        for firmware in cell.firmwares:
            record(cell, firmware, problem=f"build: {words}")
    assert done.returncode == 0, done.stdout + done.stderr
    version = json.loads(manifest.read_text())["qemu"]["version"]
    return image, seconds, re.sub(r" .*", "", version)


def boot(image: Path, firmware: str, cell: Cell, log: Path) -> float:
    """Seconds to the prompt of a machine in which all is well, also after a restart."""
    console = Console(image, "--firmware", firmware, log=log)
    try:
        began = time.monotonic()
        console.child.expect("login: ")
        seconds = round(time.monotonic() - began, 1)
        console.child.sendline()
        console.login(PASSWORD)
        assert console.run("uname -m") in MACHINES[cell.arch]
        if cell.suite != "sid":  # which calls itself by the next release's name
            assert console.run("sed -n s/^VERSION_CODENAME=//p /etc/os-release") == cell.suite
        assert console.run("systemctl is-system-running --wait") == "running"
        assert console.run("dpkg --audit") == ""
        console.child.sendline("reboot")
        console.login(PASSWORD)
        console.power_off()
    finally:
        console.close()
    return seconds


@pytest.mark.parametrize("cell", ROWS)
def test_cell(cell: Cell, tmp_path: Path, password_file: Path) -> None:
    image, seconds, version = build(cell, tmp_path, password_file)
    problems = []
    for firmware in cell.firmwares:
        problem, login = None, None
        try:
            log = tmp_path / f"{firmware}.console"
            login = boot(image, firmware, cell, log)
        except (AssertionError, pexpect.ExceptionPexpect) as error:
            problem = str(error).partition("\n")[0] or type(error).__name__
            problems.append(f"{firmware}: {error}")
        record(cell, firmware, build=seconds, login=login, qemu=version, problem=problem)
    image.unlink()
    assert not problems, "\n".join(problems)
