"""What inspection takes out of the stream of members while it passes.

Memory is bounded: few files are read at all, each up to a limit, and all of
them together up to another.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from pathlib import Path

from selfinstall.errors import InputError
from selfinstall.packages import deb
from selfinstall.rootfs.facts import HeldDeb
from selfinstall.rootfs.layer import Layer, initramfs_needs
from selfinstall.rootfs.members import Member
from selfinstall.rootfs.readers import Reader
from selfinstall.rootfs.source import shown
from selfinstall.rootfs.tree import Entry, Tree

STATUS = "var/lib/dpkg/status"
OS_RELEASES = ("etc/os-release", "usr/lib/os-release")
#: A program that shows what the rootfs runs on, the surest first.
PROGRAMS = ("usr/bin/dpkg", "bin/dpkg", "usr/bin/dash", "bin/dash", "usr/bin/bash", "bin/bash")
#: Files that show which init system ``/sbin/init`` is.
INITS = ("sbin/init", "lib/systemd/systemd", "sbin/openrc-init", "lib/sysvinit/init")
#: Where debootstrap --foreign leaves its second stage.
SECOND_STAGE = "debootstrap/debootstrap"

#: Where debootstrap and apt keep packages.
ARCHIVES = "var/cache/apt/archives/"
#: More packages than any first stage holds.
DEB_COUNT = 1 << 13
_CHUNK = 1 << 20

STATUS_LIMIT = 64 << 20
FILE_LIMIT = 1 << 20
#: All captured text files or keyrings together.
TOTAL_LIMIT = 16 << 20
KEYRING_COUNT = 64
#: Members that are remembered for their access control lists.
ACL_COUNT = 1 << 16
SOURCES_COUNT = 256
#: What a program's header needs at most, ELF64.
ELF_HEADER = 64
#: Links near the root, which paths to other files lead through.
_SHALLOW = 3
_LINKS_LIMIT = 1 << 16
_BOOT_LIMIT = 1 << 10

_TEXTS = frozenset((*OS_RELEASES, "etc/debian_version", "etc/hostname", "etc/machine-id"))
_MARKS = frozenset((*INITS, *(f"usr/{path}" for path in INITS), SECOND_STAGE))
_SOURCES = re.compile(r"etc/apt/(?:sources\.list|sources\.list\.d/[^/]+\.(?:list|sources))")
_APT_KEYRING = re.compile(
    r"etc/apt/(?:trusted\.gpg|trusted\.gpg\.d/[^/]+\.(?:gpg|asc)|keyrings/[^/]+)"
    r"|usr/share/keyrings/[^/]+"
)
#: Elsewhere Signed-By can name any file; those that matter have such names.
_KEYRING_SUFFIXES = (".gpg", ".pgp", ".asc")
_BOOT_FILE = re.compile(
    # No file system has longer names, and Python counts no longer numbers.
    r"boot/vmlinu[xz]-[^/]{1,255}|boot/initrd\.img-[^/]{1,255}"
    r"|(?:usr/)?lib/modules/[^/]{1,255}/vmlinuz"
)


@dataclasses.dataclass(slots=True)
class _Budget:
    """How many more files of a kind, and bytes of them, may be captured."""

    files: int
    bytes: int = TOTAL_LIMIT
    warn: bool = True

    def take(self, size: int) -> bool:
        if self.files < 1 or self.bytes < size or size > FILE_LIMIT:
            return False
        self.files -= 1
        self.bytes -= size
        return True


class Collection:
    """Counts, captured files and (with *spool*) the index of the decompressed archive.

    :param name: what messages call the tarball.
    :param spool: where the decompressed archive lies; None when it is not kept.
    :param held: packages that belong to it and lie elsewhere.
    """

    def __init__(self, name: str, spool: Path | None, held: tuple[HeldDeb, ...] = ()) -> None:
        self._name = name
        self._layer = None if spool is None else Layer(spool)
        #: Captured files, links that may lead to them, and files that only their presence tells.
        self._small: dict[str, Entry] = {}
        self._contents: dict[str, bytes] = {}
        self._links = 0
        self._texts = _Budget(SOURCES_COUNT)
        self._sources = _Budget(SOURCES_COUNT)
        self._keyrings = _Budget(KEYRING_COUNT)
        self._others = _Budget(KEYRING_COUNT, warn=False)
        self._acls = _Budget(ACL_COUNT)
        self._debs: dict[str, HeldDeb | InputError] = {deb.path: deb for deb in held}
        self._controls = _Budget(DEB_COUNT)
        self.boot_files: set[str] = set()
        self.warnings: list[str] = []
        self.members = 0
        self.content_bytes = 0
        self.acl_texts = False
        #: Names of members whose access control lists are extended attributes and no text.
        self.acl_attributes: list[str] = []
        self.acls_left_out = 0
        #: Permission bits of the root folder; the last member that names it counts.
        self.root_mode = 0o755
        #: The folder below which a dpkg database lies, when it is not the root.
        self.nested: str | None = None

    def add(self, member: Member, reader: Reader) -> None:
        """Take from *member* what is needed; its data is the next that *reader* gives."""
        self.members += 1
        self.content_bytes += member.size
        if not member.path:
            self.root_mode = member.mode
        if self._layer is not None:
            if initramfs_needs(member):
                self._layer.add(member)
            else:
                self._layer.forget(member.path)
        if member.acls is not None:
            self._add_acls(member)
        path = member.path
        if path in self._small:
            # A later member replaces an earlier one.
            del self._small[path]
            self._contents.pop(path, None)
        self.boot_files.discard(path)
        self._debs.pop(path, None)
        if member.type == "symlink":
            self._add_symlink(member)
        elif member.type == "link":
            self._add_link(member)
        elif member.type == "file":
            self._add_file(member, reader)
        if self.nested is None and path.endswith(f"/{STATUS}"):
            self.nested = path.removesuffix(f"/{STATUS}")

    def _add_acls(self, member: Member) -> None:
        if member.acls == "text":
            self.acl_texts = True
        elif self._acls.take(len(member.name)):
            self.acl_attributes.append(member.name.rstrip("/"))
        else:
            self.acls_left_out += 1

    def _add_file(self, member: Member, reader: Reader) -> None:
        path = member.path
        if _BOOT_FILE.fullmatch(path):
            if member.size and len(self.boot_files) < _BOOT_LIMIT:
                self.boot_files.add(path)
        elif path == STATUS:
            if member.size > STATUS_LIMIT:
                raise InputError(
                    f"the dpkg database in {self._name} has {member.size} bytes, beyond all sense"
                )
            self._capture(member, _content(member, reader))
        elif path in PROGRAMS:
            self._capture(member, _content(member, reader, ELF_HEADER))
        elif path in _MARKS:
            self._capture(member, b"")
        elif path.startswith(ARCHIVES) and path.endswith(".deb"):
            self._debs[path] = self._deb(member, reader)
        elif budget := self._budget(path):
            if budget.take(member.size):
                self._capture(member, _content(member, reader))
            elif budget.warn:
                self.warnings.append(f"{shown(path)} is too large or one too many and was not read")

    def _budget(self, path: str) -> _Budget | None:
        """What the file *path* is captured for, None when it is not."""
        if path in _TEXTS:
            return self._texts
        if _SOURCES.fullmatch(path):
            return self._sources
        if _APT_KEYRING.fullmatch(path):
            return self._keyrings
        return self._others if path.endswith(_KEYRING_SUFFIXES) else None

    def _capture(self, member: Member, content: bytes) -> None:
        self._small[member.path] = Entry("file", member.mode, member.size)
        self._contents[member.path] = content

    def _add_link(self, member: Member) -> None:
        if member.target in self._contents:
            self._small[member.path] = self._small[member.target]
            self._contents[member.path] = self._contents[member.target]
        elif member.target in self.boot_files and _BOOT_FILE.fullmatch(member.path):
            self.boot_files.add(member.path)

    def _add_symlink(self, member: Member) -> None:
        path = member.path
        near_root = path.count("/") < _SHALLOW
        if (near_root or self._budget(path)) and self._links < _LINKS_LIMIT:
            self._links += 1
            self._small[path] = Entry("symlink", member.mode, target=member.target)

    @functools.cached_property
    def _tree(self) -> Tree:
        return Tree([self._small])

    def resolve(self, path: str) -> str | None:
        """Where a captured or marked file itself lies, links followed; None when it is absent."""
        return self._tree.resolve(path)

    def read(self, path: str) -> bytes | None:
        """The content of a captured file, links followed; None when it is absent."""
        found = self.resolve(path)
        return None if found is None else self._contents.get(found)

    def text(self, path: str) -> str | None:
        """The same as text."""
        content = self.read(path)
        return None if content is None else content.decode(errors="replace")

    def link(self, path: str) -> str | None:
        """Where the symbolic link *path* points, None when it is none."""
        entry = self._small.get(path)
        return entry.target if entry is not None and entry.type == "symlink" else None

    def debs(self) -> tuple[HeldDeb, ...]:
        """The packages in apt's archive.

        :raises InputError: one of them is no package, or a damaged one.
        """
        for _, found in sorted(self._debs.items()):
            if isinstance(found, InputError):
                raise found
        return tuple(d for _, d in sorted(self._debs.items()) if isinstance(d, HeldDeb))

    def _deb(self, member: Member, reader: Reader) -> HeldDeb | InputError:
        """A package, or why it cannot be used, which matters only where it is needed."""
        name = f"{shown(member.path)} in {self._name}"
        end = member.offset + member.size
        if member.pieces is not None:
            return InputError(f"{name}: a package with holes")
        try:
            fields, begin = deb.control_in_stream(
                lambda size: reader.read(min(size, end - reader.position)), name
            )
        except InputError as error:
            return error
        control = fields.dump()
        if not self._controls.take(len(control)):
            return InputError(f"{name}: one package too many")
        hashed = hashlib.sha256(begin)
        while data := reader.read(min(_CHUNK, end - reader.position)):
            hashed.update(data)
        return HeldDeb(
            control=control,
            sha256=hashed.hexdigest(),
            size=member.size,
            path=member.path,
            offset=member.offset,
        )

    def source_files(self) -> list[str]:
        """The paths of apt's source files, sources.list first."""
        return sorted(path for path in self._small if _SOURCES.fullmatch(path))

    def keyring_files(self) -> list[str]:
        """The paths of keyrings that apt could use unasked, links among them."""
        return sorted(path for path in self._small if _APT_KEYRING.fullmatch(path))

    def layer(self, tar_bytes: int) -> dict[str, Entry]:
        """The index; empty without spool."""
        return {} if self._layer is None else self._layer.settled(0, tar_bytes)


def _content(member: Member, reader: Reader, limit: int | None = None) -> bytes:
    """The content of *member*, or its first *limit* bytes.

    It is short when the archive is: the next step of the iteration over its
    members says so.
    """
    size = member.size if limit is None else min(limit, member.size)
    if member.pieces is None:
        return reader.read(size)
    content = bytearray(size)
    for offset, length in member.pieces:
        data = reader.read(max(0, min(length, size - offset)))
        content[offset : offset + len(data)] = data
    return bytes(content)
