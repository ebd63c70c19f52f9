"""Indexes of archives as :class:`selfinstall.rootfs.tree.Tree` takes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from selfinstall.errors import InputError
from selfinstall.rootfs.members import Member, Members
from selfinstall.rootfs.readers import RegionReader
from selfinstall.rootfs.source import label
from selfinstall.rootfs.tree import Entry

Keep = Callable[[str], bool]

#: Bytes of memory (roughly) that an index may take: about 350,000 files.
MAXIMUM_INDEX = 128 << 20
_ENTRY, _PIECE = 300, 120

#: Where the initramfs's programs, libraries, modules and settings come from.
_KEPT = re.compile(r"(?:usr/)?(?:bin|sbin|lib[^/]*)/|boot/|etc/")
#: Parts of them that hold thousands of files and nothing for an initramfs.
_NOT_KEPT = re.compile(
    r"(?:usr/)?lib/(?:python|debug/|locale/|firmware/|gcc|jvm/|llvm|node|go-|rust|ruby|R/)"
)
#: Links that other paths lead through (bin, lib64, var/run) lie no deeper.
_SHALLOW = 2


def initramfs_needs(member: Member) -> bool:
    """Whether an initramfs could need that file or link of a rootfs."""
    if member.type == "dir":
        return False
    if member.type == "symlink" and member.path.count("/") < _SHALLOW:
        return True
    return initramfs_path(member.path)


def initramfs_path(path: str) -> bool:
    """Whether an initramfs could need what lies at *path* (packages are indexed by path alone)."""
    return _KEPT.match(path) is not None and _NOT_KEPT.match(path) is None


class Layer:
    """An index that grows member by member; a later member replaces an earlier of its path.

    :param archive: the uncompressed file that the members' offsets count in.
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._cost = 0
        #: Hard links to files that are not in the index.
        self._pending: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}

    def add(self, member: Member) -> None:
        """Index *member*.

        :raises InputError: the index would take too much memory.
        """
        self._cost += _ENTRY + len(member.path) + len(member.target)
        self._cost += _PIECE * len(member.pieces or ())
        if self._cost > MAXIMUM_INDEX:
            raise InputError(f"{label(self._archive)} holds too many files to index")
        self.forget(member.path)
        entry = self._entry(member)
        if entry is not None:
            self.entries[member.path] = entry

    def forget(self, path: str) -> None:
        """What lay at *path* so far is replaced by something that is not indexed."""
        self._pending.pop(path, None)
        self.entries.pop(path, None)

    def _entry(self, member: Member) -> Entry | None:
        match member.type:
            case "file":
                return Entry(
                    "file",
                    member.mode,
                    member.size,
                    self._archive,
                    member.offset,
                    pieces=member.pieces,
                )
            case "symlink":
                return Entry("symlink", member.mode, target=member.target)
            case "dir":
                return Entry("dir", member.mode)
            case "link" if member.target in self.entries:
                return self.entries[member.target]
            case "link":
                self._pending[member.path] = member.target
        return None

    def settled(self, offset: int, size: int) -> dict[str, Entry]:
        """All entries, after a second look at the archive for files that only links led to.

        :param offset: where in the file the archive begins, bytes.
        :param size: the archive's size, bytes.
        """
        if self._pending:
            targets = frozenset(self._pending.values())
            found = _index(self._archive, offset, size, targets.__contains__).entries
            self.entries |= {
                path: found[target] for path, target in self._pending.items() if target in found
            }
            self._pending.clear()
        return self.entries


def index_tar(path: Path, offset: int, size: int, keep: Keep) -> dict[str, Entry]:
    """Index an uncompressed archive that is a part of a file.

    :param path: the file, for example a .deb whose ``data.tar`` is not compressed.
    :param offset: where in it the archive begins, bytes.
    :param size: the archive's size, bytes.
    :param keep: tells which paths to index; it gets them without leading ``./``.
    :returns: files, folders and symbolic links by path; offsets count from the file's begin.
    :raises InputError: the archive is damaged or truncated.
    """
    return _index(path, offset, size, keep).settled(offset, size)


def _index(path: Path, offset: int, size: int, keep: Keep) -> Layer:
    layer = Layer(path)
    with path.open("rb") as stream:
        # dpkg takes archives without end marker, so packages may have none.
        for member in Members(RegionReader(stream, offset, size), label(path), end_required=False):
            if keep(member.path):
                layer.add(member)
    return layer
