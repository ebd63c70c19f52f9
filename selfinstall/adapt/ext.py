"""Reading an ext2, ext3 or ext4 file system out of a disk's file: no mount, no root, no copy.

Only what :mod:`selfinstall.adapt.stream` needs.  The file system is not trusted: whatever it
says is checked against its own size, and damage is an error.  Layout: the kernel's
Documentation/filesystems/ext4.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import stat
import struct
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from selfinstall.errors import InputError

_SUPERBLOCK, _SUPERBLOCK_SIZE = 1024, 1024
_MAGIC = 0xEF53
_EXTENT_MAGIC = 0xF30A
_HAS_JOURNAL = 0x4
_RECOVER = 0x4
_64BIT = 0x80
#: Incompatible features that do not matter for reading: filetype, extents, 64bit, mmp, flex_bg,
#: ea_inode, csum_seed, largedir; encrypt, casefold and inline_data matter file by file.
_KNOWN = 0x2 | _RECOVER | 0x40 | _64BIT | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000
_KNOWN |= 0x8000 | 0x10000 | 0x20000
_FLAG_ENCRYPTED, _FLAG_EXTENTS, _FLAG_INLINE = 0x800, 0x80000, 0x10000000
ROOT_INODE = 2
#: A link's target this short stands in the inode itself.
_FAST_LINK = 60
#: Bytes; larger folders and longer links are no part of a sane system.
LARGEST_FOLDER = 256 << 20
LONGEST_LINK = 4096
#: An unwritten extent is longer by this and reads as zeros.
_UNWRITTEN = 32768
#: What an extent tree has at most (struct ext4_extent_header).
_DEEPEST = 5
#: Nodes of one file's tree that are read: enough for a TiB in pieces of 64 KiB.
_NODES = 1 << 16
_CHUNK = 1 << 20

#: A run of a file's content: (offset in the file, bytes, offset on the disk).
Run = tuple[int, int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Inode:
    """A file: *mode* with its type (stat.h), *size* in bytes, *links* its names."""

    number: int
    mode: int
    size: int
    links: int
    mtime: int
    flags: int
    blocks: bytes


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """What the superblock says; sizes in bytes.

    :param clean: it was unmounted properly, so that nothing waits in its journal.
    """

    uuid: str
    label: str
    block: int
    size: int
    free: int
    clean: bool
    first_block: int
    blocks_per_group: int
    inodes: int
    inodes_per_group: int
    inode_size: int
    descriptor_size: int


def read_volume(data: bytes) -> Volume | None:
    """What a superblock (its 1024 bytes) says; None when it is none of ext's.

    :raises InputError: it makes no sense, or names features that this cannot read.
    """
    if len(data) < _SUPERBLOCK_SIZE or struct.unpack_from("<H", data, 0x38) != (_MAGIC,):
        return None
    inodes, blocks, _, free, _, first, log_block = struct.unpack_from("<7I", data)
    per_group, _, inodes_per_group = struct.unpack_from("<3I", data, 0x20)
    revision, _, _, _, inode_size, _, compat, incompat = struct.unpack_from("<IHHIHHII", data, 0x4C)
    (state,) = struct.unpack_from("<H", data, 0x3A)
    wide = bool(incompat & _64BIT)
    if wide:
        blocks |= struct.unpack_from("<I", data, 0x150)[0] << 32
        free |= struct.unpack_from("<I", data, 0x158)[0] << 32
    unknown = incompat & ~_KNOWN
    if unknown:
        raise InputError(f"its ext file system has features that are not known here ({unknown:#x})")
    inode_size = inode_size if revision else 128
    descriptor = struct.unpack_from("<H", data, 0xFE)[0] if wide else 32
    sane = log_block <= 6 and per_group and inodes_per_group and 32 <= descriptor <= 1024
    if not (sane and 128 <= inode_size <= 1024 << log_block):
        raise InputError("its ext file system is damaged: the superblock makes no sense")
    journal = compat & _HAS_JOURNAL
    return Volume(
        uuid=str(uuid.UUID(bytes=data[0x68:0x78])),
        label=data[0x78:0x88].partition(b"\0")[0].decode("utf-8", "replace"),
        block=1024 << log_block,
        size=blocks * (1024 << log_block),
        free=free * (1024 << log_block),
        # A journal says whether it is needed; without one, the state does.
        clean=not incompat & _RECOVER if journal else bool(state & 1),
        first_block=first,
        blocks_per_group=per_group,
        inodes=inodes,
        inodes_per_group=inodes_per_group,
        inode_size=inode_size,
        descriptor_size=descriptor,
    )


class Ext:
    """The file system that begins at byte *start* of *disk*.

    :param name: what messages call it.
    :raises InputError: there is none, or it cannot be read; later: it is damaged.
    """

    def __init__(self, disk: BinaryIO, start: int, name: str) -> None:
        self._descriptor = disk.fileno()
        self._start = start
        self._name = name
        volume = read_volume(os.pread(self._descriptor, _SUPERBLOCK_SIZE, start + _SUPERBLOCK))
        if volume is None:
            raise InputError(f"{name} holds no ext file system")
        self.volume = volume

    def _damage(self, what: str) -> InputError:
        return InputError(
            f"{self._name} is damaged: {what}", "repair it: boot it once, or run e2fsck on it"
        )

    def _pread(self, offset: int, size: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        if len(data) < size:
            raise self._damage("it is larger than its disk")
        return data

    def _place(self, block: int) -> int:
        """Where on the disk a block begins."""
        if not 0 < block < self.volume.size // self.volume.block:
            raise self._damage(f"there is no block {block}")
        return self._start + block * self.volume.block

    @functools.lru_cache(maxsize=512)  # noqa: B019  # as short-lived as the build
    def _block(self, block: int) -> bytes:
        return self._pread(self._place(block), self.volume.block)

    @functools.lru_cache(maxsize=4096)  # noqa: B019
    def _inode_table(self, group: int) -> int:
        volume = self.volume
        offset = (volume.first_block + 1) * volume.block + group * volume.descriptor_size
        entry = self._pread(self._start + offset, volume.descriptor_size)
        (block,) = struct.unpack_from("<I", entry, 8)
        if volume.descriptor_size >= 64:
            block |= struct.unpack_from("<I", entry, 0x28)[0] << 32
        return int(block)

    def inode(self, number: int) -> Inode:
        """The inode of that number.

        :raises InputError: there is no such inode.
        """
        volume = self.volume
        if not 0 < number <= volume.inodes:
            raise self._damage(f"there is no inode {number}")
        group, index = divmod(number - 1, volume.inodes_per_group)
        block, offset = divmod(index * volume.inode_size, volume.block)
        data = self._block(self._inode_table(group) + block)[offset : offset + 128]
        mode, _, size, _, _, mtime, _, _, links, _, flags = struct.unpack_from("<HHIIIIIHHII", data)
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            size |= struct.unpack_from("<I", data, 0x6C)[0] << 32
        return Inode(number, mode, size, links, mtime, flags, data[0x28:0x64])

    def runs(self, inode: Inode) -> list[Run]:
        """Where a file's content lies, in order; what is between is zeros.

        :raises InputError: it is encrypted, or damaged.
        """
        if inode.flags & (_FLAG_ENCRYPTED | _FLAG_INLINE):
            what = "encrypted" if inode.flags & _FLAG_ENCRYPTED else "stored in its inode"
            raise InputError(f"{self._name} holds a file that is {what}, which cannot be read")
        pairs = self._extents if inode.flags & _FLAG_EXTENTS else self._mapped
        block = self.volume.block
        found: list[Run] = []
        end = 0
        for logical, count, first in pairs(inode):
            offset = logical * block
            if offset >= inode.size:
                break
            if offset < end:
                raise self._damage(f"the blocks of inode {inode.number} are out of order")
            self._place(first + count - 1)
            size = min(count * block, inode.size - offset)
            found.append((offset, size, self._place(first)))
            end = offset + size
        return found

    def _extents(self, inode: Inode) -> Iterator[tuple[int, int, int]]:
        yield from self._extent_node(inode, inode.blocks, _DEEPEST, iter(range(_NODES)))

    def _extent_node(
        self, inode: Inode, node: bytes, deepest: int, nodes: Iterator[int]
    ) -> Iterator[tuple[int, int, int]]:
        magic, count, _, depth = struct.unpack_from("<4H", node)
        whole = 12 + 12 * count <= len(node) and next(nodes, None) is not None
        if magic != _EXTENT_MAGIC or depth > deepest or not whole:
            raise self._damage(f"the extents of inode {inode.number} make no sense")
        for index in range(count):
            logical, one, two, three = struct.unpack_from("<IHHI", node, 12 + 12 * index)
            if depth:
                low, high = struct.unpack_from("<IH", node, 16 + 12 * index)
                child = self._block(low | high << 32)
                if struct.unpack_from("<H", child, 6) != (depth - 1,):
                    raise self._damage(f"the extents of inode {inode.number} make no sense")
                yield from self._extent_node(inode, child, depth - 1, nodes)
            elif 0 < one <= _UNWRITTEN:
                yield logical, one, three | two << 32

    def _mapped(self, inode: Inode) -> Iterator[tuple[int, int, int]]:
        """The block map of ext2 and ext3, block by block but for what lies side by side."""
        per_block = self.volume.block // 4
        pointers = struct.unpack("<15I", inode.blocks)
        wanted = -(-inode.size // self.volume.block)
        run: tuple[int, int, int] | None = None
        logical = 0
        for place, pointer in enumerate(pointers):
            depth = max(0, place - 11)
            for first, count in self._leaves(pointer, depth, wanted - logical, per_block):
                if first:
                    if run is not None and (run[0] + run[1], run[2] + run[1]) == (logical, first):
                        run = (run[0], run[1] + count, run[2])
                    else:
                        if run is not None:
                            yield run
                        run = (logical, count, first)
                logical += count
            if logical >= wanted:
                break
        if run is not None:
            yield run

    def _leaves(
        self, pointer: int, depth: int, wanted: int, per_block: int
    ) -> Iterator[tuple[int, int]]:
        """(first block or 0 for a hole, blocks) below an entry of the block map."""
        if wanted <= 0:
            return
        if depth == 0:
            yield pointer, 1
        elif pointer == 0:
            yield 0, min(wanted, per_block**depth)
        else:
            for each in struct.unpack(f"<{per_block}I", self._block(pointer)):
                span = per_block ** (depth - 1)
                yield from self._leaves(each, depth - 1, wanted, per_block)
                wanted -= span
                if wanted <= 0:
                    return

    def content(self, inode: Inode) -> Iterator[bytes]:
        """A regular file's content in pieces, holes as zeros."""
        position = 0
        for offset, size, place in self.runs(inode):
            yield from _zeros(offset - position)
            for done in range(0, size, _CHUNK):
                yield self._pread(place + done, min(_CHUNK, size - done))
            position = offset + size
        yield from _zeros(inode.size - position)

    def target(self, inode: Inode) -> bytes:
        """Where a symbolic link points."""
        if inode.size > LONGEST_LINK or inode.flags & _FLAG_ENCRYPTED:
            raise self._damage(f"the link {inode.number} is {inode.size} bytes long or encrypted")
        if inode.size < _FAST_LINK and not inode.flags & _FLAG_EXTENTS:
            return inode.blocks[: inode.size]
        return b"".join(self.content(inode))

    def entries(self, folder: Inode) -> Iterator[tuple[bytes, int]]:
        """(name, inode number) of what is in a folder, in its order, without ``.`` and ``..``."""
        if folder.size > LARGEST_FOLDER:
            raise self._damage(f"the folder {folder.number} is {folder.size} bytes large")
        data = b"".join(self.content(folder))
        block = self.volume.block
        for begin in range(0, len(data), block):
            place, end = begin, min(begin + block, len(data))
            while place + 8 <= end:
                number, length, size = struct.unpack_from("<IHB", data, place)
                if length < 8 or place + length > end or size > length - 8:
                    raise self._damage(f"the folder {folder.number} makes no sense")
                name = data[place + 8 : place + 8 + size]
                if number and name not in (b".", b".."):
                    if not name or b"/" in name or b"\0" in name:
                        raise self._damage(f"a name in the folder {folder.number} is none")
                    yield name, number
                place += length

    def find(self, path: str) -> Inode | None:
        """The file at *path*; links are not followed."""
        inode = self.inode(ROOT_INODE)
        for part in filter(None, path.split("/")):
            if not stat.S_ISDIR(inode.mode):
                return None
            wanted = os.fsencode(part)
            number = next((n for name, n in self.entries(inode) if name == wanted), None)
            if number is None:
                return None
            inode = self.inode(number)
        return inode

    def read(self, path: str, limit: int) -> bytes | None:
        """The content of a regular file of at most *limit* bytes; None when there is none such."""
        inode = self.find(path)
        if inode is None or not stat.S_ISREG(inode.mode) or inode.size > limit:
            return None
        return b"".join(self.content(inode))


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        yield bytes(min(size, _CHUNK))
        size -= _CHUNK
