"""The archives for the guest's tar."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, BinaryIO

from selfinstall.packages.resolution import Fetched
from selfinstall.rootfs.headers import BLOCK, ZERO_BLOCK
from selfinstall.rootfs.members import Member
from selfinstall.unpacking import database
from selfinstall.unpacking.contents import Contents, data_members
from selfinstall.unpacking.rounds import Placed, Round

#: Archives stand one after the other and are read in records of that size, so that each
#: begins where the tar before it stopped reading; the hook has the same number.
RECORD = 512 << 10
_CHUNK = 1 << 20
_NAME = 100


def write_rounds(out: BinaryIO, rounds: Iterable[Round], mtime: int) -> None:
    """Append the archive of what the packages of *rounds* hold, and dpkg's files about them.

    :param mtime: the time of what dpkg itself would write now, seconds since 1970.
    :raises InputError: a .deb is damaged.
    """
    start = out.tell()
    for placed in itertools.chain.from_iterable(made.packages for made in rounds):
        _write_files(out, placed)
        _write_info(out, placed.contents, mtime)
    finish(out, start)


def write_debs(out: BinaryIO, debs: list[Fetched]) -> None:
    """Append the archive of .debs as they are."""
    start = out.tell()
    for fetched in debs:
        with fetched.path.open("rb") as stream:
            size = fetched.path.stat().st_size
            out.write(_header(fetched.package.filename, size, 0))
            _copy(stream, out, size)
    finish(out, start)


def finish(out: BinaryIO, start: int) -> None:
    """End the archive that began at *start*: two blocks of zeros, and full records."""
    size = out.tell() - start + 2 * BLOCK
    out.write(bytes(2 * BLOCK + -size % RECORD))


def _info(name: str, size: int, mtime: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, mtime, 0o644
    info.uname = info.gname = "root"
    return info


def _header_of(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _header(name: str, size: int, mtime: int) -> bytes:
    return _header_of(_info(name, size, mtime))


def _write_files(out: BinaryIO, placed: Placed) -> None:
    package = placed.contents
    put: dict[str, str] = {}
    with package.fetched.path.open("rb") as stream:
        for member, place in zip(data_members(package.fetched), placed.places, strict=True):
            if place is None:
                continue
            put[member.path] = place
            target = put[member.target] if member.type == "link" else member.target
            out.write(_moved(member, place, target))
            if member.stored:
                stream.seek(member.offset)
                _copy(stream, out, member.stored)


def _moved(member: Member, place: str, target: str) -> bytes:
    """The member's header with another name, and all else as the package has it."""
    name = _bytes(place) + (b"/" if member.type == "dir" else b"")
    link = _bytes(target) if member.type in ("link", "symlink") else b""
    return _long(b"L", name) + _long(b"K", link) + renamed(member.block, name[:_NAME], link[:_NAME])


def renamed(block: bytes, name: bytes, link: bytes) -> bytes:
    """A header with another name and link target of at most 100 bytes each."""
    new = bytearray(block)
    new[0:_NAME] = name.ljust(_NAME, b"\0")
    new[157:257] = link.ljust(_NAME, b"\0")
    if block[257:263] == b"ustar\0":
        # The first part of a long name.
        new[345:500] = bytes(155)
    new[148:156] = b" " * 8
    new[148:156] = b"%06o\0 " % sum(new)
    return bytes(new)


def _long(kind: bytes, name: bytes) -> bytes:
    """GNU's header for a name that does not fit, empty for one that does."""
    if len(name) <= _NAME:
        return b""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size, info.mode = kind, len(name) + 1, 0o644
    return info.tobuf(tarfile.GNU_FORMAT) + name + bytes(BLOCK - len(name) % BLOCK)


def _write_info(out: BinaryIO, package: Contents, mtime: int) -> None:
    for name, place in database.info_names(package):
        file = package.control[name]
        out.write(_named(file.block, place))
        _copy(io.BytesIO(file.content), out, len(file.content))
    listed = database.file_list(package)
    out.write(_header(f"{database.INFO}/{package.qualified}.list", len(listed), mtime))
    _copy(io.BytesIO(listed), out, len(listed))


def _named(block: bytes, place: str) -> bytes:
    name = _bytes(place)
    return _long(b"L", name) + renamed(block, name[:_NAME], b"")


def _copy(stream: IO[bytes], out: BinaryIO, size: int) -> None:
    """*size* bytes, filled up to whole blocks."""
    left = size
    while left:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            raise EOFError("a package was cut meanwhile")
        out.write(chunk)
        left -= len(chunk)
    out.write(ZERO_BLOCK[: -size % BLOCK])


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def preinst_files(package: Contents) -> Iterator[tuple[str, int, bytes]]:
    """Name, mode and content of what a ``preinst`` finds beside itself (but the checksums)."""
    for name, file in package.control.items():
        if name != "md5sums":
            yield name, 0o755 if name == "preinst" else 0o644, file.content
