"""Tarballs made by hand to cost more than they should, or to reach where they must not.

Each can be made small for the unit tests and large for ``python3 -m tests.fuzz --hostile``.
"""

from __future__ import annotations

import dataclasses
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from selfinstall.errors import SelfinstallError
from selfinstall.packages.target import architectures
from selfinstall.rootfs.facts import Compression
from selfinstall.rootfs.inspect import inspect
from tests.fuzz.mutate import checksummed
from tests.fuzz.targets import tars

MIB = 1 << 20
END = bytes(1024)
#: What an outcome begins with when the tarball is taken.
TAKEN = "taken"
Chunks = Iterator[bytes]


@dataclasses.dataclass(frozen=True)
class Case:
    """A tarball.

    :param make: its bytes, when it is to be of full size times a number from 0 to 1.
    :param outcome: what must come of it: TAKEN, or words of the error.
    :param small: the same for a small one; None when it is the same.
    """

    make: Callable[[float], Chunks]
    outcome: str = TAKEN
    small: str | None = None

    def wanted(self, scale: float) -> str:
        """What must come of it when it is so large."""
        return self.outcome if scale == 1 or self.small is None else self.small


def header(name: str, type: bytes = tarfile.REGTYPE, size: int = 0, target: str = "") -> bytes:
    info, _ = tars.member(name, type=type, target=target)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def content(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def system(**changes: object) -> bytes:
    """The members of a small system, without the archive's end."""
    data = b""
    for info, more in tars.rootfs(**changes):  # type: ignore[arg-type]
        data += info.tobuf(tarfile.GNU_FORMAT) + content(more)
    return data


def bomb(compression: Compression, scale: float) -> Chunks:
    """4 GiB of zeros."""
    pack = tars.COMPRESS[compression]
    piece, count = 16 * MIB, max(1, int(256 * scale))
    packed = pack(bytes(piece))
    yield pack(system() + header("./zeros", size=piece * count))
    for _ in range(count):
        yield packed
    yield pack(END)


def many(scale: float, one: Callable[[int], bytes], count: int = 1_000_000) -> Chunks:
    yield system()
    for start in range(0, int(count * scale), 1000):
        yield b"".join(map(one, range(start, start + 1000)))
    yield END


def status(scale: float, size: int, line: bytes, head: bytes = b"") -> Chunks:
    """A dpkg database of *size* bytes."""
    count = int(size * scale) // len(line)
    first = tars.stanza("dpkg", "1.22").encode() + head
    yield system(without={"./var/lib/dpkg/status"})
    yield header("./var/lib/dpkg/status", size=len(first) + count * len(line))
    data = first
    for _ in range(0, count, 10_000):
        data += line * min(10_000, count)
        count -= 10_000
        yield data[: len(data) // 512 * 512]
        data = data[len(data) // 512 * 512 :]
    yield content(data)
    yield END


def extended(scale: float, type: bytes, size: int, count: int) -> Chunks:
    """Headers of *size* bytes, *count* of them, before one member."""
    yield system()
    for number in range(max(20, int(count * scale))):
        record = b"%d k%09d=" % (size, number)
        yield header("x", type, size) + content(record.ljust(size - 1, b"v") + b"\n")
    yield header("./file") + END


def records(scale: float) -> Chunks:
    """One pax header of a million records."""
    lines = b"".join(b"15 k%08x=v\n" % number for number in range(int(1_000_000 * scale)))
    yield system() + header("x", b"x", len(lines)) + content(lines) + header("./f") + END


def sparse(name: str, size: int) -> Chunks:
    """A file of which all is hole."""
    block = bytearray(header(name, size=0))
    block[156:157] = b"S"
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    yield system() + checksummed(bytes(block)) + END


def one(*parts: bytes) -> Callable[[float], Chunks]:
    return lambda scale: iter((system(), *parts, END))


def long_name(path: bytes) -> bytes:
    return header("x", b"L", len(path)) + content(path) + header("./x")


def negative() -> bytes:
    block = bytearray(header("./x"))
    block[124:136] = b"\xff" * 12
    return checksummed(bytes(block))


_LINKS = [header(f"./usr/lib/l{n}", tarfile.SYMTYPE, target=f"l{n + 1}") for n in range(99)]
CASES: dict[str, Case] = {
    **{
        f"4 GiB of zeros by {name}": Case(lambda scale, name=name: bomb(name, scale))  # type: ignore[misc]
        for name in ("gzip", "xz", "zstd", "bzip2")
    },
    "a sparse file of 100 GB": Case(lambda scale: sparse("./srv/x", 100 * 10**9)),
    "a sparse kernel of 100 GB": Case(lambda scale: sparse("./boot/vmlinuz-6.1", 100 * 10**9)),
    "a sparse dpkg database": Case(
        lambda scale: sparse("./var/lib/dpkg/status", 100 * 10**9), "the dpkg database in"
    ),
    "a million tiny files": Case(
        lambda s: many(s, lambda n: header(f"./srv/{n}", size=1) + content(b"x"))
    ),
    "a million files in /etc": Case(
        lambda s: many(s, lambda n: header(f"./etc/{n:030}")), "spool holds too many files", TAKEN
    ),
    "a million symbolic links": Case(
        lambda s: many(s, lambda n: header(f"./l{n:030}", tarfile.SYMTYPE, target="x" * 90)),
        "spool holds too many files",
        TAKEN,
    ),
    "a million hard links": Case(
        lambda s: many(s, lambda n: header(f"./etc/{n:030}", tarfile.LNKTYPE, target="./srv/x")),
        "spool holds too many files",
        TAKEN,
    ),
    "a name a million times": Case(lambda s: many(s, lambda n: header("./etc/x"), 400_000)),
    "a line of 300 MB in status": Case(
        lambda s: status(s, 300 * 10**6, b"x" * 1000), "the dpkg database", TAKEN
    ),
    "a line of 60 MB in status": Case(
        lambda s: status(s, 60 * 10**6, b"x" * 1000, b"Package: "), "a line of", TAKEN
    ),
    "millions of packages": Case(
        lambda s: status(s, 60 * 10**6, b"Package:x\nStatus: a b unpacked\n\n"),
        "the dpkg database lists too many",
        TAKEN,
    ),
    "a value of 60 MB of lines": Case(
        lambda s: status(s, 60 * 10**6, b" a\n", b"Package: x\nVersion: 1\n"), "a field of"
    ),
    "a path of 8,000 folders": Case(one(long_name(b"./" + b"d/" * 8000))),
    "a path of 20,000 folders": Case(one(long_name(b"./" + b"d/" * 20000)), "a path of"),
    "a path that climbs": Case(one(header("./../../etc/passwd")), "which climbs out"),
    "a hard link that climbs": Case(
        one(header("./x", tarfile.LNKTYPE, target="../../etc/shadow")), "which climbs out"
    ),
    "absolute names": Case(one(header("/etc/passwd", size=1), content(b"x"))),
    "links in circles": Case(
        one(
            header("./usr/lib/a", tarfile.SYMTYPE, target="b"),
            header("./usr/lib/b", tarfile.SYMTYPE, target="a"),
            header("./usr/lib/up", tarfile.SYMTYPE, target="../" * 33),
            *_LINKS,
        )
    ),
    "device nodes": Case(
        one(*(header(f"./dev/x{t!r}", t) for t in (tarfile.CHRTYPE, tarfile.BLKTYPE, b"6")))
    ),
    "a negative size": Case(one(negative()), "a number in a header is out of range"),
    "a size of 8 GB and no data": Case(one(header("./x", size=8 << 30)), "is truncated"),
    "a pax header of 1 GB": Case(one(header("x", b"x", 1 << 30)), "a pax header of"),
    "a thousand pax headers of 1 MB": Case(
        lambda s: extended(s, b"x", MIB, 1000), "more headers than makes sense"
    ),
    "a thousand global headers of 1 MB": Case(
        lambda s: extended(s, b"g", MIB, 1000), "its global pax headers are beyond all sense"
    ),
    "a million pax records": Case(records, "more records than any file"),
}


def outcome(path: Path, folder: Path) -> str:
    """What comes of the tarball at *path*: TAKEN, or the error's message."""
    spool = folder / "spool"
    try:
        found = inspect(path, spool=spool)
        architectures(found.facts.architecture, found.dpkg_status)
    except SelfinstallError as error:
        return error.message
    finally:
        spool.unlink(missing_ok=True)
    return f"{TAKEN}: {found.facts.members} members, {found.facts.content_bytes} bytes"


def measured(case: Case, scale: float, folder: Path) -> tuple[str, float, int]:
    """Outcome, seconds of CPU, and peak memory (bytes) of this process."""
    path = folder / "rootfs"
    with path.open("wb") as stream:
        for chunk in case.make(scale):
            stream.write(chunk)
    began = time.process_time()
    told = outcome(path, folder)
    path.unlink()
    return told, time.process_time() - began, 1024 * getrusage(RUSAGE_SELF).ru_maxrss
