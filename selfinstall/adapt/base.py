"""The image that a build begins with: copied, looked into, copied again when a guest spoilt it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from selfinstall.adapt import systems
from selfinstall.adapt.ext import Ext, Volume
from selfinstall.adapt.stream import ImageStream
from selfinstall.adapt.systems import Mount, System
from selfinstall.adapt.table import Table, grow, read_table
from selfinstall.errors import InputError
from selfinstall.events import OnEvent
from selfinstall.image.inspect import ImageFacts, inspect_image
from selfinstall.layout import Disk
from selfinstall.qemu import qemu_img
from selfinstall.rootfs.inspect import Inspection, inspect_made

#: Formats that qemu-img reads and that consist of one file.
FORMATS = frozenset({"raw", "qcow2", "vmdk", "vhdx", "vdi", "vpc"})
STEP = "copy"
#: apt's lists of mirrors (apt-transport-mirror(1)), as cloud images have them.
_MIRROR_LIST = re.compile(r"\bmirror\+file:(?://)?(/[A-Za-z0-9/._+-]+)")
_MIRROR_LIMIT = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """An image to adapt.

    :param facts: what its first sectors say.
    :param table: its partitions.
    :param root: its root file system, and what the superblock says of it.
    :param mounts: its other file systems that belong below the root.
    """

    facts: ImageFacts
    table: Table
    root: System
    volume: Volume
    mounts: tuple[Mount, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.facts.path)

    def fresh(self, disk: Path, wanted: Disk, on_event: OnEvent, *, again: bool) -> None:
        """Make *disk*, which is a raw copy, what the guest shall find.

        :param again: a guest has written to the copy.
        :raises HostError: there is no room.
        """
        if again:
            copy(self.facts, disk, on_event)
        grow(disk, self.table, wanted)


def look_at(image: Path) -> ImageFacts:
    """What can be told of *image* without a copy.

    :raises InputError: there is no such file, or it is no image that consists of one file.
    :raises HostError: qemu-img is missing.
    """
    # Before anything of it is read: a part could be any file of the user's.
    if image.is_file():
        info = qemu_img.info(image)
        if info.format not in FORMATS:
            raise InputError(f"{image} is no disk image that can be adapted, but {info.format}")
    return inspect_image(image)


def copy(facts: ImageFacts, disk: Path, on_event: OnEvent) -> None:
    """Copy the image to *disk*, raw; what is zero takes no space."""
    qemu_img.convert(
        facts.path, disk, source_format=facts.format, format="raw", step=STEP, on_event=on_event
    )


def look_into(facts: ImageFacts, disk: Path) -> Base:
    """Find the root file system.

    :param disk: the image, or its copy, raw.
    :raises InputError: there is no partition table, not one root, or not one that can be read.
    """
    name = str(facts.path)
    table = read_table(disk, name)
    with disk.open("rb") as stream:
        found = systems.find_systems(stream, table, name)
        root = systems.find_root(stream, found, name)
        opened = Ext(stream, root.partition.start, name)
        if opened.volume.size > root.partition.size:
            raise InputError(
                f"{name} is damaged: its root file system is larger than its partition"
            )
        return Base(
            facts=facts,
            table=table,
            root=root,
            volume=opened.volume,
            mounts=systems.find_mounts(opened, tuple(s for s in found if s is not root)),
        )


def inspect(base: Base, disk: Path, *, spool: Path | None, on_event: OnEvent) -> Inspection:
    """What the system in the image is, as inspection of a tarball tells it.

    :param spool: where the files go that the initramfs could need; None for nowhere.
    :raises InputError: it is no Debian system, it cannot boot, or it is damaged.
    :raises HostError: the spool cannot be written.
    """
    with disk.open("rb") as stream, _opened(base, stream) as (root, mounted):
        systems.check_debian(root, mounted, base.name)
        made = ImageStream(root, {point.strip("/"): ext for point, ext in mounted.items()})
        inspection = inspect_made(made, base.name, (), spool=spool, on_event=on_event)
        facts = dataclasses.replace(
            inspection.facts,
            content_bytes=made.count.content,
            sources=tuple(
                (path, _with_mirrors(text, root)) for path, text in inspection.facts.sources
            ),
        )
    if not facts.kernels:
        raise InputError(
            f"{base.name} has no kernel in /boot, and it is adapted by its own kernel",
            "images that are started by a kernel beside them cannot be adapted",
        )
    if facts.init is None:
        raise InputError(f"{base.name} has no init system that is known here")
    return dataclasses.replace(inspection, facts=facts)


@contextlib.contextmanager
def _opened(base: Base, stream: BinaryIO) -> Iterator[tuple[Ext, dict[str, Ext]]]:
    """The root, and the other ext file systems by their mount points."""
    root = Ext(stream, base.root.partition.start, base.name)
    mounted = {
        mount.point: Ext(stream, mount.system.partition.start, base.name)
        for mount in base.mounts
        if mount.kind == "ext4"
    }
    yield root, mounted


def _with_mirrors(text: str, root: Ext) -> str:
    """apt's source file *text* with the first mirror in place of each list of mirrors."""

    def first(match: re.Match[str]) -> str:
        content = root.read(match[1].lstrip("/"), _MIRROR_LIMIT) or b""
        lines = (line.split() for line in content.decode("utf-8", "replace").splitlines())
        uris = (words[0] for words in lines if words and not words[0].startswith("#"))
        return next(uris, match[0])

    return _MIRROR_LIST.sub(first, text)
