"""Debian packages as files: read, and written again without compression.

The format is deb(5): an ar(5) archive of ``debian-binary``, ``control.tar.*``
and ``data.tar.*``.  dpkg reads uncompressed members too, and a guest under
emulation decompresses ten times slower than the host.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import io
import lzma
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard
from debian.deb822 import Deb822

from selfinstall.errors import InputError
from selfinstall.rootfs.headers import BLOCK
from selfinstall.rootfs.members import Members
from selfinstall.rootfs.readers import ChunkReader
from selfinstall.rootfs.spool import discard

AR_MAGIC = b"!<arch>\n"
HEADER_SIZE = 60
HEADER_END = b"`\n"
#: Debian packages have three members, signed ones a few more.
MAXIMUM_MEMBERS = 32
#: A control member holds scripts and checksums: some MB in the largest packages known.
MAXIMUM_CONTROL = 64 << 20
#: The same, packed, where it is held in memory.
MAXIMUM_STREAMED = 16 << 20
#: Where the control member's content begins: behind ar's magic, ``debian-binary`` with its
#: four bytes "2.0", and a second header.
_CONTROL_OFFSET = 8 + 60 + 4 + 60
#: ar writes a size with ten digits.
MAXIMUM_MEMBER = 10**10 - 1
#: Members of that size and more are worth a process of their own.
XZ_WORTH = 16 << 20
#: Each of xz's threads holds a block of 25 MB and its compressed form.
XZ_THREADS = 2
CHUNK = 1 << 20
#: Bytes that the decompressor of xz gets at once.
PACKED = 256 << 10
#: xz -9, which dpkg-deb can be asked for, needs 65 MiB; each of xz's threads so much.
XZ_MEMORY = 128 << 20
SUFFIXES = ("", ".gz", ".xz", ".lzma", ".zst", ".bz2")
#: What the decompressors raise for damaged input (gzip and bz2 raise OSError and EOFError).
_DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error, zstandard.ZstdError)


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One member of a .deb: its name, its ar header's other fields, and where its content lies."""

    name: str
    header: bytes
    offset: int
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Repacked:
    """Where in a repacked .deb the uncompressed ``data.tar`` is, in bytes."""

    data_offset: int
    data_size: int


