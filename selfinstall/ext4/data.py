"""Blocks of files, given out one file behind the other, and what is copied into them."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from selfinstall.ext4 import inode
from selfinstall.ext4.inode import BLOCK
from selfinstall.ext4.library import FileSystem
from selfinstall.rootfs.headers import SparseMap

#: How copy_file_range(2) says that it cannot: another file system, an old kernel.
_NO_COPYING = frozenset((errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP))
_PIECE = 1 << 20
#: Two system calls, one to read and one to write, are faster for less.
_SMALL = 64 << 10

Extent = tuple[int, int, int]


class Data:
    """The contents of a new file system's files.

    :param disk: descriptor of the file that holds the file system, which reads as zeros.
    :param offset: where in it the file system begins, bytes.
    """

    def __init__(self, fs: FileSystem, disk: int, offset: int) -> None:
        self._fs = fs
        self._disk = disk
        self._offset = offset
        self._goal = 0
        self._copying = True

    def allocate(
        self, number: int, packed: bytes, runs: Sequence[tuple[int, int]]
    ) -> tuple[bytes, list[Extent]]:
        """Give a file blocks behind those of the last one.

        :param packed: its inode.
        :param runs: first block in the file, and count.
        :returns: the inode, written only if its map of blocks is not in it, and its extents.
        :raises Full: there are no more.
        """
        for first, count in runs:
            packed = self._fs.allocate(number, packed, self._goal, first, count)
        found = inode.extents(packed)
        if found is None:
            self._fs.write_inode(number, packed)
            found = list(self._fs.extents(number))
        if found:
            self._goal = found[-1][1] + found[-1][2]
        return packed, found

    def copy(self, archive: int, source: int, pieces: SparseMap, extents: Sequence[Extent]) -> None:
        """Copy a file's content.

        :param archive: descriptor of the file where it is.
        :param source: where in that it begins, bytes.
        :param pieces: where in the file it goes: offset and bytes.
        """
        for start, length in pieces:
            for place, room in _places(extents, start, length):
                self._copy(archive, source, place, room)
                source += room

    def write(self, content: bytes, extents: Sequence[Extent]) -> None:
        """Write *content*, which is shorter than a block or whole blocks."""
        done = 0
        for place, room in _places(extents, 0, len(content)):
            self._pwrite(content[done : done + room], place)
            done += room

    def read(self, extents: Sequence[Extent], size: int) -> bytes:
        """The first *size* bytes of a file."""
        return b"".join(
            os.pread(self._disk, room, self._offset + place)
            for place, room in _places(extents, 0, size)
        )

    def _copy(self, archive: int, source: int, place: int, length: int) -> None:
        while length and self._copying and length >= _SMALL:
            try:
                done = os.copy_file_range(archive, self._disk, length, source, self._offset + place)
            except OSError as error:
                if error.errno not in _NO_COPYING:
                    raise
                self._copying = False
                break
            if not done:
                raise EOFError
            source, place, length = source + done, place + done, length - done
        while length:
            content = os.pread(archive, min(length, _PIECE), source)
            if not content:
                raise EOFError
            self._pwrite(content, place)
            done = len(content)
            source, place, length = source + done, place + done, length - done

    def _pwrite(self, content: bytes, place: int) -> None:
        place += self._offset
        done = os.pwrite(self._disk, content, place)
        while done < len(content):
            done += os.pwrite(self._disk, content[done:], place + done)


def _places(extents: Sequence[Extent], start: int, length: int) -> list[tuple[int, int]]:
    """Where in the file system *length* bytes of a file from *start* on are, and how many each."""
    found = []
    for first, block, count in extents:
        begin, end = max(start, first * BLOCK), min(start + length, (first + count) * BLOCK)
        if begin < end:
            found.append((block * BLOCK + begin - first * BLOCK, end - begin))
    return found


def runs(pieces: SparseMap) -> list[tuple[int, int]]:
    """First block and count of each run of blocks that *pieces*, which are in order, touch."""
    found: list[tuple[int, int]] = []
    for start, length in pieces:
        if not length:
            continue
        first, end = start // BLOCK, -(-(start + length) // BLOCK)
        if found and first <= found[-1][0] + found[-1][1]:
            first = found.pop()[0]
        found.append((first, end - first))
    return found
