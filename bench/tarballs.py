"""The inputs: the tarballs that are there or are made, and larger ones made of them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bench.cases import Base


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """What mmdebstrap makes a tarball of: a suite's minbase and *packages*.

    :param arch: None for the host's; for others mmdebstrap needs binfmt and qemu-user.
    """

    suite: str
    packages: str
    arch: str | None = None


ORIGINS: dict[Base, Origin] = {
    "minbase": Origin("trixie", "systemd-sysv,udev"),
    "complete": Origin(
        "trixie",
        "systemd-sysv,udev,linux-image-amd64,initramfs-tools,grub-efi-amd64-bin,"
        "grub-pc-bin,grub2-common,e2fsprogs,fdisk,zstd,systemd-resolved,dbus",
    ),
    "minbase-arm64": Origin("trixie", "systemd-sysv,udev", "arm64"),
    "minbase-ppc64el": Origin("bookworm", "systemd-sysv,udev", "ppc64el"),
}
#: Sizes of generated files: log-normal with this median and spread, which gives a mean of
#: about 30 kB, as a Debian system's /usr has.  Bounded, so that one file is not all of it.
MEDIAN_BYTES, SPREAD, LARGEST = 4096, 2.0, 64 << 20
FILES_IN_A_FOLDER = 200
#: Length of the material that files are cut from.
POOL = 96 << 20
#: Of generated files: 2025-01-01.
MTIME = 1735689600
_BLOCK = tarfile.BLOCKSIZE


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tarball:
    """A tarball: *path*, *packed* and *unpacked* bytes of the archive, *sha256* of the file."""

    path: Path
    packed: int
    unpacked: int
    sha256: str


def base_path(folder: Path, base: Base) -> Path:
    """Where a tarball lies that was there before, or is made."""
    return folder / f"{ORIGINS[base].suite}-{base}.tar.zst"


def make_base(path: Path, base: Base) -> None:
    """Make a tarball by mmdebstrap (as root, or in a user namespace).

    :raises subprocess.CalledProcessError: it fails.
    """
    origin = ORIGINS[base]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={origin.packages}",
            *([f"--arch={origin.arch}"] if origin.arch else []),
            origin.suite,
            str(unfinished),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    unfinished.replace(path)


def enlarge(source: Path, target: Path, extra: int, seed: str) -> None:
    """Write to *target* what *source* holds and about *extra* bytes of generated files.

    :param source: packed by zstd.
    :param seed: the same one gives the same files.
    """
    unfinished = target.with_name(f"unfinished-{target.name}")
    plain = target.with_name(f"{target.name}.plain")
    try:
        with plain.open("wb") as stream:
            subprocess.run(["zstd", "-dcq", str(source)], stdout=stream, check=True)
        # r+: what follows the last member is overwritten, as tar --append does it.
        with plain.open("r+b") as stream:
            stream.seek(end_of_members(plain))
            _add_files(stream, extra, random.Random(seed))
            stream.truncate()
        subprocess.run(
            ["zstd", "-q", "-3", "-T0", "-f", str(plain), "-o", str(unfinished)], check=True
        )
        unfinished.replace(target)
    finally:
        plain.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)


def end_of_members(path: Path) -> int:
    """Where, in bytes, a plain archive's last member ends and the end marker begins."""
    end = 0
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            size = member.size if member.isreg() or member.issparse() else 0
            end = member.offset_data + math.ceil(size / _BLOCK) * _BLOCK
    return end


def _add_files(stream: BinaryIO, extra: int, chance: random.Random) -> None:
    pool = material(chance, POOL if extra > POOL else max(extra, 1 << 16))
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for name, size in file_sizes(extra, chance):
            member = tarfile.TarInfo(name)
            member.mtime = MTIME
            if size is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
                continue
            member.size, member.mode = size, 0o644
            start = chance.randrange(max(1, len(pool) - size))
            archive.addfile(member, io.BytesIO(pool[start : start + size]))


def file_sizes(total: int, chance: random.Random) -> Iterator[tuple[str, int | None]]:
    """Names and sizes of files that come to *total* bytes; None for a folder."""
    yield "./opt/bench", None
    count = 0
    while total > 0:
        folder = f"./opt/bench/{count // FILES_IN_A_FOLDER:04d}"
        if count % FILES_IN_A_FOLDER == 0:
            yield folder, None
        size = int(chance.lognormvariate(math.log(MEDIAN_BYTES), SPREAD))
        size = min(size, total, LARGEST)
        yield f"{folder}/file-{count:06d}", size
        total -= max(size, 1)
        count += 1


def material(chance: random.Random, length: int) -> memoryview:
    """Bytes that files are cut from: half like text, half like programs.

    zstd packs it to less than half, as it does /usr.
    """
    words = [chance.randbytes(chance.randint(1, 6)).hex() for _ in range(4000)]
    text = bytearray()
    block = 1 << 16
    pieces: list[bytes] = []
    table = bytes((i * 7) % 61 if i % 4 else 0 for i in range(256))
    for number in range(math.ceil(length / block)):
        if number // 64 % 2:
            pieces.append(chance.randbytes(block).translate(table))
            continue
        text.clear()
        while len(text) < block:
            text += " ".join(chance.choices(words, k=2000)).encode() + b"\n"
        pieces.append(bytes(text[:block]))
    return memoryview(b"".join(pieces))[:length]


def describe(path: Path) -> Tarball:
    """Read a tarball packed by zstd.

    :raises OSError: it cannot be read.
    """
    unpacked = 0
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    with subprocess.Popen(["zstd", "-dcq", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(1 << 20):
            unpacked += len(piece)
    if process.returncode:
        raise OSError(f"{path} is damaged, or not packed by zstd")
    return Tarball(
        path=path, packed=path.stat().st_size, unpacked=unpacked, sha256=digest.hexdigest()
    )
