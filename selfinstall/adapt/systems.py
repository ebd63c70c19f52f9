"""The file systems on a disk's partitions: which is the root, and what belongs below it."""

from __future__ import annotations

import dataclasses
import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from selfinstall.adapt.ext import Ext, read_volume
from selfinstall.adapt.table import Table
from selfinstall.errors import InputError
from selfinstall.layout import PlacedPartition
from selfinstall.rootfs.collect import OS_RELEASES, STATUS
from selfinstall.rootfs.dpkg import parse_os_release
from selfinstall.rootfs.source import shown

#: Where on a partition a kind of content shows, and how, besides ext and FAT.
_MAGICS = (
    (0, b"LUKS\xba\xbe", "encrypted (LUKS)"),
    (0, b"XFSB", "XFS"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0x200, b"LABELONE", "LVM"),
    (0x400, b"\x10\x20\xf5\xf2", "F2FS"),
    (0, b"hsqs", "squashfs"),
    (0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcachefs"),
    (0xFF6, b"SWAPSPACE2", "swap"),
)
#: What cannot hold a system.
_NO_ROOT = frozenset({"swap", "vfat", ""})
_HEAD = 0x10080
_FSTAB_LIMIT = 1 << 20
#: Mount points that can stand in the guest's list as they are.
_MOUNT_POINT = re.compile(r"(?:/[A-Za-z0-9._+-]+)+")
_TYPES = {"ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "vfat": "vfat", "auto": ""}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """What a partition holds: *kind* is ``ext4`` (or older), ``vfat``, another's name or empty."""

    partition: PlacedPartition
    kind: str
    uuid: str = ""
    label: str = ""

    def is_called(self, spec: str) -> bool:
        """Whether the first field of fstab(5) means this one."""
        tag, _, value = spec.partition("=")
        value = value.strip('"')
        if spec.startswith("/dev/disk/by-"):
            tag, _, value = spec.removeprefix("/dev/disk/by-").partition("/")
        part = self.partition
        match tag.lower():
            case "uuid":
                return bool(self.uuid) and value.lower() == self.uuid.lower()
            case "label":
                return bool(self.label) and value == self.label
            case "partuuid":
                return bool(part.uuid) and value.lower() == part.uuid.lower()
            case "partlabel":
                return bool(part.name) and value == part.name
        match = re.fullmatch(r"/dev/(?:[shv]d[a-z]|(?:nvme\d+n|mmcblk)\d+p)(\d+)", spec)
        return match is not None and int(match[1]) == part.number


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A file system below the root: *point* with a leading slash, *kind* as mount(8) names it."""

    system: System
    kind: str
    point: str


def find_systems(disk: BinaryIO, table: Table, name: str) -> tuple[System, ...]:
    """What the partitions hold, as far as their first bytes tell.

    :param name: what messages call the image.
    :raises InputError: a file system of ext's makes no sense.
    """
    found = []
    for part in table.partitions:
        try:
            found.append(_system(disk, part))
        except InputError as error:
            where = f"{name}, partition {part.number}"
            raise InputError(f"{where}: {error.message}", error.hint) from None
    return tuple(found)


def _system(disk: BinaryIO, part: PlacedPartition) -> System:
    head = os.pread(disk.fileno(), min(_HEAD, part.size), part.start)
    for offset, magic, kind in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return System(partition=part, kind=kind)
    volume = read_volume(head[1024:2048])
    if volume is not None:
        return System(partition=part, kind="ext4", uuid=volume.uuid, label=volume.label)
    for place in (0x27, 0x43):
        # FAT12 and 16, FAT32: id, label, and what it calls itself.
        if head[place + 15 : place + 18] == b"FAT" and head[510:512] == b"\x55\xaa":
            number = struct.unpack_from("<I", head, place)[0]
            label = head[place + 4 : place + 15].decode("ascii", "replace").rstrip()
            uuid = f"{number >> 16:04X}-{number & 0xFFFF:04X}"
            return System(partition=part, kind="vfat", uuid=uuid, label=label)
    return System(partition=part, kind="")


def find_root(disk: BinaryIO, systems: tuple[System, ...], name: str) -> System:
    """The root file system.

    :param name: what messages call the image.
    :raises InputError: there is none that can be read, or more than one.
    """
    found = [
        system
        for system in systems
        if system.kind == "ext4" and _holds_system(Ext(disk, system.partition.start, name))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = " and ".join(str(system.partition.number) for system in found)
        raise InputError(
            f"{name} holds more than one system: on the partitions {numbers}",
            "only images of one system can be adapted",
        )
    others = [s for s in systems if s.kind not in {*_NO_ROOT, "ext4"}]
    if others:
        told = ", ".join(f"partition {s.partition.number} is {s.kind}" for s in others)
        raise InputError(
            f"{name} has no root file system that can be read: {told}",
            "only ext2, ext3 and ext4 can be adapted, on a partition of their own",
        )
    raise InputError(f"{name} holds no system on any of its partitions")


def _holds_system(system: Ext) -> bool:
    return any(system.find(path) is not None for path in (*OS_RELEASES, STATUS))


def find_mounts(root: Ext, systems: tuple[System, ...]) -> tuple[Mount, ...]:
    """What the root's fstab mounts of the image's own file systems, outer ones first."""
    text = (root.read("etc/fstab", _FSTAB_LIMIT) or b"").decode("utf-8", "replace")
    found = {mount.point: mount for mount in _mounts(text, systems)}
    return tuple(found[point] for point in sorted(found))


def _mounts(text: str, systems: tuple[System, ...]) -> Iterator[Mount]:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 3 or not _MOUNT_POINT.fullmatch(words[1]) or ".." in words[1]:
            continue
        for system in systems:
            kind = _TYPES.get(words[2])
            if kind is not None and system.kind in ("ext4", "vfat") and system.is_called(words[0]):
                yield Mount(system=system, kind=system.kind, point=words[1])


def check_debian(root: Ext, mounted: dict[str, Ext], name: str) -> None:
    """:raises InputError: dpkg's database is not there, or something waits in a journal."""
    for place, system in {"/": root, **mounted}.items():
        if not system.volume.clean:
            raise InputError(
                f"the file system at {place} in {name} was not unmounted cleanly; what was "
                "written last is in its journal only",
                "run the image once (selfinstall boot --write), power it off from inside, "
                "and try again",
            )
    if any(system.find(path) for path, system in _databases(root, mounted)):
        return
    texts = (root.read(path, 1 << 16) for path in reversed(OS_RELEASES))
    release = parse_os_release(next((t for t in texts if t), b"").decode("utf-8", "replace"))
    title = shown(release.get("PRETTY_NAME") or release.get("ID") or "something")
    raise InputError(
        f"{name} holds {title} without dpkg's database",
        "only systems whose packages are Debian's can be adapted",
    )


def _databases(root: Ext, mounted: dict[str, Ext]) -> Iterator[tuple[str, Ext]]:
    yield STATUS, root
    for point, system in mounted.items():
        below = point.strip("/") + "/"
        if STATUS.startswith(below):
            yield STATUS.removeprefix(below), system
