"""The bytes of the partition table and of the empty ESP, made by the host's own tools.

minbase tarballs have neither sfdisk nor mkfs.vfat, and the result does not
depend on the target, so two host programs serve every architecture.  They
work on sparse files; only what is not zero is handed on.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from selfinstall.host import require_program
from selfinstall.image.tools import checked, run
from selfinstall.layout import ALIGNMENT, SECTOR, Disk

#: Sectors of the table at both ends: protective MBR, header, 32 sectors of
#: entries; entries and header again (UEFI 2.10, 5.3).
HEAD_SECTORS, TAIL_SECTORS = 34, 33


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """A partition table: *head* belongs at the disk's first byte, *tail* at its end."""

    head: bytes
    tail: bytes


def make_label(disk: Disk, work: Path) -> Label:
    """The partition table of *disk*, made on a sparse file in the folder *work*.

    :raises HostError: sfdisk is missing or fails.
    """
    program = require_program("sfdisk", "fdisk")
    path = work / "label"
    with path.open("wb") as stream:
        stream.truncate(disk.size)
    words = ("--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", path.name)
    checked(run(program, *words, folder=work, text=disk.sfdisk_script()))
    with path.open("rb") as stream:
        head = stream.read(HEAD_SECTORS * SECTOR)
        stream.seek(disk.size - TAIL_SECTORS * SECTOR)
        tail = stream.read()
    path.unlink()
    return Label(head, tail)


def make_esp(size: int, fat_id: str, work: Path) -> bytes:
    """An empty FAT32 file system of *size* bytes, without the zeros at its end.

    :param fat_id: as in fstab, ``1A2B-3C4D``.
    :raises HostError: mkfs.vfat is missing or fails.
    """
    program = require_program("mkfs.vfat", "dosfstools")
    path = work / "esp"
    with path.open("wb") as stream:
        stream.truncate(size)
    # Not --invariant: it overrides the id that fstab names.  No label: its entry would hold
    # the present time, SOURCE_DATE_EPOCH or not (dosfstools 4.2).
    words = ("-F", "32", "-s", "1", "-i", fat_id.replace("-", ""), path.name)
    checked(run(program, *words, folder=work))
    with path.open("rb") as stream:
        # Reserved sectors, two tables and the root folder fill the first few MiB.
        content = stream.read(8 * ALIGNMENT).rstrip(b"\0")
    path.unlink()
    return content + bytes(-len(content) % SECTOR)
