"""The partition table of an image that is there already: read and grown by the host's sfdisk.

sfdisk works on ordinary files as an ordinary user.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from selfinstall.errors import InputError
from selfinstall.host import require_program
from selfinstall.image.tools import checked, run
from selfinstall.layout import ALIGNMENT, SECTOR, Disk, PlacedPartition

#: Extended partitions hold other partitions and no file system.
_EXTENDED = frozenset({"5", "f", "85"})
#: In a DOS label, partitions with higher numbers lie in an extended one.
_PRIMARY = 4
#: Room for GPT's backup and alignment behind the last partition; selfinstall-grow-root keeps
#: the same, so that an image that fills its disk stays as it is.
TAIL = 2 * ALIGNMENT


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """*label* is ``gpt`` or ``dos``; *partitions* in the order of their numbers, sizes in bytes."""

    label: str
    id: str
    size: int
    partitions: tuple[PlacedPartition, ...]

    def obstacle(self, partition: PlacedPartition) -> str | None:
        """Why *partition* cannot grow with the disk, None when it can."""
        for other in self.partitions:
            if other.start > partition.start:
                return f"partition {other.number} lies behind it"
        if self.label == "dos" and partition.number > _PRIMARY:
            return f"its partition {partition.number} lies in an extended one"
        return None

    def with_root(self, root: PlacedPartition, size: int) -> Disk:
        """The disk when it has grown to *size* bytes, and *root* to its end where it can."""
        end = size // ALIGNMENT * ALIGNMENT - ALIGNMENT
        if size - root.start - root.size <= TAIL or self.obstacle(root) is not None:
            end = root.start + root.size
        grown = dataclasses.replace(root, role="root", size=end - root.start)
        return Disk(
            size=size,
            uuid=self.id,
            partitions=tuple(grown if part is root else part for part in self.partitions),
        )


def read_table(disk: Path, name: str) -> Table:
    """The table of a raw *disk*.

    :param name: what messages call the image.
    :raises InputError: there is none, or none that can be used.
    :raises HostError: sfdisk is missing.
    """
    done = _sfdisk(["--json"], disk)
    if done.returncode != 0:
        raise InputError(f"{name} has no partition table", "is it an image of a whole disk?")
    try:
        found: dict[str, Any] = json.loads(done.stdout)["partitiontable"]
        parts = [_partition(part) for part in found.get("partitions", ())]
        label, identity = str(found["label"]), str(found["id"])
        sector = int(found.get("sectorsize", SECTOR))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"sfdisk tells nonsense about {name}") from error
    if label not in ("gpt", "dos") or sector != SECTOR:
        raise InputError(f"{name} has a partition table that is not known here: {label}")
    size = disk.stat().st_size
    kept = tuple(part for part in parts if part.type not in _EXTENDED)
    for part in kept:
        if part.start + part.size > size:
            raise InputError(f"{name} is cut off: its partition {part.number} ends behind it")
    return Table(label=label, id=identity, size=size, partitions=kept)


def _partition(part: dict[str, Any]) -> PlacedPartition:
    # sfdisk puts a "p" between the number and a name that ends in a digit.
    number = re.search(r"\d+$", str(part["node"]))
    if number is None:
        raise ValueError(part["node"])
    return PlacedPartition(
        role="",
        type=str(part["type"]),
        number=int(number[0]),
        start=int(part["start"]) * SECTOR,
        size=int(part["size"]) * SECTOR,
        uuid=str(part.get("uuid", "")),
        name=str(part.get("name", "")),
    )


def grow(disk: Path, table: Table, wanted: Disk) -> None:
    """Make the raw *disk* what *wanted* says: its size, and the root partition's.

    :raises HostError: sfdisk is missing or fails.
    """
    with disk.open("r+b") as stream:
        stream.truncate(wanted.size)
    if table.label == "gpt" and wanted.size != table.size:
        checked(_sfdisk(["--relocate", "gpt-bak-std"], disk))
    root = wanted.root
    if any(part.number == root.number and part.size == root.size for part in table.partitions):
        return
    # Keeps start, type, ids, name and attributes.
    order = f"size={root.size // SECTOR}\n"
    checked(_sfdisk(["--partno", str(root.number)], disk, order))


def _sfdisk(words: list[str], disk: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    program = require_program("sfdisk", "fdisk")
    given = ("--no-reread", "--no-tell-kernel", *words, str(disk.absolute()))
    return run(program, *given, text=text)
