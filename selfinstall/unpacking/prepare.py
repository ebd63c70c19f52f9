"""From fetched packages to what the guest needs to unpack and configure them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from selfinstall.errors import HostError, InputError
from selfinstall.ext4.owners import NOBODY, Owners, owners_of
from selfinstall.host import NO_ROOM
from selfinstall.initramfs.assemble import ExtraFile
from selfinstall.packages.resolution import Fetched, Step
from selfinstall.unpacking import contents, write
from selfinstall.unpacking.base import digests
from selfinstall.unpacking.rounds import Arranged, Round, arrange, by_dpkg
from selfinstall.unpacking.view import scan

#: Where dpkg logs by default, and the lines of its log that tell of unpacking.
LOG = "var/log/dpkg.log"
_LOG_LINES = "{0} install {1} <none> {2}\n{0} status half-installed {1} {2}\n"
_LOG_LINES += "{0} status unpacked {1} {2}\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What the guest gets.

    :param arranged: its steps and why.
    :param files: for the initramfs.
    :param owners: numbers of the rootfs's users and groups.
    """

    arranged: Arranged
    files: tuple[ExtraFile, ...] = ()
    owners: Owners = NOBODY


def prepare(
    steps: Sequence[Step],
    fetched: Sequence[Fetched],
    *,
    spool: Path,
    spool_size: int,
    status: bytes,
    out: Path,
    epoch: int | None,
    early: Path | None = None,
    in_guest: bool = False,
) -> Prepared:
    """Arrange the unpacking, and write the archives for it one after the other.

    :param steps: apt's.
    :param fetched: all packages in them.
    :param spool: the rootfs as an uncompressed archive.
    :param spool_size: its size, bytes.
    :param status: the rootfs's dpkg status file.
    :param out: the file to write; the .debs for the guest's dpkg come first, if there are any.
    :param epoch: seconds since 1970 for files that dpkg would write now; None for now.
    :param early: the file to write with what is put into the root before the guest begins,
        nothing in it if there is no such thing; None to leave that to the guest too.
    :param in_guest: leave all of it to the guest's dpkg.
    :raises InputError: a .deb is damaged.
    :raises HostError: the disk is full.
    """
    owners = NOBODY
    if in_guest:
        arranged = by_dpkg(steps, "asked to")
    else:
        packages = {f.package.filename: contents.read(f) for f in fetched}
        paths = (item.path for package in packages.values() for item in package.items)
        first = (name for step in steps if step.action == "base" for name in step.packages)
        hashes = {packages[name].name: digests(packages[name]) for name in first}
        rootfs = scan(spool, spool_size, paths)
        owners = owners_of(rootfs.files)
        arranged = arrange(steps, packages, rootfs, status, hashes=hashes, early=early is not None)
    now = int(time.time()) if epoch is None else epoch
    debs = [f for f in fetched if f.package.filename in arranged.left]
    with _writing(out) as stream:
        if debs:
            write.write_debs(stream, debs)
        for made in arranged.rounds:
            if not made.early:
                write.write_rounds(stream, [made], now)
    if early is not None:
        with _writing(early) as stream:
            if any(made.early for made in arranged.rounds):
                write.write_rounds(stream, (made for made in arranged.rounds if made.early), now)
    return Prepared(arranged, tuple(_files(arranged.rounds, now)), owners)


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[BinaryIO]:
    try:
        with out.open("wb", buffering=1 << 20) as stream:
            yield stream
    except EOFError as error:
        raise InputError(f"a package changed while it was read: {error}") from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise HostError(f"{out} cannot be written: {error.strerror}") from error
        raise HostError(
            f"no room in {out.parent} for the packages",
            "make room there, or set TMPDIR to a folder that has it",
        ) from error


def _files(rounds: Sequence[Round], now: int) -> Iterator[ExtraFile]:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
    for number, made in enumerate(rounds, 1):
        packages = [placed.contents.fetched.package for placed in made.packages]
        log = "".join(
            _LOG_LINES.format(stamp, f"{p.name}:{p.architecture}", p.version) for p in packages
        )
        for path, lines in {**made.added, LOG: log}.items():
            content = lines.encode("utf-8", "surrogateescape")
            yield ExtraFile(f"selfinstall/unpacked/{number}/{path}", 0o644, content)
        for place, package in enumerate(made.preinsts):
            folder = f"selfinstall/preinst/{number}/{place}"
            for name, mode, content in write.preinst_files(package):
                yield ExtraFile(f"{folder}/{name}", mode, content)
