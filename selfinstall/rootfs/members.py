"""The members of a tar archive, one after the other, out of a stream or a part of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

from selfinstall.errors import InputError
from selfinstall.rootfs import headers, sparse
from selfinstall.rootfs.headers import BLOCK, Header, PaxRecords, SparseMap
from selfinstall.rootfs.readers import Reader
from selfinstall.rootfs.source import MAKE_AGAIN, shown

MemberType = Literal["file", "dir", "symlink", "link", "other"]
AclForm = Literal["text", "attributes"]


@dataclasses.dataclass(slots=True)
class Member:
    """One member.

    :param path: without leading ``/`` or ``./``; empty for the root folder itself.
    :param name: the same as the archive writes it.
    :param type: ``link`` is a hard link, ``other`` a device, fifo or the like.
    :param mode: permission bits.
    :param size: of the file, bytes; holes count.
    :param offset: where its data begins, in bytes from the reader's origin.
    :param stored: bytes of data in the archive.
    :param target: where a link points; normalised for hard links.
    :param pieces: where the data of a sparse file goes, None for an ordinary one.
    :param acls: how its access control lists are stored, None when it has none.
    :param block: its header as the archive has it.
    :param extended: whether a pax header says more than that.
    :param pax: what pax headers say of it, and GNU's own headers.
    """

    path: str
    name: str
    type: MemberType
    mode: int
    size: int
    offset: int
    stored: int
    target: str
    pieces: SparseMap | None
    acls: AclForm | None
    block: bytes
    extended: bool
    pax: PaxRecords


_TYPES: dict[bytes, MemberType] = {
    b"1": "link",
    b"2": "symlink",
    b"3": "other",
    b"4": "other",
    b"5": "dir",
    b"6": "other",
    b"D": "dir",
}
#: What GNU's own long names are kept as.
_GNU_NAMES = frozenset(("path", "linkpath"))
#: Types without data, whatever their size field says, as tar(1) reads them.
_WITHOUT_DATA = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))


class Members:
    """An iterator over the members of the archive that *reader* begins with.

    Between two members the caller may read the data of the last one.

    :param reader: where the archive comes from.
    :param name: what messages call the archive.
    :param end_required: whether an archive without its end marker is truncated.
    :raises InputError: the archive is damaged or truncated or a path climbs out of it.
    """

    def __init__(self, reader: Reader, name: str, *, end_required: bool = True) -> None:
        self._reader = reader
        self._name = name
        self._end_required = end_required
        self._global: PaxRecords = {}
        self._last = ""

    def __iter__(self) -> Iterator[Member]:
        try:
            yield from self._members()
        except headers.TarTruncatedError as error:
            raise InputError(
                f"{self._name} is truncated: the archive ends early, {self._place()}", MAKE_AGAIN
            ) from error
        except headers.TarDamageError as error:
            raise InputError(
                f"{self._name} is damaged: {error}, {self._place()}", MAKE_AGAIN
            ) from error

    def _place(self) -> str:
        after = f" after {shown(self._last)}" if self._last else ""
        return f"near byte {self._reader.position}{after}"

    def _header(self) -> Header | None:
        """The next header; None at the archive's end."""
        block = self._reader.read(BLOCK)
        if block == headers.ZERO_BLOCK or not (block or self._end_required):
            return None
        if len(block) < BLOCK:
            raise headers.TarTruncatedError
        return headers.parse(block)

    def _data(self, size: int, limit: int, what: str) -> bytes:
        """The data of a header that describes the next member."""
        if size > limit:
            headers.damage(f"a {what} of {size} bytes is beyond all sense")
        data = self._reader.read(size)
        if len(data) < size or self._reader.skip(-size % BLOCK) < -size % BLOCK:
            raise headers.TarTruncatedError
        return data

    def _members(self) -> Iterator[Member]:
        pax: PaxRecords = {}
        pieces: SparseMap = ()
        before = 0
        while header := self._header():
            before += 1
            if before > headers.MAXIMUM_HEADERS:
                headers.damage("a member has more headers than makes sense")
            match header.type:
                case b"L":
                    data = self._data(header.size, headers.MAXIMUM_PATH, "path")
                    pax["path"] = data.partition(b"\0")[0]
                case b"K":
                    data = self._data(header.size, headers.MAXIMUM_PATH, "path")
                    pax["linkpath"] = data.partition(b"\0")[0]
                case b"x" | b"X":
                    data = self._data(header.size, headers.MAXIMUM_PAX, "pax header")
                    records, pieces = headers.pax_records(data)
                    pax |= records
                case b"g":
                    data = self._data(header.size, headers.MAXIMUM_GLOBAL, "global pax header")
                    self._hold_for_all(headers.pax_records(data)[0])
                case b"V":
                    pax = {}
                case b"M":
                    headers.damage("it begins in another volume")
                case _:
                    yield from self._member(
                        header, self._global | pax if self._global else pax, pieces
                    )
                    pax, pieces, before = {}, (), 0

    def _hold_for_all(self, records: PaxRecords) -> None:
        self._global |= records
        size = sum(len(name) + len(value) for name, value in self._global.items())
        if size > headers.MAXIMUM_GLOBAL or len(self._global) > headers.MAXIMUM_GLOBAL_RECORDS:
            headers.damage("its global pax headers are beyond all sense")

    def _member(self, header: Header, pax: PaxRecords, pieces: SparseMap) -> Iterator[Member]:
        """The one member, and then pass what is left of its data."""
        kind = _TYPES.get(header.type, "file")
        name = pax.get("GNU.sparse.name") or pax.get("path") or header.name
        if header.type in b"\0" and name.endswith(b"/"):
            kind = "dir"  # v7 has no type for folders
        stored = headers.decimal(pax["size"]) if "size" in pax else header.size
        if header.type in _WITHOUT_DATA or (kind == "dir" and header.type != b"D"):
            stored = 0
        path = self._path(name, "member")
        target = pax.get("linkpath", header.target) if kind in ("symlink", "link") else b""
        member = Member(
            path,
            headers.text(name),
            kind,
            header.mode,
            stored if kind == "file" else 0,
            self._reader.position,
            stored,
            self._path(target, "hard link to") if kind == "link" else headers.text(target),
            None,
            _acl_form(pax) if kind not in ("symlink", "link") else None,
            header.block,
            not pax.keys() <= _GNU_NAMES,
            pax,
        )
        start = member.offset
        if kind == "file" and (header.type == b"S" or sparse.is_sparse(pax)):
            start = self._sparse(member, header, pax, pieces)
        self._last = path
        yield member
        left = start + stored + -stored % BLOCK - self._reader.position
        if self._reader.skip(left) < left:
            raise headers.TarTruncatedError

    def _path(self, raw: bytes, what: str) -> str:
        """*raw* without leading ``/`` or ``./``, trailing ``/`` and needless parts."""
        if len(raw) > headers.MAXIMUM_PATH:
            headers.damage(f"a path of {len(raw)} bytes is beyond all sense")
        path = headers.text(raw)
        if ".." in path and ".." in path.split("/"):
            raise InputError(
                f"{self._name} holds a {what} {shown(path)}, which climbs out of the rootfs",
                "do not trust it; mmdebstrap, debootstrap and tar -C ROOT -c . make none such",
            )
        if path.startswith("./"):
            path = path[2:]
        if path.endswith("/") or path.startswith("/") or "//" in path or "/./" in path:
            path = "/".join(part for part in path.split("/") if part not in ("", "."))
        return "" if path == "." else path.removesuffix("/.")

    def _sparse(self, member: Member, header: Header, pax: PaxRecords, pieces: SparseMap) -> int:
        """Complete *member* with its sparse map; return where its block of data begins."""
        start = self._reader.position
        if header.type == b"S":
            pieces, member.size = sparse.read_old(header.block, self._reader)
            # These extensions belong to the header, the map of format 1.0 to the data.
            start = self._reader.position
        else:
            pieces, member.size = sparse.read_pax(pax, pieces, self._reader, member.stored)
        member.offset = self._reader.position
        member.stored -= member.offset - start
        member.pieces = sparse.check(pieces, member.size, member.stored)
        return start


def _acl_form(pax: PaxRecords) -> AclForm | None:
    """``text`` is what ``tar --acls`` writes, ``attributes`` what only ``tar --xattrs`` did.

    As attributes they stand when just one of the two lists (access, default) has no text.
    """
    if not pax:
        return None
    kinds = ("access", "default")
    texts = {kind for kind in kinds if f"SCHILY.acl.{kind}" in pax}
    attributes = {kind for kind in kinds if f"SCHILY.xattr.system.posix_acl_{kind}" in pax}
    if attributes - texts:
        return "attributes"
    return "text" if texts else None
