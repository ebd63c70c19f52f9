"""newc cpio archives (the kernel's ``buffer-format.rst``), the same bytes for the same entries.

Owners are root, device numbers 0, inode numbers count entries, names are sorted:
nothing of the host that writes gets in.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Literal

from selfinstall.errors import InputError

Kind = Literal["dir", "file", "symlink", "char"]

#: The size field has 32 bits.
MAXIMUM_SIZE = (1 << 32) - 1
#: The kernel skips entries whose name, with its NUL, is longer (PATH_MAX).
MAXIMUM_NAME = 4095
TRAILER = "TRAILER!!!"
BLOCK = 512
CHUNK = 1 << 20
#: Not more in one system call, so that a signal does not wait for gigabytes.
KERNEL_CHUNK = 64 << 20
#: What copy_file_range(2) says when these two files need read and write.
NO_KERNEL_COPY = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)

_TYPES: dict[Kind, int] = {
    "dir": stat.S_IFDIR,
    "file": stat.S_IFREG,
    "symlink": stat.S_IFLNK,
    "char": stat.S_IFCHR,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """*size* bytes of a file on the host, from *offset* on."""

    path: Path
    offset: int
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CpioEntry:
    """One file of an archive.  :func:`directory` and its companions make them.

    :param path: without leading slash.
    :param mode: permission bits.
    :param mtime: seconds since 1970.
    :param content: of a regular file.
    :param target: of a symbolic link.
    :param device: major and minor number of a character device.
    :raises ValueError: when the format or the kernel has no room for it.
    """

    path: str
    kind: Kind
    mode: int
    mtime: int = 0
    content: bytes | Region = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        name = os.fsencode(self.path)
        if b"\0" in name or not 0 < len(name) <= MAXIMUM_NAME or self.path == TRAILER:
            raise ValueError(f"no possible name in a cpio archive: {self.path!r}")
        if any(part in ("", ".", "..") for part in self.path.split("/")):
            raise ValueError(f"not a plain relative path: {self.path!r}")
        if not 0 <= self.mode <= 0o7777:
            raise ValueError(f"{self.path}: impossible mode {self.mode:#o}")
        if not 0 <= self.mtime < 1 << 32:
            raise ValueError(f"{self.path}: newc cannot hold the time {self.mtime}")
        if not 0 <= self.size <= MAXIMUM_SIZE:
            raise ValueError(f"{self.path}: newc holds files below 4 GiB, not {self.size} bytes")

    @property
    def size(self) -> int:
        """Bytes of content; for a symbolic link those of its target."""
        if self.kind == "symlink":
            return len(os.fsencode(self.target))
        return self.content.size if isinstance(self.content, Region) else len(self.content)


def directory(path: str, mode: int = 0o755, *, mtime: int = 0) -> CpioEntry:
    """A directory."""
    return CpioEntry(path=path, kind="dir", mode=mode, mtime=mtime)


def regular(path: str, content: bytes | Region, mode: int = 0o644, *, mtime: int = 0) -> CpioEntry:
    """A regular file."""
    return CpioEntry(path=path, kind="file", mode=mode, mtime=mtime, content=content)


def symlink(path: str, target: str, *, mtime: int = 0) -> CpioEntry:
    """A symbolic link."""
    return CpioEntry(path=path, kind="symlink", mode=0o777, mtime=mtime, target=target)


def char_device(path: str, major: int, minor: int, mode: int, *, mtime: int = 0) -> CpioEntry:
    """A character device node."""
    return CpioEntry(path=path, kind="char", mode=mode, mtime=mtime, device=(major, minor))


def complete(entries: Iterable[CpioEntry]) -> tuple[CpioEntry, ...]:
    """The entries sorted by name, with the directories that they need.

    :raises ValueError: two entries with one name that differ, or a parent that is no directory.
    """
    by_path: dict[str, CpioEntry] = {}
    for entry in entries:
        if by_path.setdefault(entry.path, entry) != entry:
            raise ValueError(f"two different entries are called {entry.path}")
    for entry in list(by_path.values()):
        for parent in _parents(entry.path):
            found = by_path.setdefault(parent, directory(parent, mtime=entry.mtime))
            if found.kind != "dir":
                raise ValueError(f"{entry.path} lies in {parent}, which is no directory")
    # By bytes, a folder sorts before what is in it.
    return tuple(sorted(by_path.values(), key=lambda entry: os.fsencode(entry.path)))


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def archive_size(entries: Iterable[CpioEntry]) -> int:
    """How many bytes :func:`write_cpio` writes for them."""
    names = [(len(os.fsencode(e.path)), e.size) for e in complete(entries)]
    total = sum(_up(110 + name + 1, 4) + _up(size, 4) for name, size in [*names, (10, 0)])
    return _up(total, BLOCK)


def write_cpio(stream: BinaryIO, entries: Iterable[CpioEntry]) -> int:
    """Write an archive at the stream's start; returns its size in bytes.

    :raises InputError: a region's file is shorter than the region.
    :raises ValueError: see :func:`complete`.
    """
    position = 0
    for inode, entry in enumerate(complete(entries), start=1):
        position += _write_entry(stream, entry, inode)
    position += stream.write(_header(TRAILER, mode=0, inode=0, links=1))
    return position + stream.write(b"\0" * (_up(position, BLOCK) - position))


def _write_entry(stream: BinaryIO, entry: CpioEntry, inode: int) -> int:
    header = _header(
        entry.path,
        mode=_TYPES[entry.kind] | entry.mode,
        inode=inode,
        links=2 if entry.kind == "dir" else 1,
        mtime=entry.mtime,
        size=entry.size,
        device=entry.device,
    )
    stream.write(header)
    if entry.kind == "symlink":
        stream.write(os.fsencode(entry.target))
    elif isinstance(entry.content, Region):
        _copy(entry.content, stream)
    else:
        stream.write(entry.content)
    padding = _up(entry.size, 4) - entry.size
    stream.write(b"\0" * padding)
    return len(header) + entry.size + padding


def _header(
    path: str,
    *,
    mode: int,
    inode: int,
    links: int,
    mtime: int = 0,
    size: int = 0,
    device: tuple[int, int] = (0, 0),
) -> bytes:
    name = os.fsencode(path) + b"\0"
    owner = checksum = device_of_file = 0
    fields = (
        *(inode, mode, owner, owner, links, mtime, size),
        *(device_of_file, device_of_file, *device, len(name), checksum),
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return header + b"\0" * (_up(len(header), 4) - len(header))


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _copy(region: Region, stream: BinaryIO) -> None:
    with region.path.open("rb", buffering=0) as source:
        done = _copy_in_kernel(source.fileno(), region, stream)
        source.seek(region.offset + done)
        while done < region.size:
            chunk = source.read(min(CHUNK, region.size - done))
            if not chunk:
                raise InputError(f"{region.path} ends {region.size - done} bytes too early")
            done += stream.write(chunk)


def _copy_in_kernel(source: int, region: Region, stream: BinaryIO) -> int:
    """Copy what the kernel copies by itself; returns how many bytes that were."""
    try:
        target = stream.fileno()
    except OSError:  # a stream in memory
        return 0
    stream.flush()
    start = stream.tell()
    done = 0
    while done < region.size:
        count = min(KERNEL_CHUNK, region.size - done)
        try:
            step = os.copy_file_range(source, target, count, region.offset + done, start + done)
        except OSError as error:
            if error.errno not in NO_KERNEL_COPY:
                raise
            break
        if step == 0:
            break
        done += step
    stream.seek(start + done)
    return done


def listing(entries: Iterable[CpioEntry]) -> str:
    """One line an entry, for people and golden files: mode, size or device, path, ``->`` target."""
    return "".join(f"{_line(entry)}\n" for entry in complete(entries))


def _line(entry: CpioEntry) -> str:
    mode = stat.filemode(_TYPES[entry.kind] | entry.mode)
    size = "{},{}".format(*entry.device) if entry.kind == "char" else str(entry.size)
    arrow = f" -> {_printable(entry.target)}" if entry.kind == "symlink" else ""
    return f"{mode} {size:>10} {_printable(entry.path)}{arrow}"


def _printable(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")
