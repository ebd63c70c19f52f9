"""The disk: partitions, their ids, and the sfdisk script that makes them.  Pure."""

from __future__ import annotations

import dataclasses

#: GPT partition types (UEFI 2.10, 5.3.3; the Discoverable Partitions Specification).
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
PREP = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"

SECTOR = 512
MIB = 1 << 20
#: Partitions start on MiB bounds, which suits every disk; the last MiB holds GPT's backup.
ALIGNMENT = MIB


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """A partition as a boot loader declares it.

    :param role: ``bios_grub``, ``esp``, ``prep`` or ``root``.
    :param type: the GPT type GUID.
    :param size: bytes, a multiple of :data:`ALIGNMENT`; 0 for all that is left.
    :param mark: what its name tells beside its role.
    """

    role: str
    type: str
    size: int
    mark: str = ""

    @property
    def name(self) -> str:
        """Its name in the table."""
        return f"{self.role}-{self.mark}" if self.mark else self.role


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PlacedPartition:
    """A partition with its place on one disk: *start* and *size* in bytes, *number* from 1.

    *attributes* are GPT's, as sfdisk(8) names them.
    """

    role: str
    type: str
    number: int
    start: int
    size: int
    uuid: str
    name: str
    attributes: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """A partitioned disk of *size* bytes; of new ones root is the last, so that it can grow."""

    size: int
    uuid: str
    partitions: tuple[PlacedPartition, ...]

    def partition(self, role: str) -> PlacedPartition | None:
        """The partition with that role, or None."""
        return next((p for p in self.partitions if p.role == role), None)

    @property
    def root(self) -> PlacedPartition:
        """The root partition."""
        return next(p for p in self.partitions if p.role == "root")

    def sfdisk_script(self) -> str:
        """The disk as sfdisk(8) reads it, in sectors of 512 bytes."""
        lines = [
            "label: gpt",
            f"label-id: {self.uuid.upper()}",
            "unit: sectors",
            f"first-lba: {ALIGNMENT // SECTOR}",
            f"sector-size: {SECTOR}",
            "",
        ]
        lines += [
            f"start={p.start // SECTOR}, size={p.size // SECTOR}, "
            f"type={p.type}, uuid={p.uuid.upper()}, name={p.name}"
            + (f', attrs="{p.attributes}"' if p.attributes else "")
            for p in self.partitions
        ]
        return "\n".join(lines) + "\n"
