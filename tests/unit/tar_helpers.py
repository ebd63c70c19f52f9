"""Small rootfs tarballs, made in memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import zstandard

from selfinstall.rootfs.facts import Compression
from selfinstall.rootfs.inspect import Inspection, inspect

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
}

OS_RELEASE = """PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_CODENAME=trixie
ID=debian
"""


def elf_header(machine: int = 62, bits: int = 64, order: str = "<") -> bytes:
    """The header of a program; machine 62 is x86-64, 183 is AArch64, 40 is ARM."""
    ident = b"\x7fELF" + bytes((2 if bits == 64 else 1, 1 if order == "<" else 2, 1)) + bytes(9)
    word = "Q" if bits == 64 else "I"
    size = 64 if bits == 64 else 52
    rest = struct.pack(f"{order}HHI3{word}I6H", 3, machine, 1, 0, 0, 0, 0, size, 0, 0, 0, 0, 0)
    return ident + rest


def stanza(name: str, version: str = "1.0", arch: str = "amd64", state: str = "installed") -> str:
    return (
        f"Package: {name}\nStatus: install ok {state}\nPriority: required\n"
        f"Architecture: {arch}\nVersion: {version}\nDescription: made\n up\n .\n more\n\n"
    )


def member(
    path: str, content: bytes | str = b"", *, type: bytes = tarfile.REGTYPE, target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """One member: a file with *content* unless *type* says otherwise."""
    data = content.encode() if isinstance(content, str) else content
    info = tarfile.TarInfo(path)
    info.type = type
    info.linkname = target
    info.mode = 0o755
    info.size = len(data)
    return info, data


def symlink(path: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(path, type=tarfile.SYMTYPE, target=target)


def hardlink(path: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(path, type=tarfile.LNKTYPE, target=target)


def folder(path: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(path, type=tarfile.DIRTYPE)


Members = Iterable[tuple[tarfile.TarInfo, bytes]]


def tar(members: Members, format: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def rootfs(
    extra: Members = (),
    *,
    without: frozenset[str] | set[str] = frozenset(),
    status: str | None = None,
    program: bytes | None = None,
) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members of a very small Debian system; *extra* replaces and adds."""
    made = [
        folder("./"),
        symlink("./bin", "usr/bin"),
        symlink("./sbin", "usr/sbin"),
        symlink("./lib", "usr/lib"),
        folder("./etc"),
        symlink("./etc/os-release", "../usr/lib/os-release"),
        member("./etc/debian_version", "13.1\n"),
        member("./etc/hostname", "box\n"),
        member("./etc/apt/sources.list", "deb http://deb.example.org/debian trixie main\n"),
        member("./usr/lib/os-release", OS_RELEASE),
        member("./usr/bin/dpkg", elf_header() if program is None else program),
        member("./usr/lib/systemd/systemd", elf_header()),
        symlink("./usr/sbin/init", "../lib/systemd/systemd"),
        member("./var/lib/dpkg/status", stanza("dpkg", "1.22") if status is None else status),
    ]
    extra = list(extra)
    replaced = {info.name for info, _ in extra} | set(without)
    return [entry for entry in made if entry[0].name not in replaced] + extra


def inspect_bytes(data: bytes, tmp_path: Path, *, spool: bool = False) -> Inspection:
    """Inspect *data* as a file named without any suffix."""
    path = tmp_path / "rootfs"
    path.write_bytes(data)
    return inspect(path, spool=tmp_path / "spool" if spool else None)
