"""Programs of the host that make or read disks, run to their end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from selfinstall.errors import HostError


def run(
    program: Path,
    *words: str,
    text: str = "",
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run *program* with *words* in the C locale, whatever its exit status.

    :param text: its standard input.
    :param folder: where it runs; None for here.
    :param variables: further ones for its environment.
    """
    return subprocess.run(
        [str(program), *words],
        cwd=folder,
        input=text,
        text=True,
        errors="replace",
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", **(variables or {})},
        check=False,
    )


def checked(done: subprocess.CompletedProcess[str]) -> str:
    """The standard output of what :func:`run` ran.

    :raises HostError: it failed.
    """
    if done.returncode != 0:
        name = Path(done.args[0]).name
        words = " ".join((done.stderr or done.stdout).split())
        raise HostError(f"{name} failed with status {done.returncode}: {words}")
    return done.stdout
