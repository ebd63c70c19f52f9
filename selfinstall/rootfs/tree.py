"""Files that lie in uncompressed tar archives, found by path and read in place.

The initramfs is built from the tarball's and the packages' own files.  None
of them is ever written to the host's disk under its own name: a
:class:`Tree` knows where in which archive each file's bytes are.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

FileType = Literal["file", "dir", "symlink"]
#: As in Linux (path_resolution(7)): a path with more links than that is a loop.
MAXIMUM_LINKS = 40


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file in an archive.

    :param type: what it is; devices and the like are left out of trees.
    :param mode: permission bits.
    :param size: bytes (regular files).
    :param archive: the file that holds the content.
    :param offset: where in it the content begins, bytes.
    :param target: where a symbolic link points.
    :param pieces: None for plain content; for a sparse file where its data goes, as
        (offset in the file, bytes), stored one after the other from *offset* on.
    """

    type: FileType
    mode: int
    size: int = 0
    archive: Path | None = None
    offset: int = 0
    target: str = ""
    pieces: tuple[tuple[int, int], ...] | None = None

    def read(self) -> bytes:
        """The content of a regular file, holes filled with zeros."""
        assert self.archive is not None
        with self.archive.open("rb") as stream:
            stream.seek(self.offset)
            if self.pieces is None:
                return stream.read(self.size)
            content = bytearray(self.size)
            for offset, length in self.pieces:
                content[offset : offset + length] = stream.read(length)
            return bytes(content)


def normal(path: str) -> str:
    """*path* without leading ``/`` or ``./`` and without empty or ``.`` parts."""
    return posixpath.normpath("/" + path).lstrip("/")


def follow(path: str, target_of: Callable[[str], str | None]) -> str | None:
    """Where *path* leads when all symbolic links are followed, whether something is there or not.

    :param target_of: where the link at a path points; None for whatever is no link.
    :returns: None for links in circles.
    """
    done: list[str] = []
    todo = path.split("/")[::-1]
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        target = target_of("/".join([*done, part]))
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > MAXIMUM_LINKS:
            return None
        if target.startswith("/"):
            done = []
        todo += target.split("/")[::-1]
    return "/".join(done)


class Tree:
    """A file tree laid over several archives; later layers hide earlier ones."""

    def __init__(self, layers: Iterable[dict[str, Entry]]) -> None:
        self._entries: dict[str, Entry] = {}
        for layer in layers:
            for path, entry in layer.items():
                old = self._entries.get(path)
                # A package's directory does not replace the link that merged /usr made of it.
                if old is not None and old.type == "symlink" and entry.type == "dir":
                    continue
                self._entries[path] = entry

    def resolve(self, path: str) -> str | None:
        """The path of the file itself, all symbolic links followed; None when it is absent."""
        found = follow(normal(path), self._target)
        if found is None:
            return None
        return found if found in self._entries else self._unmerged(found)

    def _target(self, path: str) -> str | None:
        entry = self._entries.get(path)
        return entry.target if entry is not None and entry.type == "symlink" else None

    def _unmerged(self, path: str) -> str | None:
        """*path* in the other tree: before merged /usr, packages ship ``lib/x``."""
        other = path.removeprefix("usr/") if path.startswith("usr/") else f"usr/{path}"
        return other if other in self._entries else None

    def get(self, path: str) -> Entry | None:
        """The file at *path*, links followed, or None."""
        found = self.resolve(path)
        return None if found is None else self._entries[found]

    def __contains__(self, path: str) -> bool:
        return self.resolve(path) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def under(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """Every file below *prefix* (links in *prefix* are not followed), in sorted order."""
        start = normal(prefix) + "/"
        if start == "/":
            start = ""
        for place in range(bisect.bisect_left(self._sorted, start), len(self._sorted)):
            path = self._sorted[place]
            if not path.startswith(start):
                return
            yield path, self._entries[path]

    @functools.cached_property
    def _sorted(self) -> list[str]:
        """All paths in order: the paths below one folder stand side by side."""
        return sorted(self._entries)
