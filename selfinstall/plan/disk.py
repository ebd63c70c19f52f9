"""The disk of a new image: how large, and its partitions one behind the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

from selfinstall import loader as loaders
from selfinstall.arch import Arch, LoaderUse
from selfinstall.errors import UsageError
from selfinstall.identity import derived_uuid
from selfinstall.layout import ALIGNMENT, MIB, Disk, Partition, PlacedPartition
from selfinstall.packages.resolution import Package
from selfinstall.request import Request
from selfinstall.rootfs.facts import RootfsFacts

#: Without ``--size``.  The image is sparse, so room costs nothing until it is used.
DEFAULT_SIZE = 10 << 30
#: What the root file system's size is rounded up to, bytes.
ROOT_STEP = 64 * MIB


def needed_root_bytes(facts: RootfsFacts, packages: Iterable[Package]) -> int:
    """The root file system's size before it grows: on the safe side of what it must hold.

    A file takes its size rounded up to blocks of 4 KiB and an inode of 256
    bytes, packages may lie there packed and unpacked; ext4 keeps 5 % back
    and a journal of 64 MiB; the first initramfs and the boot loader take less
    than 96 MiB.  Depends on what goes in and on nothing else.
    """
    files = facts.content_bytes + facts.members * (2048 + 256)
    added = 2 * sum(p.installed_size for p in packages)
    needed = math.ceil((files + added) * 1.07) + 160 * MIB
    return math.ceil(needed / ROOT_STEP) * ROOT_STEP


def new_disk(
    request: Request,
    facts: RootfsFacts,
    arch: Arch,
    uses: tuple[LoaderUse, ...],
    required: int,
    seed: str,
) -> Disk:
    """The disk with the partitions of the boot loaders *uses* and a root of *required* bytes.

    :raises UsageError: the size that was asked for is too small.
    """
    wanted_size = request.size or max(DEFAULT_SIZE, 2 * required)
    descriptors = {use.loader: loaders.all_loaders()[use.loader] for use in uses}.values()
    attributes = ",".join(filter(None, (d.root_attributes for d in descriptors)))
    disk = place(loader_partitions(uses), arch.root_type, wanted_size, seed, attributes)
    if disk.root.size < required:
        total = math.ceil((required + disk.size - disk.root.size) / MIB)
        raise UsageError(
            f"a disk of {disk.size // MIB} MiB is too small for {facts.name}",
            f"--size {total}M is the least",
        )
    return disk


def place(
    partitions: Iterable[Partition], root_type: str, size: int, seed: str, root_attributes: str = ""
) -> Disk:
    """The partitions one behind the other on a disk of *size* bytes, root last and with the rest.

    :param root_type: the root partition's GPT type.
    :param root_attributes: its GPT attributes, as sfdisk(8) names them.
    :raises UsageError: the disk is too small to hold them.
    """
    size = size // ALIGNMENT * ALIGNMENT
    start = ALIGNMENT
    placed: list[PlacedPartition] = []
    root = Partition(role="root", type=root_type, size=0)
    for number, part in enumerate([*partitions, root], 1):
        length = part.size or size - start - ALIGNMENT
        if length <= 0 or start + length > size - ALIGNMENT:
            raise UsageError(f"a disk of {size // MIB} MiB is too small for its partitions")
        placed.append(
            PlacedPartition(
                role=part.role,
                type=part.type,
                number=number,
                start=start,
                size=length,
                uuid=derived_uuid(seed, f"partition {part.role}"),
                name=part.name,
                attributes=root_attributes if part is root else "",
            )
        )
        start += length
    return Disk(size=size, uuid=derived_uuid(seed, "disk"), partitions=tuple(placed))


def loader_partitions(uses: tuple[LoaderUse, ...]) -> Iterator[Partition]:
    """Those of the boot loaders, in their order.

    A platform that depends on the kernel is told by the partition's name, so that
    one knows which firmware starts the image.
    """
    for name in dict.fromkeys(use.loader for use in uses):
        own = (use for use in uses if use.loader == name)
        mark = "-".join(use.target for use in own if use.kernel_architecture)
        for part in loaders.all_loaders()[name].partitions:
            yield dataclasses.replace(part, mark=mark)
