"""A rootfs as debootstrap's first stage leaves it, as a tar stream out of packages' members.

/usr is merged, as in every suite since Debian 12: what packages still ship
in ``/bin``, ``/lib`` … goes to ``/usr``, and links lead there.
"""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from selfinstall.errors import InputError
from selfinstall.initramfs.merged import MERGED, merged_path
from selfinstall.rootfs.tree import normal

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: What every system has; the others are made where a package has files there.
_ALWAYS = ("bin", "sbin", "lib")
#: Device nodes that programs open before there is udev: name, mode, major and minor number.
_DEVICES = (
    ("console", 0o600, 5, 1),
    ("full", 0o666, 1, 7),
    ("null", 0o666, 1, 3),
    ("random", 0o666, 1, 8),
    ("tty", 0o666, 5, 0),
    ("urandom", 0o666, 1, 9),
    ("zero", 0o666, 1, 5),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Data:
    """The uncompressed data member of a package: *size* bytes from *offset* of the file *path*."""

    path: Path
    offset: int
    size: int


class PieceStream(io.RawIOBase):
    """Pieces one behind the other as a file to read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


class RootfsStream(PieceStream):
    """The tar stream as a file to read once.

    :param packages: in the order in which they are extracted; where two have the same
        file, the first counts (dpkg decides anew when it installs them).
    :param files: further files by path, mode 0644, root's.
    :raises InputError: while it is read: a package is damaged.
    """

    def __init__(self, packages: Sequence[Data], files: dict[str, bytes]) -> None:
        super().__init__(_stream(packages, files))


class _Sink(io.BytesIO):
    """What was written since the last look."""

    def take(self) -> bytes:
        content = self.getvalue()
        self.seek(0)
        self.truncate()
        return content


def _stream(packages: Sequence[Data], files: dict[str, bytes]) -> Iterator[bytes]:
    sink = _Sink()
    seen: set[str] = set()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as out:
        tops, time = _look(packages)
        for info in _frame(tops, time):
            seen.add(info.name)
            out.addfile(info)
        yield sink.take()
        for data in packages:
            for info, content in _moved(data, seen):
                out.addfile(info, content)
                yield sink.take()
        for path, text in files.items():
            info = _entry(path, tarfile.REGTYPE, 0o644, time)
            info.size = len(text)
            out.addfile(info, io.BytesIO(text))
    yield sink.take()


def _members(data: Data) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of one package and their contents."""
    with data.path.open("rb") as stream:
        stream.seek(data.offset)
        try:
            with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:
                for info in archive:
                    if info.offset >= data.offset + data.size:
                        break
                    yield info, archive.extractfile(info) if info.isreg() else None
        except tarfile.TarError as error:
            raise InputError(f"{data.path}: damaged: {error}") from error


def _look(packages: Iterable[Data]) -> tuple[tuple[str, ...], int]:
    """The top folders that are links in merged /usr, and a time for what no package has."""
    found = set(_ALWAYS)
    time = 0
    for data in packages:
        for info, _ in _members(data):
            found.add(normal(info.name).partition("/")[0])
            time = max(time, int(info.mtime))
    return tuple(name for name in MERGED if name in found), time


def _entry(name: str, kind: bytes, mode: int, time: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, time
    info.uname = info.gname = "root"
    return info


def _frame(tops: Iterable[str], time: int) -> Iterator[tarfile.TarInfo]:
    """Links of merged /usr with the folders they lead to, and device nodes."""
    yield _entry("usr", tarfile.DIRTYPE, 0o755, time)
    for top in tops:
        yield _entry(f"usr/{top}", tarfile.DIRTYPE, 0o755, time)
        link = _entry(top, tarfile.SYMTYPE, 0o777, time)
        link.linkname = f"usr/{top}"
        yield link
    yield _entry("dev", tarfile.DIRTYPE, 0o755, time)
    for name, mode, major, minor in _DEVICES:
        device = _entry(f"dev/{name}", tarfile.CHRTYPE, mode, time)
        device.devmajor, device.devminor = major, minor
        yield device


def _moved(data: Data, seen: set[str]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of one package where they belong, without those that were *seen*."""
    for info, content in _members(data):
        path = normal(info.name)
        if path in MERGED:
            continue
        place = merged_path(path) if path else "."
        if place in seen:
            continue
        seen.add(place)
        info.name = place
        if info.islnk():
            info.linkname = merged_path(info.linkname)
        yield info, content
