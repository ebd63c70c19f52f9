"""The root file system from nothing: made by mke2fs, filled from an archive, seen by e2fsck."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from selfinstall.errors import HostError, InputError
from selfinstall.events import Event, OnEvent
from selfinstall.ext4 import inode
from selfinstall.ext4.data import Data
from selfinstall.ext4.inode import Stamp
from selfinstall.ext4.library import FileSystem, Full, check_library
from selfinstall.ext4.owners import NOBODY, Owners
from selfinstall.ext4.writer import Writer
from selfinstall.host import NO_ROOM, require_program, room_in
from selfinstall.image.tools import checked, run
from selfinstall.rootfs.headers import TarDamageError
from selfinstall.rootfs.members import Members
from selfinstall.rootfs.readers import RegionReader

STEP = "unpack"
#: In place of the host's mke2fs.conf(5): what Debian 12's says, as kernels and GRUBs
#: of all releases since Debian 10 know it.
_CONFIGURATION = """\
[defaults]
\tbase_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
\tdefault_mntopts = acl,user_xattr
\tenable_periodic_fsck = 0
[fs_types]
\text4 = {
\t\tfeatures = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
\t}
"""
#: MiB; what mke2fs chooses for 10 GiB, as room for descriptors of 4 TiB in blocks is.
_JOURNAL, _RESIZE = 64, 1 << 30
#: Bytes of the archive between two progress events.
_STRIDE = 8 << 20
#: e2fsck(8): nothing wrong; errors corrected, as which it counts the folders that it indexes.
_SOUND = (0, 1)
_MAKE_ROOM = "free some space there, or choose another folder (-o, TMPDIR)"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An uncompressed tar archive.

    :param size: bytes of the file that are the archive.
    :param name: what messages call it.
    :param owners: whose names count before owners' numbers.
    """

    path: Path
    size: int
    name: str
    owners: Owners = NOBODY


def require_tools() -> None:
    """:raises HostError: mke2fs, e2fsck or libext2fs is missing."""
    require_program("mke2fs", "e2fsprogs")
    require_program("e2fsck", "e2fsprogs")
    check_library()


def make_root(
    disk: Path,
    offset: int,
    blocks: int,
    *,
    uuid: str,
    hash_seed: str,
    epoch: int | None,
    archives: Sequence[Archive],
    work: Path,
    on_event: OnEvent,
) -> None:
    """Make the file system and put the members of archives into it.

    :param disk: the raw disk, which reads as zeros where the file system is to be.
    :param offset: where that is, bytes.
    :param blocks: its size, blocks of 4096 bytes.
    :param uuid: its UUID.
    :param hash_seed: a UUID, from which the order of names in large folders comes.
    :param epoch: seconds since 1970, at which all files are made; None for now.
    :param archives: the rootfs, and what belongs on top of it.
    :param work: a folder for temporary files.
    :raises InputError: the archive holds what no file system can.
    :raises HostError: a program is missing or fails, or the disk is full.
    """
    now = int(time.time()) if epoch is None else epoch
    # Zero stands for no such time; e2fsck has a variable of its own.
    names = ("E2FSPROGS_FAKE_TIME", "E2FSCK_TIME")
    variables = dict.fromkeys(names, str(epoch)) if epoch else {}
    with room_in(disk.parent, _MAKE_ROOM):
        _mke2fs(disk, offset, blocks, uuid, hash_seed, work, variables)
        _fill(disk, offset, archives, Stamp(now * 10**9), on_event)
        _e2fsck(disk, offset, variables)


def _mke2fs(
    disk: Path,
    offset: int,
    blocks: int,
    uuid: str,
    hash_seed: str,
    work: Path,
    variables: dict[str, str],
) -> None:
    configuration = work / "mke2fs.conf"
    configuration.write_text(_CONFIGURATION)
    # The disk is new and reads as zeros: the journal's need not be written, and those
    # of the inode tables become holes.
    options = (
        f"offset={offset}", f"hash_seed={hash_seed}", f"resize={_RESIZE}", "nodiscard",
        "lazy_itable_init=0", "lazy_journal_init=1",
    )  # fmt: skip
    done = run(
        require_program("mke2fs", "e2fsprogs"),
        "-q", "-F", "-t", "ext4", "-b", str(inode.BLOCK), "-i", "16384", "-I", str(inode.SIZE),
        "-J", f"size={_JOURNAL}", "-U", uuid,
        "-E", ",".join(options), str(disk), str(blocks),
        variables={"MKE2FS_CONFIG": str(configuration), **variables},
    )  # fmt: skip
    configuration.unlink()
    _checked(done)


def _checked(done: subprocess.CompletedProcess[str]) -> None:
    """Let the end of a program count, a full disk as what it is."""
    try:
        checked(done)
    except HostError as error:
        for number in NO_ROOM:
            if os.strerror(number) in error.message:
                raise OSError(errno.ENOSPC, error.message) from None
        raise


def _fill(
    disk: Path, offset: int, archives: Sequence[Archive], made: Stamp, on_event: OnEvent
) -> None:
    with disk.open("r+b", buffering=0) as target, contextlib.ExitStack() as closing:
        fs = FileSystem(disk, offset)
        closing.callback(fs.close)
        writer = Writer(fs, Data(fs, target.fileno(), offset), made)
        progress = _Progress(sum(archive.size for archive in archives), on_event)
        try:
            for archive in archives:
                _add(writer, archive, progress)
            writer.finish()
        except Full:
            raise HostError(
                f"{archives[0].name} does not fit into the root file system", "give a larger --size"
            ) from None
        progress.end()


def _add(writer: Writer, archive: Archive, progress: _Progress) -> None:
    with archive.path.open("rb") as source:
        writer.begin(source.fileno(), archive.owners)
        try:
            for member in Members(RegionReader(source, 0, archive.size), archive.name):
                writer.add(member)
                progress.at(member.offset)
        except TarDamageError as error:
            raise InputError(f"{archive.name} cannot be unpacked: {error}") from None
        except EOFError:
            raise HostError(f"{archive.path} has become shorter meanwhile") from None
    progress.passed(archive.size)


class _Progress:
    """Tells how far the archives have been read.

    :param total: bytes of all of them.
    """

    def __init__(self, total: int, on_event: OnEvent) -> None:
        self._total = total
        self._on_event = on_event
        self._before = 0
        self._told = 0

    def at(self, place: int) -> None:
        """Byte *place* of the present archive is reached."""
        if self._before + place - self._told >= _STRIDE:
            self._tell(self._before + place)

    def passed(self, size: int) -> None:
        """An archive of *size* bytes ends."""
        self._before += size

    def end(self) -> None:
        """All is done."""
        self._tell(self._total)

    def _tell(self, done: int) -> None:
        self._told = done
        self._on_event(Event("progress", STEP, done=done, total=self._total, unit="bytes"))


def _e2fsck(disk: Path, offset: int, variables: dict[str, str]) -> None:
    """Index large folders, and see that all is as it should be."""
    done = run(
        require_program("e2fsck", "e2fsprogs"), "-f", "-y", "-D", f"{disk}?offset={offset}",
        variables=variables,
    )  # fmt: skip
    if done.returncode not in _SOUND:
        _checked(done)
