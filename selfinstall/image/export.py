"""Kernel and initramfs of an image without a boot loader: copied out, to lie beside it.

They are read by the host's debugfs, which needs neither root nor a mount.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

from selfinstall.errors import HostError, InputError
from selfinstall.host import require_program
from selfinstall.initramfs.modules import version_key

_KERNEL = re.compile(r"vmlinu[xz]-([A-Za-z0-9.+~_-]+)")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What qemu's ``-kernel``, ``-initrd`` and ``-append`` get.

    :param kernel: a file.
    :param initrd: a file.
    :param arguments: the kernel's command line.
    """

    kernel: Path
    initrd: Path
    arguments: str


def names(image: Path) -> tuple[Path, Path, Path]:
    """Where kernel, initramfs and command line of *image* lie: its name and a suffix."""
    kernel, initrd, arguments = (
        image.with_name(f"{image.name}.{suffix}") for suffix in ("kernel", "initrd", "cmdline")
    )
    return kernel, initrd, arguments


def beside(image: Path) -> Exported | None:
    """What lies beside *image*, None when something of it is missing."""
    kernel, initrd, arguments = names(image)
    if not (kernel.is_file() and initrd.is_file() and arguments.is_file()):
        return None
    text = arguments.read_text(encoding="utf-8", errors="replace")
    return Exported(kernel=kernel, initrd=initrd, arguments=text.strip())


def export(disk: Path, root_start: int, arguments: str, folder: Path) -> Exported:
    """Copy the newest kernel that has an initramfs out of a raw *disk* into *folder*.

    :param root_start: where the root file system begins, bytes.
    :raises InputError: there is no kernel with an initramfs.
    :raises HostError: debugfs is missing or fails.
    """
    # A name without characters that mean something to debugfs.
    link = folder / "disk"
    link.symlink_to(disk.absolute())
    try:
        source = _Root(f"{link.name}?offset={root_start}", folder)
        files = source.list("/boot")
        found = [
            (version_key(match[1]), name, f"initrd.img-{match[1]}")
            for name in files
            if (match := _KERNEL.fullmatch(name)) and f"initrd.img-{match[1]}" in files
        ]
        if not found:
            raise InputError("the image has no kernel with an initramfs in /boot")
        _, kernel, initrd = max(found)
        source.copy(f"/boot/{kernel}", "kernel")
        source.copy(f"/boot/{initrd}", "initrd")
    finally:
        link.unlink()
    return Exported(kernel=folder / "kernel", initrd=folder / "initrd", arguments=arguments)


def publish(exported: Exported, image: Path) -> Exported:
    """Put what was exported beside *image*, each file at once or not at all.

    :raises HostError: there is no room, or the folder cannot be written.
    """
    kernel, initrd, arguments = names(image)
    try:
        _place(exported.kernel, kernel)
        _place(exported.initrd, initrd)
        unfinished = arguments.with_name(f".{arguments.name}.part")
        unfinished.write_text(exported.arguments + "\n", encoding="utf-8")
        unfinished.replace(arguments)
    except OSError as error:
        raise HostError(f"cannot write {kernel}: {error.strerror}") from error
    return Exported(kernel=kernel, initrd=initrd, arguments=exported.arguments)


def _place(source: Path, target: Path) -> None:
    unfinished = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


class _Root:
    """The root file system, as debugfs(8) shows it."""

    def __init__(self, device: str, folder: Path) -> None:
        self._program = require_program("debugfs", "e2fsprogs")
        self._device = device
        self._folder = folder

    def list(self, path: str) -> frozenset[str]:
        """Names in the folder *path*."""
        # "/INODE/MODE/UID/GID/NAME/SIZE/"
        rows = (line.split("/") for line in self._run(f"ls -p {path}").splitlines())
        return frozenset(row[5] for row in rows if len(row) > 6)

    def copy(self, path: str, name: str) -> None:
        """Copy a file; debugfs's exit status tells nothing, so the file must be there after."""
        target = self._folder / name
        self._run(f"dump {path} {name}")
        if not target.is_file() or target.stat().st_size == 0:
            raise HostError(f"debugfs could not copy {path} out of the image")

    def _run(self, request: str) -> str:
        done = subprocess.run(
            [self._program, "-R", request, self._device],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C", "DEBUGFS_PAGER": "cat"},
            check=False,
        )
        if done.returncode != 0:
            words = " ".join(done.stderr.split())
            raise HostError(f"debugfs failed with status {done.returncode}: {words}")
        return done.stdout
