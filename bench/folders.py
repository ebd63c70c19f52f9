"""Folders that are put back to what they were, and files that are flushed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path


def mirror(source: Path, target: Path, without: str = "") -> None:
    """Make *target* hold what *source* holds, owners and times too; copy only what differs.

    :param without: the name of something at the top that is left out.
    """
    target.mkdir(parents=True, exist_ok=True)
    wanted = {path.relative_to(source) for path in source.rglob("*")}
    wanted = {path for path in wanted if path.parts[0] != without}
    for path in sorted(target.rglob("*"), reverse=True):
        if path.relative_to(target) not in wanted:
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
    _like(source, target)
    for relative in sorted(wanted):
        old, new = source / relative, target / relative
        if old.is_dir():
            new.mkdir(exist_ok=True)
        elif not _same(old, new):
            shutil.copy2(old, new)
        _like(old, new)


def _same(old: Path, new: Path) -> bool:
    if not new.exists():
        return False
    first, second = old.stat(), new.stat()
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


def _like(old: Path, new: Path) -> None:
    wanted, found = old.stat(), new.stat()
    if (found.st_uid, found.st_gid) != (wanted.st_uid, wanted.st_gid):
        os.chown(new, wanted.st_uid, wanted.st_gid)
    if found.st_mode != wanted.st_mode:
        new.chmod(wanted.st_mode & 0o7777)


def flushed(file: Path) -> tuple[float, int]:
    """Seconds until all of a file is on disk, and the bytes that it takes there."""
    began = time.monotonic()
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    return round(time.monotonic() - began, 3), file.stat().st_blocks * 512


def warm(file: Path) -> None:
    """Read a file, so that the page cache has it."""
    with file.open("rb", buffering=0) as stream:
        while stream.read(1 << 20):
            pass
