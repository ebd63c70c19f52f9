"""Temporary folders that do not outlive their maker for long, whatever ends it.

Nobody cleans up after SIGKILL or a power cut.  So a folder is locked (flock(2)) for as long
as its maker needs it: the kernel takes the lock back when the process is gone, and whoever
makes the next folder beside it removes those that lie unlocked.  No process ids.
Where a file system has no locks (some network ones), only what is older than a day is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

#: What mkdtemp(3) as Python has it puts behind a prefix.
_RANDOM = "[a-z0-9_]{8}"
#: Seconds after which a killed maker's folder goes on a file system without locks.
LEFTOVER_AGE = 24 * 3600


def lock(descriptor: int) -> bool | None:
    """Lock an open file or folder until it is closed; False when another has it locked.

    None where the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one that *path* names."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


@contextlib.contextmanager
def private_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in *parent* for this user alone (0700), gone afterwards.

    Removes what dead processes left in *parent* under the same *prefix*.

    :raises OSError: it cannot be made.
    """
    sweep(parent, prefix)
    folder, descriptor = _make(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep(parent: Path, prefix: str) -> None:
    """Remove the folders of :func:`private_folder` whose makers are dead."""
    pattern = re.compile(re.escape(prefix) + _RANDOM)
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_dead(Path(entry.path))


def _make(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # swept before it was locked
        if lock(descriptor) is not False and is_at(descriptor, folder):
            return folder, descriptor
        os.close(descriptor)


def _remove_dead(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            return
        locked = lock(descriptor)
        old = time.time() - status.st_mtime > LEFTOVER_AGE
        if locked or (locked is None and old):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