class _Window(io.RawIOBase):
    """One member's content as a file of its own."""

    def __init__(self, stream: BinaryIO, member: Member) -> None:
        self._stream = stream
        self._left = member.size
        stream.seek(member.offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        chunk = self._stream.read(min(len(view), self._left))
        view[: len(chunk)] = chunk
        self._left -= len(chunk)
        return len(chunk)


def members(stream: BinaryIO, name: str) -> tuple[Member, ...]:
    """The members of the .deb in *stream*, checked to be those of a package.

    :param name: of the file, for messages.
    :raises InputError: when it is no .deb or is cut short.
    """
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if stream.read(len(AR_MAGIC)) != AR_MAGIC:
        raise InputError(f"{name}: not a Debian package")
    found: list[Member] = []
    position = len(AR_MAGIC)
    while position < end and len(found) < MAXIMUM_MEMBERS:
        stream.seek(position)
        member = _member(stream.read(HEADER_SIZE), position + HEADER_SIZE, name)
        if member.offset + member.size > end:
            raise InputError(f"{name}: damaged: the file is cut short")
        found.append(member)
        position = member.offset + member.size + member.size % 2
    names = [member.name for member in found]
    complete = any(n in _names("control.tar") for n in names) and any(
        n in _names("data.tar") for n in names
    )
    if names[:1] != ["debian-binary"] or not complete:
        raise InputError(f"{name}: not a complete Debian package")
    return tuple(found)


def _member(header: bytes, offset: int, name: str) -> Member:
    size = header[48:58].strip()
    if len(header) != HEADER_SIZE or header[58:] != HEADER_END or not size.isdigit():
        raise InputError(f"{name}: damaged: a member's header is not one")
    title = header[:16].decode("ascii", "replace").rstrip().removesuffix("/")
    return Member(title, header, offset, int(size))


class _Xz(io.RawIOBase):
    """One xz or lzma stream as :class:`lzma.LZMAFile` gives it, which takes no memory limit.

    A header of a few bytes can ask for a dictionary of 4 GiB.
    """

    def __init__(self, raw: io.BufferedReader) -> None:
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        while not self._decoder.eof:
            data = self._raw.read(PACKED) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not data:
                raise EOFError("its compressed data ends early")
            if out := self._decoder.decompress(data, len(view)):
                view[: len(out)] = out
                return len(out)
        return 0


def _names(stem: str) -> tuple[str, ...]:
    return tuple(stem + suffix for suffix in SUFFIXES)


def control(path: Path) -> Deb822:
    """The control fields of the .deb at *path*.

    :raises InputError: when it is no .deb or is damaged.
    """
    with path.open("rb") as stream:
        return _fields(stream, _find(members(stream, str(path)), "control.tar"), str(path))


def control_in_stream(read: Callable[[int], bytes], name: str) -> tuple[Deb822, bytes]:
    """The same of a .deb that passes by, and the bytes of it that were read.

    deb(5) puts the control member second, right behind ``debian-binary``.

    :param read: gives the next bytes.
    :param name: of the file, for messages.
    :raises InputError: when it is no .deb, is damaged, or has too large a control member.
    """
    begin = read(_CONTROL_OFFSET)
    if not begin.startswith(AR_MAGIC):
        raise InputError(f"{name}: not a Debian package")
    member = _member(begin[-HEADER_SIZE:], _CONTROL_OFFSET, name)
    if member.name not in _names("control.tar") or member.size > MAXIMUM_STREAMED:
        raise InputError(f"{name}: not a package that can be read")
    begin += read(member.size)
    return _fields(io.BytesIO(begin), member, name), begin


def _fields(stream: BinaryIO, member: Member, name: str) -> Deb822:
    """The fields of the control file in the control *member*."""
    try:
        with _decompressed(stream, member) as tar:
            text = _control_file(tar, name)
    except _DAMAGE as error:
        raise InputError(f"{name}: damaged: {error}") from error
    fields = Deb822(text.decode("utf-8", "replace").splitlines())
    for field in ("Package", "Version", "Architecture"):
        if not fields.get(field):
            raise InputError(f"{name}: damaged: its control file has no {field}")
    return fields


def _find(found: tuple[Member, ...], stem: str) -> Member:
    return next(member for member in found if member.name in _names(stem))


def _control_file(tar: IO[bytes], name: str) -> bytes:
    reader = ChunkReader(_bounded(tar), discard)
    for entry in Members(reader, name, end_required=False):
        if entry.path == "control" and entry.type == "file" and entry.size <= CHUNK:
            return reader.read(entry.stored)
    raise InputError(f"{name}: damaged: no control file in it")


def _bounded(tar: IO[bytes]) -> Iterator[bytes]:
    """What is in *tar*, in pieces, but no more than any control member holds."""
    left = MAXIMUM_CONTROL
    while left > 0 and (piece := tar.read(CHUNK)):
        left -= len(piece)
        yield piece


@contextlib.contextmanager
def _decompressed(stream: BinaryIO, member: Member) -> Iterator[IO[bytes]]:
    """The member's content, decompressed, as a file to read once."""
    suffix = member.name.partition(".tar")[2]
    program = shutil.which("xz") if suffix == ".xz" and member.size >= XZ_WORTH else None
    if program is not None:
        with _by_xz(program, stream, member) as plain:
            yield plain
        return
    with _reader(suffix, io.BufferedReader(_Window(stream, member), CHUNK)) as opened:
        yield opened


def _reader(suffix: str, raw: io.BufferedReader) -> IO[bytes]:
    """The decompressor for a member's name with that suffix."""
    match suffix:
        case ".gz":
            return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
        case ".xz" | ".lzma":
            return io.BufferedReader(_Xz(raw), CHUNK)
        case ".bz2":
            return bz2.BZ2File(raw)
        case ".zst":
            reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            return cast(IO[bytes], reader)
        case _:
            return raw


@contextlib.contextmanager
def _by_xz(program: str, stream: BinaryIO, member: Member) -> Iterator[IO[bytes]]:
    """The same by xz(1), which decompresses blocks side by side."""
    # xz reads on from the descriptor's own position, not the buffered stream's.
    os.lseek(stream.fileno(), member.offset, os.SEEK_SET)
    # One stream only: what follows it in the .deb is padding.
    argv = [program, "-dc", f"-T{XZ_THREADS}", "--single-stream"]
    argv.append(f"--memlimit-decompress={XZ_THREADS * XZ_MEMORY}")
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=stream, stdout=pipe, stderr=pipe, bufsize=0) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            yield process.stdout
            if process.stdout.read(1):
                return  # the caller has what it wants, and xz waits for somebody to take the rest
            words = process.stderr.read(4096).decode("utf-8", "replace").strip()
            if process.wait():
                raise lzma.LZMAError(words or "xz failed")
        finally:
            process.kill()


