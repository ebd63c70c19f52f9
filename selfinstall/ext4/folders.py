"""A folder's blocks: its names with their inodes.  Pure.

Documentation/filesystems/ext4/directory.rst of the kernel, "Linear Directories"; e2fsck -D
makes of large ones what the section after that describes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from selfinstall.ext4.inode import BLOCK

#: Room at a block's end for the checksum, which looks like an entry without a name.
_TAIL = struct.pack("<IHBBI", 0, 12, 0, 0xDE, 0)
_ENTRY = struct.Struct("<IHBB")
#: ext4's codes of kinds in entries, by the bits of the mode.
KINDS = {0o100000: 1, 0o040000: 2, 0o020000: 3, 0o060000: 4, 0o010000: 5, 0o120000: 7}
FOLDER, LINK = KINDS[0o040000], KINDS[0o120000]
MAXIMUM_NAME = 255
#: A folder with more names knows quickly that it has not a certain one.
_MANY = 256
#: Bytes of an inode's number and a kind in hexadecimal digits.
_DIGITS = 9


class Folder:
    """Names with inodes and kinds, in little memory: 10 bytes and the name each.

    :param number: its own inode.
    :param parent: that of the folder above.
    """

    __slots__ = ("_count", "_hashes", "_names", "number", "parent", "subfolders")

    def __init__(self, number: int, parent: int) -> None:
        self.number = number
        self.parent = parent
        self.subfolders = 0
        # "/name", NUL, the inode in eight digits and the kind in one: neither "/" nor NUL is
        # in names.
        self._names = bytearray()
        self._count = 0
        self._hashes: set[int] | None = None

    @property
    def empty(self) -> bool:
        """Whether there is no name in it."""
        return not self._names

    def _place(self, name: bytes) -> int:
        """Where the digits of *name* begin; -1 if it is not there."""
        if self._hashes is not None and hash(name) not in self._hashes:
            return -1
        found = self._names.find(b"/%b\0" % name)
        return found if found < 0 else found + len(name) + 2

    def get(self, name: bytes) -> tuple[int, int] | None:
        """Inode and kind."""
        place = self._place(name)
        if place < 0:
            return None
        digits = self._names[place : place + _DIGITS]
        return int(digits[:8], 16), int(digits[8:], 16)

    def put(self, name: bytes, number: int, kind: int) -> None:
        """Add *name*, or give it another inode."""
        digits = b"%08x%x" % (number, kind)
        place = self._place(name)
        if place >= 0:
            self._names[place : place + _DIGITS] = digits
            return
        self._names += b"/%b\0%b" % (name, digits)
        self._count += 1
        if self._hashes is not None:
            self._hashes.add(hash(name))
        elif self._count > _MANY:
            self._hashes = {hash(name) for name, _, _ in self}

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]:
        """Name, inode and kind of each."""
        place = 0
        while place < len(self._names):
            end = self._names.index(0, place)
            digits = self._names[end + 1 : end + 1 + _DIGITS]
            yield bytes(self._names[place + 1 : end]), int(digits[:8], 16), int(digits[8:], 16)
            place = end + 1 + _DIGITS


def blocks(folder: Folder) -> Iterator[bytes]:
    """The blocks of *folder*, each but for its checksum."""
    own = ((b".", folder.number, FOLDER), (b"..", folder.parent, FOLDER))
    yield from _filled((*own, *folder))


def _filled(entries: Iterable[tuple[bytes, int, int]]) -> Iterator[bytes]:
    block = bytearray()
    last = 0
    for name, number, kind in entries:
        needed = _ENTRY.size + len(name) + -len(name) % 4
        if len(block) + needed > BLOCK - len(_TAIL):
            yield _ended(block, last)
            block = bytearray()
        last = len(block)
        block += _ENTRY.pack(number, needed, len(name), kind) + name + bytes(-len(name) % 4)
    yield _ended(block, last)


def _ended(block: bytearray, last: int) -> bytes:
    """*block*, whose last entry, which begins at *last*, reaches to the tail."""
    end = BLOCK - len(_TAIL)
    struct.pack_into("<H", block, last + 4, end - last)
    return bytes(block).ljust(end, b"\0") + _TAIL
