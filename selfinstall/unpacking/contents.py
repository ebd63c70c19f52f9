"""What a .deb holds: its control files, and the names and kinds of its other files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

from debian.deb822 import Deb822

from selfinstall.errors import InputError
from selfinstall.packages import deb
from selfinstall.packages.resolution import Fetched
from selfinstall.rootfs.members import Member, Members, MemberType
from selfinstall.rootfs.readers import RegionReader
from selfinstall.rootfs.source import label

#: A control member's files together; the largest known (checksums of games) have some MB.
MAXIMUM_CONTROL = 64 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class ControlFile:
    """A file of the control member.

    :param content: all of it.
    :param block: its tar header.
    """

    content: bytes
    block: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A member of ``data.tar``: path without leading slash ("" is the root), kind, link target."""

    path: str
    type: MemberType
    target: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """One package.

    :param fetched: where it is.
    :param fields: its control file.
    :param control: the control files by name, ``control`` among them.
    :param items: the members of its ``data.tar`` in their order.
    :param odd: what in it this program does not know how to unpack, None when there is nothing.
    """

    fetched: Fetched
    fields: Deb822
    control: dict[str, ControlFile]
    items: tuple[Item, ...]
    odd: str | None

    @property
    def name(self) -> str:
        """The package's name."""
        return self.fetched.package.name

    @functools.cached_property
    def qualified(self) -> str:
        """As dpkg's database calls it: with the architecture where several can be there."""
        same = self.fields.get("Multi-Arch", "").strip().lower() == "same"
        return f"{self.name}:{self.fetched.package.architecture}" if same else self.name

    @functools.cached_property
    def conffiles(self) -> tuple[tuple[str, str], ...]:
        """Path, with leading slash, and flag ("" for none) of each configuration file."""
        found = []
        for line in self.text("conffiles").splitlines():
            flag, slash, path = line.rstrip().partition("/")
            if slash:
                found.append((slash + path, flag.strip()))
        return tuple(found)

    def text(self, name: str) -> str:
        """A control file as text, empty when there is none."""
        file = self.control.get(name)
        return "" if file is None else file.content.decode("utf-8", "surrogateescape")


def read(fetched: Fetched) -> Contents:
    """Look into a repacked .deb.

    :raises InputError: it is damaged.
    """
    control, odd = _control(fetched.path)
    items = []
    for member in data_members(fetched):
        items.append(Item(member.path, member.type, member.target))
        if member.extended or member.pieces is not None:
            odd = "an archive with extended headers"
    fields = Deb822(control["control"].content.decode("utf-8", "replace").splitlines())
    return Contents(fetched=fetched, fields=fields, control=control, items=tuple(items), odd=odd)


def data_members(fetched: Fetched) -> Iterator[Member]:
    """The members of ``data.tar``; offsets are those of the .deb."""
    with fetched.path.open("rb") as stream:
        reader = RegionReader(stream, fetched.data_offset, fetched.data_size)
        yield from Members(reader, label(fetched.path), end_required=False)


def _control(path: Path) -> tuple[dict[str, ControlFile], str | None]:
    found: dict[str, ControlFile] = {}
    odd = None
    total = 0
    with path.open("rb") as stream:
        place = next(m for m in deb.members(stream, str(path)) if m.name == "control.tar")
        reader = RegionReader(stream, place.offset, place.size)
        for member in Members(reader, label(path), end_required=False):
            if not member.path:
                continue
            if member.type != "file" or "/" in member.path or member.extended:
                odd = f"a control member {member.path!r} that is no plain file"
                continue
            total += member.size
            if total > MAXIMUM_CONTROL:
                raise InputError(f"{label(path)}: damaged: its control files are beyond all sense")
            found[member.path] = ControlFile(reader.read(member.size), member.block)
    if "control" not in found:
        raise InputError(f"{label(path)}: damaged: no control file in it")
    return found, odd
