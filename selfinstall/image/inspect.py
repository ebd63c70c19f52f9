"""What an image file holds, as far as its partition table says."""

from __future__ import annotations

import dataclasses
import struct
import uuid
from pathlib import Path
from typing import Literal

from selfinstall import arch as arches
from selfinstall import loader as loaders
from selfinstall.arch import Arch, LoaderUse
from selfinstall.errors import InputError
from selfinstall.host import workspace
from selfinstall.image.label import HEAD_SECTORS
from selfinstall.layout import ESP, SECTOR
from selfinstall.loader import Loader
from selfinstall.qemu import qemu_img
from selfinstall.rootfs.source import shown

#: More entries than the 128 of every tool are a damaged table, not a disk.
MAXIMUM_ENTRIES = 1024
#: The EFI partition's type in a DOS label (UEFI 2.10, 5.2.2), and the mark of the active one.
_DOS_ESP, _DOS_ACTIVE = 0xEF, 0x80
#: Magic, version, place and size of the backing file's name; incompatible features, and one bit.
_QCOW2 = struct.Struct(">4sIQI52xQ")
#: Bytes of an image in which qcow2 has its header and that name.
_FIRST_CLUSTER = 64 << 10
_DATA_FILE = 4


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImagePartition:
    """One partition: *start* and *size* in bytes, *type* a GPT type GUID.

    In a DOS label, *type* is its byte in hexadecimal, but for the EFI partition's.
    *bootable* is GPT's attribute "legacy BIOS bootable" (UEFI 2.10, table 5.8), or DOS's
    flag "active".
    """

    number: int
    type: str
    uuid: str
    name: str
    start: int
    size: int
    bootable: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """Facts about one image.

    :param path: the file.
    :param format: as qemu-img names it.
    :param virtual_size: the disk's size in bytes.
    :param actual_size: what the file occupies, bytes.
    :param label: the kind of partition table, None when there is none.
    :param partitions: its partitions; of a DOS label the primary ones.
    :param arches: the architectures that the root partition's type names.
    :param first_bytes: of the disk, where some loaders leave a mark.
    """

    path: Path
    format: str
    virtual_size: int
    actual_size: int
    label: Literal["gpt", "dos"] | None
    partitions: tuple[ImagePartition, ...]
    arches: tuple[str, ...]
    first_bytes: bytes = b""

    def bootable_firmwares(self, arch: Arch) -> tuple[tuple[str, ...], ...]:
        """For each boot loader of *arch* that left its traces here, the firmwares that start it."""
        rows = (
            use.firmwares
            for use in arch.loaders
            if self._holds(loaders.all_loaders()[use.loader]) and self._tells_of(use)
        )
        return tuple(dict.fromkeys(rows))

    def _tells_of(self, use: LoaderUse) -> bool:
        """A platform that not all images have must stand in a partition's name (plan/disk.py)."""
        return use.kernel_architecture is None or any(
            f"-{use.target}" in p.name for p in self.partitions
        )

    def _holds(self, loader: Loader) -> bool:
        if self.label == "dos" and loader.dos_magic:
            return self.first_bytes.startswith(loader.dos_magic)
        own = {p.type for p in loader.partitions}
        return (
            bool(own or loader.magic or loader.root_attributes)
            and own <= {p.type for p in self.partitions}
            and self.first_bytes.startswith(loader.magic)
            and (not loader.root_attributes or any(p.bootable for p in self.partitions))
        )


def inspect_image(path: Path) -> ImageFacts:
    """Read the partition table of the image at *path*, whatever its format.

    :raises InputError: there is no such file, or it is no image.
    :raises HostError: qemu-img is missing.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    try:
        with path.open("rb") as stream:
            begin = stream.read(_FIRST_CLUSTER)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    _refuse_parts(path, parts_of_qcow2(begin))
    info = qemu_img.info(path)
    _refuse_parts(path, info.parts)
    with workspace() as work:
        head_file = work / "head"
        qemu_img.read_head(path, info.format, head_file, HEAD_SECTORS * SECTOR)
        head = head_file.read_bytes()
    partitions = parse_gpt(head)
    types = {p.type for p in partitions or ()}
    label: Literal["gpt", "dos"] | None = None
    if partitions is not None:
        label = "gpt"
    elif head[510:512] == b"\x55\xaa":
        label, partitions = "dos", parse_dos(head)
    return ImageFacts(
        path=path,
        format=info.format,
        virtual_size=info.virtual_size,
        actual_size=info.actual_size,
        label=label,
        partitions=partitions or (),
        arches=tuple(a.name for a in arches.all_arches().values() if a.root_type in types),
        first_bytes=head[:16],
    )


def parse_dos(head: bytes) -> tuple[ImagePartition, ...]:
    """The primary partitions of the DOS label in *head*."""
    found = []
    for number in range(1, 5):
        status, kind, start, size = struct.unpack_from("<B3xB3xII", head, 430 + 16 * number)
        if kind and size:
            found.append(
                ImagePartition(
                    number=number,
                    type=ESP if kind == _DOS_ESP else f"{kind:02X}",
                    uuid="",
                    name="",
                    start=start * SECTOR,
                    size=size * SECTOR,
                    bootable=status == _DOS_ACTIVE,
                )
            )
    return tuple(found)


def parts_of_qcow2(header: bytes) -> tuple[str, ...]:
    """What other files a qcow2 image needs (docs/interop/qcow2.rst of qemu), by its header.

    qemu-img would open some of them just to tell what they are.
    """
    if len(header) < _QCOW2.size or not header.startswith(b"QFI\xfb"):
        return ()
    _, version, backing, size, features = _QCOW2.unpack_from(header)
    name = header[backing : backing + min(size, 1023)].decode("utf-8", "replace")
    parts = (name or "a backing file",) if backing else ()
    return (*parts, "a data file") if version > 2 and features & _DATA_FILE else parts


def _refuse_parts(path: Path, parts: tuple[str, ...]) -> None:
    """An image that names other files would hand them to its guest, whoever's they are."""
    if parts:
        raise InputError(
            f"{path} is not whole: it reads {', '.join(map(shown, parts))} too",
            "make one file of it, if you trust it: qemu-img convert -O qcow2 IMAGE ONE.qcow2",
        )


def parse_gpt(head: bytes) -> tuple[ImagePartition, ...] | None:
    """The partitions of the GPT in *head* (UEFI 2.10, 5.3.2), None when there is none.

    Checksums are left to the tools that write; this only tells what is there.
    """
    header = head[SECTOR : 2 * SECTOR]
    if len(header) < 92 or header[:8] != b"EFI PART":
        return None
    first, count, size = struct.unpack_from("<QII", header, 72)
    if not (count <= MAXIMUM_ENTRIES and 128 <= size <= 4096):
        return None
    found = []
    for index in range(count):
        entry = head[first * SECTOR + index * size :][:128]
        if len(entry) < 128:
            break
        kind, own = (str(uuid.UUID(bytes_le=entry[i : i + 16])).upper() for i in (0, 16))
        if int(kind.replace("-", ""), 16) == 0:
            continue
        start, end, attributes = struct.unpack_from("<QQQ", entry, 32)
        found.append(
            ImagePartition(
                number=index + 1,
                type=kind,
                uuid=own,
                name=entry[56:128].decode("utf-16-le", "replace").partition("\0")[0],
                start=start * SECTOR,
                size=max(0, end - start + 1) * SECTOR,
                bootable=bool(attributes & 4),
            )
        )
    return tuple(found)
