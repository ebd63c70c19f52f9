"""An inode as libext2fs takes it: in the host's byte order but for its map of blocks.  Pure.

Documentation/filesystems/ext4/inodes.rst and ifork.rst of the kernel.  A *packed* inode has
:data:`SIZE` bytes.
"""

from __future__ import annotations

import dataclasses
import struct

#: What make.py has mke2fs make.
SIZE = 256
BLOCK = 4096
#: A symbolic link shorter than that is in the inode itself.
MAP = 60
#: More links a file cannot have; a folder with more subfolders says 1.
MAXIMUM_LINKS = 65000
#: Seconds since 1970 that fit into 34 bits, of which the first 32 are signed.
_FIRST_TIME, _LAST_TIME = -(1 << 31), (1 << 34) - (1 << 31) - 1
_EXTENTS = 0x80000
#: Of the fields behind the first 128 bytes, those that this kernel generation knows.
_EXTRA = 32
#: Magic, entries, places, depth, generation: no extent yet, of four.
_NO_EXTENTS = struct.pack("<HHHHI", 0xF30A, 0, 4, 0, 0)
_EXTENT = struct.Struct("<IHHI")
_SIZE_AT, _LINKS_AT, _FLAGS_AT, _MAP_AT = 0x04, 0x1A, 0x20, 0x28

_MAIN = struct.Struct("=HHIIIIIHHIII60sIIIIHHHHHH")
_LARGE = struct.Struct("=HHIIIIIII")
assert _MAIN.size == 128


@dataclasses.dataclass(frozen=True, slots=True)
class Stamp:
    """A time: nanoseconds since 1970."""

    nanoseconds: int

    @property
    def fields(self) -> tuple[int, int]:
        """The 32 bits that ext2 had, and the extra ones; out of range is the nearest there is."""
        seconds, rest = divmod(self.nanoseconds, 10**9)
        if not _FIRST_TIME <= seconds <= _LAST_TIME:
            seconds, rest = (_FIRST_TIME if seconds < 0 else _LAST_TIME), 0
        low = seconds & 0xFFFFFFFF
        signed = low - (1 << 32) if low >> 31 else low
        return low, (seconds - signed) >> 32 & 3 | rest << 2


def device_map(major: int, minor: int) -> bytes:
    """Where the map of blocks is, a device has its number: in 16 bits, or behind them in 32.

    As old_encode_dev() and new_encode_dev() of the kernel's include/linux/kdev_t.h.
    """
    if major < 256 and minor < 256:
        return struct.pack("=II", major << 8 | minor, 0)
    return struct.pack("=II", 0, minor & 0xFF | major << 8 | (minor & ~0xFF) << 12)


def pack(
    *,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    modified: Stamp,
    made: Stamp,
    extents: bool,
    content: bytes = b"",
) -> bytes:
    """An inode with one name and no blocks.

    :param mode: kind and permission bits.
    :param size: of a file or a link's target, bytes.
    :param made: when the file system is made: access, change and creation.
    :param extents: whether it is to have blocks.
    :param content: what is in place of the map of blocks, if anything is.
    """
    changed, changed_extra = made.fields
    written, written_extra = modified.fields
    main = _MAIN.pack(
        mode, uid & 0xFFFF, size & 0xFFFFFFFF, changed, changed, written, 0,
        gid & 0xFFFF, 1, 0, _EXTENTS if extents else 0, 0,
        _NO_EXTENTS if extents else content, 0, 0, size >> 32, 0,
        0, 0, uid >> 16, gid >> 16, 0, 0,
    )  # fmt: skip
    large = _LARGE.pack(
        _EXTRA, 0, changed_extra, written_extra, changed_extra, changed, changed_extra, 0, 0
    )
    return (main + large).ljust(SIZE, b"\0")


def with_links(packed: bytes, links: int) -> bytes:
    """*packed* with that many names, or subfolders and two."""
    # ext4 counts no further (dir_nlink).
    count = 1 if links > MAXIMUM_LINKS else links
    return packed[:_LINKS_AT] + struct.pack("=H", count) + packed[_LINKS_AT + 2 :]


def with_size(packed: bytes, size: int) -> bytes:
    """*packed* with another size, below 4 GiB."""
    return packed[:_SIZE_AT] + struct.pack("=I", size) + packed[_SIZE_AT + 4 :]


def with_blocks_of(packed: bytes, old: bytes) -> bytes:
    """*packed* with size, count of names and blocks of *old*."""
    new = bytearray(packed)
    for start, end in ((_SIZE_AT, 8), (_LINKS_AT, _FLAGS_AT), (_MAP_AT, _MAP_AT + MAP)):
        new[start:end] = old[start:end]
    return bytes(new)


def links_of(packed: bytes) -> int:
    """How many names it has."""
    return int(struct.unpack_from("=H", packed, _LINKS_AT)[0])


def size_of(packed: bytes) -> int:
    """The first 32 bits of its size, bytes."""
    return int(struct.unpack_from("=I", packed, _SIZE_AT)[0])


def mapped(packed: bytes) -> bytes:
    """The map of blocks, or what is in its place."""
    return packed[_MAP_AT : _MAP_AT + MAP]


def has_extents(packed: bytes) -> bool:
    """Whether it has a map of blocks."""
    return bool(struct.unpack_from("=I", packed, _FLAGS_AT)[0] & _EXTENTS)


def extents(packed: bytes) -> list[tuple[int, int, int]] | None:
    """Block in the file, block on the disk, and count of each extent; None if outside of it."""
    _, count, _, depth = struct.unpack_from("<HHHH", packed, _MAP_AT)
    if depth:
        return None
    found = []
    for number in range(count):
        first, length, high, low = _EXTENT.unpack_from(packed, _MAP_AT + 12 * (number + 1))
        found.append((first, high << 32 | low, length))
    return found
