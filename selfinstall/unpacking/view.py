"""The rootfs as dpkg would find it, so far as packages touch it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from selfinstall.ext4.owners import GROUP, PASSWD
from selfinstall.rootfs.members import Member, Members, MemberType
from selfinstall.rootfs.readers import RegionReader
from selfinstall.rootfs.source import label
from selfinstall.rootfs.tree import follow

#: Nodes that are kept of a rootfs.  With more (some 100 MB) packages go through dpkg.
MAXIMUM_NODES = 300_000


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """Something at a path: what it is, and where a symbolic link points."""

    type: MemberType
    target: str = ""


class View:
    """Paths without leading slash and what is there; grows as packages are unpacked."""

    def __init__(self, nodes: Mapping[str, Node] | None = None) -> None:
        self._nodes: dict[str, Node] = {"": Node("dir")}
        self._folders: dict[str, str | None] = {"": ""}
        for path, node in (nodes or {}).items():
            self.add(path, node)

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, place: str) -> Node | None:
        """What is at a place, which :meth:`place` gave; links are not followed."""
        return self._nodes.get(place)

    def add(self, path: str, node: Node) -> None:
        """Put *node* there, or in place of what is there."""
        place = self.place(path)
        if place is None:
            return
        old = self._nodes.get(place)
        self._nodes[place] = node
        if node.type == "symlink" or (old is not None and old.type != node.type):
            self._folders = {"": ""}

    def place(self, path: str) -> str | None:
        """Where a path leads when all links but a last one are followed; None: in circles."""
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        if folder is None:
            return None
        return f"{folder}/{name}" if folder else name

    def _folder(self, path: str) -> str | None:
        """:meth:`resolve`, remembered."""
        if path not in self._folders:
            self._folders[path] = self.resolve(path)
        return self._folders[path]

    def resolve(self, path: str) -> str | None:
        """Where a path leads when all links are followed, whether something is there or not."""
        return follow(path, self._target)

    def _target(self, path: str) -> str | None:
        node = self._nodes.get(path)
        return node.target if node is not None and node.type == "symlink" else None

    def is_folder(self, place: str | None) -> bool:
        """Whether there is a folder, links followed."""
        found = None if place is None else self.resolve(place)
        node = None if found is None else self._nodes.get(found)
        return node is not None and node.type == "dir"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rootfs:
    """What the rules need of a rootfs.

    :param view: links, and whatever has a name that occurs in a package.
    :param files: content of the files in :data:`CAPTURED` and below :data:`SETTINGS`.
    :param complete: whether *view* holds all of that; not when it were too much.
    :param hooks: whether there are hooks that kernels' ``preinst`` scripts run.
    :param leftover: something that an interrupted dpkg left, None when there is nothing.
    """

    view: View
    files: Mapping[str, bytes]
    complete: bool = True
    hooks: bool = False
    leftover: str | None = None


KERNEL_HOOKS = "etc/kernel/preinst.d/"
INFO_FORMAT = "var/lib/dpkg/info/format"
DIVERSIONS = "var/lib/dpkg/diversions"
OVERRIDES = "var/lib/dpkg/statoverride"
FILE_TRIGGERS = "var/lib/dpkg/triggers/File"
CONFIGURATION = "etc/dpkg/dpkg.cfg"
CONFIGURATIONS = "etc/dpkg/dpkg.cfg.d"
#: Needed whatever the packages hold.
CAPTURED = frozenset(
    (INFO_FORMAT, DIVERSIONS, OVERRIDES, FILE_TRIGGERS, CONFIGURATION, PASSWD, GROUP)
)
STATUS = "var/lib/dpkg/status"
DATABASE_FOLDERS = ("var", "var/lib", "var/lib/dpkg", "var/lib/dpkg/info", "var/lib/dpkg/triggers")
_DATABASE = frozenset((*DATABASE_FOLDERS, STATUS))
MAXIMUM_CAPTURED = 4 << 20
#: What dpkg leaves beside a file when it is interrupted.
_LEFTOVERS = (".dpkg-new", ".dpkg-tmp")


def scan(spool: Path, size: int, paths: Iterable[str]) -> Rootfs:
    """Pass over an unpacked tarball's headers.

    :param spool: the uncompressed archive.
    :param size: bytes of it that are the archive.
    :param paths: what packages hold: of the rootfs, only what shares a name with any part of
        these matters, wherever links lead them.
    """
    names = frozenset(part for path in paths for part in path.split("/"))
    view = View()
    files: dict[str, bytes] = {}
    leftover = None
    hooks = False
    with spool.open("rb") as stream:
        reader = RegionReader(stream, 0, size)
        for member in Members(reader, label(spool)):
            if member.path.endswith(_LEFTOVERS):
                leftover = member.path
            hooks = hooks or member.path.startswith(KERNEL_HOOKS)
            if not _wanted(member, names):
                continue
            if len(view) > MAXIMUM_NODES:
                return Rootfs(view=view, files=files, complete=False)
            view.add(member.path, Node(member.type, member.target))
            if _captured(member.path) and member.size <= MAXIMUM_CAPTURED:
                files[member.path] = reader.read(member.size) if member.pieces is None else b"?"
    return Rootfs(view=view, files=files, hooks=hooks, leftover=leftover)


def _wanted(member: Member, names: Collection[str]) -> bool:
    path = member.path
    return (
        member.type == "symlink"
        or path.rpartition("/")[2] in names
        or path in _DATABASE
        or _captured(path)
    )


def _captured(path: str) -> bool:
    return path in CAPTURED or path.startswith(CONFIGURATIONS + "/")
