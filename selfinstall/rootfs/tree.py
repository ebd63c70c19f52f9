"""Files that lie in uncompressed tar archives, found by path and read in place.

The initramfs is built from the tarball's and the packages' own files.  None
of them is ever written to the host's disk under its own name: a
:class:`Tree` knows where in which archive each file's bytes are.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterable, Iterator
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
    """

    type: FileType
    mode: int
    size: int = 0
    archive: Path | None = None
    offset: int = 0
    target: str = ""

    def read(self) -> bytes:
        """The content of a regular file."""
        assert self.archive is not None
        with self.archive.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


def normal(path: str) -> str:
    """*path* without leading ``/`` or ``./`` and without empty or ``.`` parts."""
    return posixpath.normpath("/" + path).lstrip("/")


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
        """The path of the file itself after following all symbolic links, None when it is absent."""
        done: list[str] = []
        todo = normal(path).split("/")[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if done:
                    done.pop()
                continue
            entry = self._entries.get("/".join([*done, part]))
            if entry is not None and entry.type == "symlink":
                links += 1
                if links > MAXIMUM_LINKS:
                    return None
                if entry.target.startswith("/"):
                    done = []
                todo += entry.target.split("/")[::-1]
                continue
            done.append(part)
        found = "/".join(done)
        return found if found in self._entries else self._unmerged(found)

    def _unmerged(self, path: str) -> str | None:
        """Packages of before merged /usr ship ``lib/x`` for what others look for as ``usr/lib/x``, and back."""
        other = path.removeprefix("usr/") if path.startswith("usr/") else f"usr/{path}"
        return other if other in self._entries else None

    def get(self, path: str) -> Entry | None:
        """The file at *path*, links followed, or None."""
        found = self.resolve(path)
        return None if found is None else self._entries[found]

    def __contains__(self, path: str) -> bool:
        return self.resolve(path) is not None

    def under(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """Every file below *prefix* (links in *prefix* are not followed), in sorted order."""
        start = normal(prefix) + "/"
        for path in sorted(self._entries):
            if path.startswith(start):
                yield path, self._entries[path]
