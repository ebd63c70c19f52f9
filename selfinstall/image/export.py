"""Kernel and initramfs of an image without a boot loader: copied out, to lie beside it.

They are read by the host's debugfs, which needs neither root nor a mount.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from selfinstall.errors import HostError, InputError
from selfinstall.host import require_program
from selfinstall.image.ext4 import read_superblock
from selfinstall.image.seal import unfinished
from selfinstall.image.tools import checked, run
from selfinstall.initramfs import zboot
from selfinstall.initramfs.modules import version_key
from selfinstall.packages.cache import sha256_of

#: Bytes of a kernel or initramfs; the images are not trusted, and a sparse file may be huge.
LARGEST = 1 << 30
#: In the output of debugfs's ``stat``.
_LINK = re.compile(r'^Fast link dest: "(.*)"$', re.MULTILINE)
_KERNEL = re.compile(r"vmlinu[xz]-([A-Za-z0-9.+~_-]+)")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What qemu's ``-kernel``, ``-initrd`` and ``-append`` get.

    :param kernel: a file.
    :param initrd: a file.
    :param arguments: the kernel's command line.
    :param version: the kernel's, None for files that were found.
    """

    kernel: Path
    initrd: Path
    arguments: str
    version: str | None = None


def command_line(root_uuid: str, arguments: Iterable[str]) -> str:
    """The kernel's command line for the root file system of that UUID."""
    return " ".join((f"root=UUID={root_uuid}", "ro", *arguments))


def names(image: Path) -> tuple[Path, Path, Path]:
    """Where kernel, initramfs and command line of *image* lie: its name and a suffix."""
    kernel, initrd, arguments = (
        image.with_name(f"{image.name}.{suffix}") for suffix in ("kernel", "initrd", "cmdline")
    )
    return kernel, initrd, arguments


def arguments_beside(image: Path) -> str | None:
    """The command line that lies beside *image*, None when there is none."""
    path = names(image)[2]
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else None


def beside(image: Path) -> Exported | None:
    """What lies beside *image*, None when something of it is missing."""
    kernel, initrd, _ = names(image)
    arguments = arguments_beside(image)
    if arguments is None or not (kernel.is_file() and initrd.is_file()):
        return None
    return Exported(kernel=kernel, initrd=initrd, arguments=arguments)


def starts_systemd(disk: Path, root_start: int, folder: Path) -> bool:
    """Whether ``/sbin/init`` in the root file system of a raw *disk* is systemd.

    :param root_start: where the root file system begins, bytes.
    :param folder: a private one, for scratch.
    :raises HostError: debugfs is missing or fails.
    """
    with _opened(disk, root_start, folder) as source:
        return source.link("/sbin/init").rpartition("/")[2] == "systemd"


def export(disk: Path, root_start: int, arguments: str, folder: Path) -> Exported:
    """Copy the newest kernel that has an initramfs out of a raw *disk* into *folder*.

    :param root_start: where the root file system begins, bytes.
    :raises InputError: there is no kernel with an initramfs, or the file system was not
        unmounted cleanly and may show an older one.
    :raises HostError: debugfs is missing or fails.
    """
    if not read_superblock(disk, root_start).clean:
        raise InputError(
            "the image's root file system was not unmounted cleanly; what was written last is "
            "in its journal only",
            "run it once more (selfinstall boot --write) and power it off from inside",
        )
    with _opened(disk, root_start, folder) as source:
        files = source.list("/boot")
        found = [
            (version_key(match[1]), match[1], name)
            for name in files
            if (match := _KERNEL.fullmatch(name)) and f"initrd.img-{match[1]}" in files
        ]
        if not found:
            raise InputError("the image has no kernel with an initramfs in /boot")
        _, version, name = max(found)
        kernel = source.copy(f"/boot/{name}", "kernel")
        initrd = source.copy(f"/boot/initrd.img-{version}", "initrd")
    packed = kernel.read_bytes()
    if (unpacked := zboot.unpacked(packed, name)) is not packed:
        kernel.write_bytes(unpacked)
    return Exported(kernel=kernel, initrd=initrd, arguments=arguments, version=version)


def publish(exported: Exported, image: Path, *, private: bool = False) -> Exported:
    """Put what was exported beside *image*, each file at once or not at all.

    :param private: nobody but the owner may read them.
    :raises HostError: there is no room, or the folder cannot be written.
    """
    kernel, initrd, arguments = names(image)
    try:
        _place(exported.kernel, kernel, private)
        _place(exported.initrd, initrd, private)
        text = exported.kernel.with_name("cmdline")
        text.write_text(exported.arguments + "\n", encoding="utf-8")
        _place(text, arguments, private)
    except OSError as error:
        raise HostError(f"cannot write {kernel}: {error.strerror}") from error
    return dataclasses.replace(exported, kernel=kernel, initrd=initrd)


def described(exported: Exported) -> dict[str, str | None]:
    """What a manifest says of published files."""
    return {
        "kernel": str(exported.kernel),
        "kernel_sha256": sha256_of(exported.kernel),
        "initrd": str(exported.initrd),
        "initrd_sha256": sha256_of(exported.initrd),
        "arguments": exported.arguments,
        "version": exported.version,
    }


def _place(source: Path, target: Path, private: bool) -> None:
    with unfinished(target, private=private) as part:
        shutil.copyfile(source, part)
        part.replace(target)


@contextlib.contextmanager
def _opened(disk: Path, root_start: int, folder: Path) -> Iterator[_Root]:
    """The root file system that begins at byte *root_start*; *folder* takes what is copied."""
    # A name without characters that mean something to debugfs.
    link = folder / "disk"
    link.symlink_to(disk.absolute())
    try:
        yield _Root(f"{link.name}?offset={root_start}", folder)
    finally:
        link.unlink()


class _Root:
    """The root file system, as debugfs(8) shows it."""

    def __init__(self, device: str, folder: Path) -> None:
        self._program = require_program("debugfs", "e2fsprogs")
        self._device = device
        self._folder = folder

    def list(self, path: str) -> frozenset[str]:
        """Names of ordinary files of a sane size in the folder *path*."""
        # "/INODE/MODE/UID/GID/NAME/SIZE/"
        rows = (line.split("/") for line in self._run(f"ls -p {path}").splitlines())
        return frozenset(
            row[5]
            for row in rows
            if len(row) == 8 and row[2].startswith("100") and 0 < int(row[6] or 0) <= LARGEST
        )

    def link(self, path: str) -> str:
        """Where the symbolic link *path* leads; empty when it is none."""
        found = _LINK.search(self._run(f"stat {path}"))
        return found[1] if found else ""

    def copy(self, path: str, name: str) -> Path:
        """Copy a file; debugfs's exit status tells nothing, so the file must be there after."""
        target = self._folder / name
        self._run(f"dump {path} {name}")
        if not target.is_file() or target.stat().st_size == 0:
            raise HostError(f"debugfs could not copy {path} out of the image")
        return target

    def _run(self, request: str) -> str:
        words = ("-R", request, self._device)
        return checked(
            run(self._program, *words, folder=self._folder, variables={"DEBUGFS_PAGER": "cat"})
        )
