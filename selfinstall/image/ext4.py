"""What an ext4 file system's superblock says."""

from __future__ import annotations

import dataclasses
import struct
import uuid
from pathlib import Path

from selfinstall.errors import InputError

# Offsets and values: Documentation/filesystems/ext4/super.rst of the kernel.
_START, _SIZE = 1024, 1024
_STATE, _COMPAT, _INCOMPAT, _UUID = 0x3A, 0x5C, 0x60, 0x68
_MAGIC = (0x38, 0xEF53)
_STATE_CLEAN = 1
_COMPAT_HAS_JOURNAL = 4
_INCOMPAT_RECOVER = 4


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Superblock:
    """*clean*: it was unmounted properly, so that nothing waits in its journal."""

    uuid: str
    clean: bool


def read_superblock(disk: Path, start: int) -> Superblock:
    """The superblock of the file system that begins at byte *start* of the raw *disk*.

    :raises InputError: there is no ext file system.
    """
    with disk.open("rb") as stream:
        stream.seek(start + _START)
        data = stream.read(_SIZE)
    offset, magic = _MAGIC
    if len(data) < _SIZE or struct.unpack_from("<H", data, offset) != (magic,):
        raise InputError("the root partition holds no ext4 file system")
    (state,) = struct.unpack_from("<H", data, _STATE)
    compat, incompat = struct.unpack_from("<II", data, _COMPAT)
    # A journal says whether it is needed; without one, the state does.
    journal = compat & _COMPAT_HAS_JOURNAL
    clean = not incompat & _INCOMPAT_RECOVER if journal else bool(state & _STATE_CLEAN)
    return Superblock(uuid=str(uuid.UUID(bytes=data[_UUID : _UUID + 16])), clean=clean)
