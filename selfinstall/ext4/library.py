"""What is used of libext2fs (e2fsprogs), by ctypes.

Its interface is stable: ``libext2fs.so.2`` since 1997, the youngest function used here,
``ext2fs_fallocate``, since e2fsprogs 1.43 (2016).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Iterator, Mapping
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from selfinstall.errors import HostError

#: ext2fs.h: flags of ext2fs_open2 and ext2fs_close2.
_RW, _64BITS, _NO_SYNC = 0x01, 0x20000, 1
#: ext2fs.h: of ext2fs_fallocate; blocks are given out as if they had been written.
_FORCE_INIT = 0x2
#: ext2fs.h: steps of ext2fs_extent_get, and what tells leaves from the nodes above them.
_ROOT, _NEXT_LEAF, _LEAF = 0x1, 0x7, 0x1
#: ext2_err.h: there is no next extent; there is no extent at all.
_NO_NEXT, _NO_CURRENT = 2133571452, 2133571456
#: ext2_err.h: no free block; no free inode.
_FULL = frozenset((2133571400, 2133571401))
#: ext2_err.h: a write ended early, as one does where the disk ends.
_SHORT_WRITE = 2133571365

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "ext2fs_open2": (c_char_p, c_char_p, c_int, c_int, c_uint32, c_void_p, c_void_p),
    "ext2fs_read_bitmaps": (c_void_p,),
    "ext2fs_close2": (c_void_p, c_int),
    "ext2fs_new_inode": (c_void_p, c_uint32, c_int, c_void_p, c_void_p),
    "ext2fs_read_inode_full": (c_void_p, c_uint32, c_char_p, c_int),
    "ext2fs_write_inode_full": (c_void_p, c_uint32, c_char_p, c_int),
    "ext2fs_fallocate": (c_void_p, c_int, c_uint32, c_char_p, c_uint64, c_uint64, c_uint64),
    "ext2fs_extent_open": (c_void_p, c_uint32, c_void_p),
    "ext2fs_extent_get": (c_void_p, c_int, c_void_p),
    "ext2fs_punch": (c_void_p, c_uint32, c_void_p, c_char_p, c_uint64, c_uint64),
    "ext2fs_free_ext_attr": (c_void_p, c_uint32, c_void_p),
    "ext2fs_dir_block_csum_set": (c_void_p, c_uint32, c_char_p),
    "ext2fs_xattrs_open": (c_void_p, c_uint32, c_void_p),
    "ext2fs_xattrs_read": (c_void_p,),
    "ext2fs_xattr_set": (c_void_p, c_char_p, c_char_p, c_size_t),
    "ext2fs_xattrs_close": (c_void_p,),
}


class _Extent(ctypes.Structure):
    _fields_ = (
        ("physical", c_uint64),
        ("logical", c_uint64),
        ("length", c_uint32),
        ("flags", c_uint32),
    )


@functools.cache
def _libraries() -> tuple[Any, Any]:
    try:
        library, errors = ctypes.CDLL("libext2fs.so.2"), ctypes.CDLL("libcom_err.so.2")
    except OSError as error:
        raise HostError(
            f"libext2fs cannot be loaded: {error}", "sudo apt install e2fsprogs"
        ) from None
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, c_long
    library.ext2fs_inode_alloc_stats2.argtypes = (c_void_p, c_uint32, c_int, c_int)
    library.ext2fs_inode_alloc_stats2.restype = None
    library.ext2fs_extent_free.argtypes, library.ext2fs_extent_free.restype = (c_void_p,), None
    library.initialize_ext2_error_table.argtypes = ()
    library.initialize_ext2_error_table.restype = None
    library.initialize_ext2_error_table()
    errors.error_message.argtypes, errors.error_message.restype = (c_long,), c_char_p
    return library, errors


def check_library() -> None:
    """:raises HostError: libext2fs is missing."""
    _libraries()


class Full(Exception):
    """The file system has no free block or no free inode left."""


class FileSystem:
    """An ext4 file system in a part of a file, opened for writing.

    Methods raise :class:`Full`, and :class:`OSError` for whatever else libext2fs complains of.

    :param path: the file.
    :param offset: where in it the file system begins, bytes.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self._library, self._errors = _libraries()
        self._fs = c_void_p()
        self._number = c_uint32()
        self._extent = _Extent()
        manager = c_void_p.in_dll(self._library, "unix_io_manager")
        self._check(
            self._library.ext2fs_open2(
                os.fsencode(path),
                b"offset=%d" % offset,
                _RW | _64BITS,
                0,
                0,
                manager,
                ctypes.byref(self._fs),
            )
        )
        self._check(self._library.ext2fs_read_bitmaps(self._fs))

    def _check(self, code: int) -> None:
        if code in _FULL:
            raise Full
        if code:
            message = self._errors.error_message(code).decode("utf-8", "replace")
            # Codes below 256 are errno's.
            number = errno.ENOSPC if code == _SHORT_WRITE else code
            raise OSError(number if number < 256 else 0, message)

    def close(self) -> None:
        """Write what is not written yet."""
        fs, self._fs = self._fs, c_void_p()
        if fs:
            self._check(self._library.ext2fs_close2(fs, _NO_SYNC))

    def new_inode(self, parent: int, mode: int, *, folder: bool) -> int:
        """Give out an inode near that of *parent*."""
        self._check(
            self._library.ext2fs_new_inode(self._fs, parent, mode, None, ctypes.byref(self._number))
        )
        self._library.ext2fs_inode_alloc_stats2(self._fs, self._number, 1, folder)
        return self._number.value

    def read_inode(self, number: int, size: int) -> bytes:
        """The first *size* bytes of an inode, in the host's byte order."""
        buffer = ctypes.create_string_buffer(size)
        self._check(self._library.ext2fs_read_inode_full(self._fs, number, buffer, size))
        return buffer.raw

    def write_inode(self, number: int, content: bytes) -> None:
        """Write an inode in the host's byte order; the library adds the checksum."""
        self._check(self._library.ext2fs_write_inode_full(self._fs, number, content, len(content)))

    def allocate(self, number: int, inode: bytes, goal: int, first: int, blocks: int) -> bytes:
        """Give *inode* *blocks* blocks from its block *first* on, near the disk's block *goal*.

        :returns: the inode with them, which the caller writes.
        """
        buffer = ctypes.create_string_buffer(inode, len(inode))
        self._check(
            self._library.ext2fs_fallocate(
                self._fs, _FORCE_INIT, number, buffer, goal, first, blocks
            )
        )
        return buffer.raw

    def extents(self, number: int) -> Iterator[tuple[int, int, int]]:
        """Block in the file, block on the disk, and count of each extent of a written inode."""
        handle, extent = c_void_p(), self._extent
        self._check(self._library.ext2fs_extent_open(self._fs, number, ctypes.byref(handle)))
        try:
            code = self._library.ext2fs_extent_get(handle, _ROOT, ctypes.byref(extent))
            while code not in (_NO_NEXT, _NO_CURRENT):
                self._check(code)
                if extent.flags & _LEAF:
                    yield extent.logical, extent.physical, extent.length
                code = self._library.ext2fs_extent_get(handle, _NEXT_LEAF, ctypes.byref(extent))
        finally:
            self._library.ext2fs_extent_free(handle)

    def free(self, number: int, size: int, *, folder: bool, blocks: bool) -> None:
        """Take back an inode of *size* bytes and its attributes.

        :param blocks: whether it has a map of blocks, which go as well.
        """
        self._check(self._library.ext2fs_free_ext_attr(self._fs, number, None))
        if blocks:
            self._check(self._library.ext2fs_punch(self._fs, number, None, None, 0, 2**64 - 1))
        self._library.ext2fs_inode_alloc_stats2(self._fs, number, -1, folder)
        self.write_inode(number, bytes(size))

    def set_attributes(self, number: int, attributes: Mapping[str, bytes]) -> None:
        """Set extended attributes, access control lists among them, as setxattr(2) takes them."""
        handle = c_void_p()
        reference = ctypes.byref(handle)
        self._check(self._library.ext2fs_xattrs_open(self._fs, number, reference))
        with contextlib.ExitStack() as stack:
            stack.callback(self._library.ext2fs_xattrs_close, reference)
            self._check(self._library.ext2fs_xattrs_read(handle))
            for name, value in attributes.items():
                raw = name.encode("utf-8", "surrogateescape")
                self._check(self._library.ext2fs_xattr_set(handle, raw, value, len(value)))

    def seal_folder_block(self, number: int, block: bytes) -> bytes:
        """*block* of a folder with its checksum."""
        buffer = ctypes.create_string_buffer(block, len(block))
        self._check(self._library.ext2fs_dir_block_csum_set(self._fs, number, buffer))
        return buffer.raw
