"""What the host has: programs, found also where unprivileged users do not look."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from selfinstall.errors import HostError

#: sfdisk and mkfs.vfat live there, and Debian leaves these folders out of ordinary users' PATH.
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def search_path() -> str:
    """PATH with the system's folders behind it, as :func:`shutil.which` takes it."""
    return os.pathsep.join([os.environ.get("PATH") or os.defpath, *SYSTEM_FOLDERS])


def find_program(name: str) -> Path | None:
    """The program called *name* (or at that path, when it has a slash), None when there is none."""
    found = shutil.which(name, path=search_path())
    return None if found is None else Path(found)


def require_program(name: str, package: str) -> Path:
    """The program called *name*; :class:`HostError` that names *package* when there is none."""
    found = find_program(name)
    if found is None:
        raise HostError(f"the program {name} is not installed", f"sudo apt install {package}")
    return found
