"""The files of an image as a tar stream that :mod:`selfinstall.rootfs.inspect` reads.

Every file is in it by name, type, mode and links; only those have content that inspection, the
initramfs or the packages' unpacking look into.  So the rest of the build sees
a rootfs as it sees a tarball's, and a desktop's gigabytes stay where they are.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping

from selfinstall.adapt.ext import ROOT_INODE, Ext, Inode
from selfinstall.errors import InputError
from selfinstall.rootfs.collect import OS_RELEASES, STATUS
from selfinstall.rootfs.layer import initramfs_path
from selfinstall.rootfs.synthesis import PieceStream
from selfinstall.unpacking.view import CAPTURED

#: Files that are passed over; more than any system has.
MOST_FILES = 4 << 20
#: Bytes; nothing that is looked into is larger.
LARGEST_FILE = 1 << 30
_READ = frozenset((STATUS, *OS_RELEASES, *CAPTURED))
_KEYRINGS = "usr/share/keyrings/"
_KEYRING_SUFFIXES = (".gpg", ".pgp", ".asc")
_TYPES = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFREG: b"0"}


@dataclasses.dataclass(slots=True)
class Count:
    """What was passed: the files' own bytes, those without content in the stream too."""

    files: int = 0
    content: int = 0


class ImageStream(PieceStream):
    """The tar stream.

    :param root: the root file system.
    :param mounted: other file systems by their mount point, without leading slash.
    :raises InputError: while it is read: a file system is damaged.
    """

    def __init__(self, root: Ext, mounted: Mapping[str, Ext]) -> None:
        self.count = Count()
        super().__init__(_stream(root, mounted, self.count))


def _looked_into(path: str) -> bool:
    return (
        initramfs_path(path)
        or path in _READ
        or path.startswith(_KEYRINGS)
        or path.endswith(_KEYRING_SUFFIXES)
    )


def _stream(root: Ext, mounted: Mapping[str, Ext], count: Count) -> Iterator[bytes]:
    written = 0
    for info, pieces in _members(root, mounted, count):
        head = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        written += len(head) + info.size + -info.size % tarfile.BLOCKSIZE
        yield head
        yield from pieces
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE + -written % tarfile.RECORDSIZE)


def _members(
    root: Ext, mounted: Mapping[str, Ext], count: Count
) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """Every file, folders before what is in them."""
    #: For each file system, where an inode that can be met again was met first.
    names: dict[int, dict[int, str]] = {id(system): {} for system in (root, *mounted.values())}
    whole: set[str] = set()
    todo: list[tuple[Ext, int, str]] = [(root, ROOT_INODE, "")]
    while todo:
        system, number, path = todo.pop()
        if path in mounted and system is not mounted[path]:
            system, number = mounted[path], ROOT_INODE
        inode = system.inode(number)
        count.files += 1
        if count.files > MOST_FILES:
            raise InputError(f"the image holds more than {MOST_FILES} files")
        known = names[id(system)]
        info = _info(path, inode)
        read = stat.S_ISREG(inode.mode) and _looked_into(path) and inode.size <= LARGEST_FILE
        if number in known and stat.S_ISDIR(inode.mode):
            raise InputError(f"the image is damaged: the folder {number} is in two places")
        # A name that is looked into must not be a link to one whose content was left out.
        if number in known and not (read and known[number] not in whole):
            info.type, info.linkname = tarfile.LNKTYPE, known[number]
            yield info, iter(())
            continue
        if stat.S_ISDIR(inode.mode) or inode.links > 1:
            known[number] = path
        if stat.S_ISDIR(inode.mode):
            todo += [
                (system, child, f"{path}/{os.fsdecode(name)}" if path else os.fsdecode(name))
                for name, child in system.entries(inode)
            ]
        elif stat.S_ISLNK(inode.mode):
            info.linkname = os.fsdecode(system.target(inode))
        elif stat.S_ISREG(inode.mode):
            count.content += inode.size
            if read:
                whole.add(path)
                info.size = inode.size
                yield info, system.content(inode)
                continue
        yield info, iter(())


def _info(path: str, inode: Inode) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path or ".")
    info.type = _TYPES.get(stat.S_IFMT(inode.mode), tarfile.FIFOTYPE)
    info.mode, info.mtime = stat.S_IMODE(inode.mode), inode.mtime
    return info
