"""What the host has: programs, also where users do not look, and room for temporary files."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from selfinstall.errors import HostError
from selfinstall.scratch import private_folder

#: sfdisk and mkfs.vfat live there, and Debian leaves these folders out of ordinary users' PATH.
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")

#: How a write says that there is no room: disk, quota, file-size limit.
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
#: How the names of temporary folders begin.
WORKSPACE = "selfinstall-work-"


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


def bound(command: Sequence[str]) -> tuple[str, ...]:
    """*command*, to be killed when the thread that starts it dies, whatever kills that."""
    setpriv = require_program("setpriv", "util-linux")
    bind = (str(setpriv), "--pdeathsig", "KILL", "--")
    # Who died before the kernel was asked for the signal would never be missed.
    check = ("/bin/sh", "-c", '[ "$PPID" = "$1" ] && shift && exec "$@"', "selfinstall")
    return (*bind, *check, str(os.getpid()), *command)


def temporary_folder() -> Path:
    """Where temporary files go: TMPDIR, else /var/tmp, since /tmp is often memory (FHS 5.15)."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp").absolute()


@contextlib.contextmanager
def workspace(parent: Path | None = None) -> Iterator[Path]:
    """A private folder for what is temporary, gone afterwards.

    :param parent: where; None for :func:`temporary_folder`.
    :raises HostError: it cannot be made.
    """
    parent = parent or temporary_folder()
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder(parent, WORKSPACE))
        except OSError as error:
            raise HostError(
                f"cannot make a temporary folder in {parent}: {error.strerror}",
                "set TMPDIR to a folder that you can write to",
            ) from None
        yield folder


@contextlib.contextmanager
def room_in(
    folder: Path, hint: str = "make room there, or set TMPDIR to a folder that has it"
) -> Iterator[None]:
    """Turns "no room" into the :class:`HostError` that names *folder*."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise HostError(f"no space left in {folder}", hint) from error