def repack(source: Path, target: BinaryIO) -> Repacked:
    """Write the .deb at *source* into the empty, seekable *target*, its tar members decompressed.

    Equal input gives equal output; names, order, times and owners of the members are kept.

    :raises InputError: when it is damaged.
    """
    place: Repacked | None = None
    with source.open("rb") as stream:
        found = members(stream, str(source))
        data = _find(found, "data.tar")
        target.write(AR_MAGIC)
        for member in found:
            try:
                offset, size = _copy_member(stream, member, target)
            except _OutputError as error:
                raise error.cause from None
            except _DAMAGE as error:
                raise InputError(f"{source}: damaged: {member.name}: {error}") from error
            if member is data:
                place = Repacked(offset, size)
    assert place is not None
    if place.data_size == 0 or place.data_size % BLOCK:
        # zstandard ends without a word where its input does.
        raise InputError(f"{source}: damaged: {data.name} ends too early")
    return place


def place(path: Path) -> Repacked:
    """Where in the repacked .deb at *path* its ``data.tar`` is.

    :raises InputError: when it is no .deb or is damaged.
    """
    with path.open("rb") as stream:
        data = _find(members(stream, str(path)), "data.tar")
    return Repacked(data.offset, data.size)


class _OutputError(Exception):
    """The target could not be written (as against: the source could not be read)."""

    def __init__(self, cause: OSError) -> None:
        self.cause = cause


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _OutputError(error) from error


def _copy_member(stream: BinaryIO, member: Member, target: BinaryIO) -> tuple[int, int]:
    """Append *member*; where its content lies in *target* and how much it is, in bytes."""
    with _writing():
        start = target.tell()
        target.write(member.header)
    packed = member.name in (*_names("control.tar"), *_names("data.tar"))
    if packed:
        with _decompressed(stream, member) as content:
            size = _append(content, target)
    else:
        size = _append(io.BufferedReader(_Window(stream, member), CHUNK), target)
    name = member.name.partition(".tar")[0] + ".tar" if packed else member.name
    with _writing():
        target.write(b"\n" * (size % 2))
        end = target.tell()
        target.seek(start)
        target.write(b"%-16s%s%-10d%s" % (name.encode(), member.header[16:48], size, HEADER_END))
        target.seek(end)
    return start + HEADER_SIZE, size


def _append(content: IO[bytes], target: BinaryIO) -> int:
    """Copy all of *content*; how many bytes that were."""
    written = 0
    while chunk := content.read(CHUNK):
        written += len(chunk)
        if written > MAXIMUM_MEMBER:
            raise EOFError("more than a .deb can hold")
        with _writing():
            target.write(chunk)
    return written
