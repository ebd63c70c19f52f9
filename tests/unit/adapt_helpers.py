"""Disks as other tools make them: a label by sfdisk, file systems by mke2fs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tar_helpers import OS_RELEASE, elf_header, stanza

from selfinstall.host import find_program
from selfinstall.layout import MIB, SECTOR

PROGRAMS = ("mke2fs", "debugfs", "sfdisk", "qemu-img")
MISSING = [name for name in PROGRAMS if find_program(name) is None]
#: Files of a system; a link's target begins with "->".
SYSTEM: dict[str, bytes] = {
    "bin": b"->usr/bin",
    "sbin": b"->usr/sbin",
    "lib": b"->usr/lib",
    "etc/os-release": b"->../usr/lib/os-release",
    "etc/hostname": b"theirs\n",
    "etc/fstab": b"# nothing\n",
    "etc/apt/sources.list": b"deb http://deb.example.org/debian trixie main\n",
    "usr/lib/os-release": OS_RELEASE.encode(),
    "usr/bin/dpkg": elf_header(),
    "usr/share/doc/dpkg/copyright": b"not looked into\n",
    "usr/lib/systemd/systemd": elf_header(),
    "usr/sbin/init": b"->../lib/systemd/systemd",
    "boot/vmlinuz-6.1": b"kernel",
    "boot/initrd.img-6.1": b"initrd",
    "var/lib/dpkg/status": stanza("dpkg", "1.22").encode(),
}
#: A system's /boot alone, and its root without it.
BOOT = {path.removeprefix("boot/"): c for path, c in SYSTEM.items() if path.startswith("boot/")}
NOT_BOOT = {path: c for path, c in SYSTEM.items() if path not in ("boot/vmlinuz-6.1",)}

Maker = Callable[[Path, int, int], None]


def run(*words: str | Path, text: str | None = None, cwd: Path | None = None) -> str:
    program = find_program(str(words[0]))
    assert program is not None
    return subprocess.run(
        [program, *words[1:]], check=True, capture_output=True, text=True, input=text, cwd=cwd
    ).stdout


def lay_out(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith(b"->"):
            place.symlink_to(os.fsdecode(content[2:]))
        else:
            place.write_bytes(content)


def ext(
    files: Mapping[str, bytes] | None = None, kind: str = "ext4", *options: str, block: int = 4096
) -> Maker:
    """A file system with these files."""

    def make(disk: Path, start: int, size: int) -> None:
        root = disk.with_name(f"{disk.name}.{start}.root")
        root.mkdir()
        lay_out(root, SYSTEM if files is None else files)
        run(
            *("mke2fs", "-q", "-F", "-t", kind, "-b", str(block), "-d", root, *options),
            *("-E", f"offset={start}", disk, str(size // block)),
        )
        shutil.rmtree(root)

    return make


def bytes_at(offset: int, content: bytes) -> Maker:
    """A partition that holds nothing but *content* at *offset*."""

    def make(disk: Path, start: int, size: int) -> None:
        with disk.open("r+b") as stream:
            stream.seek(start + offset)
            stream.write(content)

    return make


def disk_of(
    folder: Path, *makers: Maker | None, label: str = "gpt", name: str = "theirs.img", mib: int = 12
) -> Path:
    """A disk with a partition of *mib* MiB for each maker; 2 MiB are left behind the last."""
    path = folder / name
    with path.open("wb") as stream:
        stream.truncate((1 + mib * len(makers) + 2) * MIB)
    starts = [(1 + mib * number) * MIB for number in range(len(makers))]
    lines = [f"start={start // SECTOR}, size={mib * MIB // SECTOR}" for start in starts]
    run("sfdisk", "-q", path, text=f"label: {label}\n" + "\n".join(lines) + "\n")
    for start, maker in zip(starts, makers, strict=True):
        if maker is not None:
            maker(path, start, mib * MIB)
    return path


def debugfs(disk: Path, start: int, order: str) -> None:
    run("debugfs", "-w", "-R", order, f"{disk.name}?offset={start}", cwd=disk.parent)
