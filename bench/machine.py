"""The state of the machine, which belongs to every figure."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def state(work: Path) -> dict[str, Any]:
    """What does not change while the benchmark runs.

    :param work: the folder that the images are made in.
    """
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "file_system": file_system(work, Path("/proc/self/mountinfo").read_text()),
        "kvm": Path("/dev/kvm").exists(),
    }


def load() -> list[float]:
    """The load averages of 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def cpu_model(text: str) -> str:
    """The CPU's name out of ``/proc/cpuinfo``, or what stands for it."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model", "uarch"):
            return " ".join(value.split())
    return platform.machine()


def file_system(path: Path, mountinfo: str) -> str:
    """The type of the file system that *path* is on (proc(5), mountinfo)."""
    best, found = -1, "unknown"
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        inside = point == "/" or path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= best:
            best, found = len(point), right.split()[0]
    return found


def first_line(command: Sequence[str]) -> str:
    """The first line that a command prints, empty when it cannot be run."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError:
        return ""
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else ""


def package_version(name: str) -> str:
    """A Debian package's version, empty when it is not installed."""
    return first_line(["dpkg-query", "--show", "--showformat=${Version}", name])


def source_state(root: Path) -> str:
    """The last commit that changed selfinstall, with ``+`` when there are changes on top of it."""
    git = ["git", "-c", f"safe.directory={root}", "-C", str(root)]
    commit = first_line([*git, "log", "-1", "--format=%h", "--", "selfinstall"])
    if not commit:
        return "unknown"
    return commit + ("+" if first_line([*git, "status", "--porcelain", "selfinstall"]) else "")
