"""What a host needs, what it has, and the one command that installs the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from selfinstall.arch import Arch, Firmware
from selfinstall.cli.wording import size
from selfinstall.errors import HostError
from selfinstall.host import find_program, first_known
from selfinstall.qemu import accel, emulator, firmware

#: Modules that selfinstall imports, by name, with their Debian packages and names at PyPI.
MODULES = (
    ("jinja2", "python3-jinja2", "jinja2"),
    ("elftools", "python3-pyelftools", "pyelftools"),
    ("zstandard", "python3-zstandard", "zstandard"),
    ("debian", "python3-debian", "python-debian"),
    ("rich", "python3-rich", "rich"),
)
#: Programs of which one of each row must be there, with the package and what they are for.
PROGRAMS = (
    (("qemu-img",), "qemu-utils", "makes and converts images"),
    (("sfdisk",), "fdisk", "partitions"),
    (("debugfs",), "e2fsprogs", "copies kernels out of images without a boot loader"),
    (("mkfs.vfat",), "dosfstools", "makes EFI file systems"),
    (("apt-get",), "apt", "resolves and downloads packages"),
    (("apt-cache",), "apt", "looks packages up"),
    # apt of trixie and later verifies by sqv, older ones by gpgv.
    (("gpgv", "sqv"), "gpgv", "verifies signatures of archives"),
    (("setpriv",), "util-linux", "ends qemu when selfinstall ends"),
)
#: The cache and an image of default size need about that much.
WANTED_SPACE = 4 << 30


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked for.

    :param name: what.
    :param ok: whether it is there and good.
    :param needed: whether builds fail without it.
    :param detail: where it is, or what is wrong.
    :param package: the Debian package that brings it, None when none does.
    :param pip: its name at PyPI, None for what is no Python module.
    """

    name: str
    ok: bool
    needed: bool = True
    detail: str
    package: str | None = None
    pip: str | None = None


def module(name: str, package: str, pip: str) -> Finding:
    """Whether a Python module can be imported; it is not imported."""
    ok = importlib.util.find_spec(name) is not None
    detail = "Python module" if ok else "Python module, not installed"
    return Finding(name=name, ok=ok, detail=detail, package=package, pip=pip)


def program(names: tuple[str, ...], package: str, purpose: str) -> Finding:
    """Whether one of the programs is there."""
    found = next((path for path in map(find_program, names) if path is not None), None)
    if found is None:
        return Finding(name=names[0], ok=False, detail=f"not found; {purpose}", package=package)
    return Finding(name=found.name, ok=True, detail=f"{found}; {purpose}", package=package)


def _emulator(arch: Arch) -> Finding:
    name, package = arch.qemu.program, first_known(arch.qemu.packages)
    try:
        found = emulator.find(arch)
    except HostError as error:
        return Finding(name=name, ok=False, detail=error.message, package=package)
    return Finding(name=name, ok=True, detail=f"{found.program}, {found.version}", package=package)


def _firmware(wanted: Firmware) -> Finding:
    name, package = wanted.title, wanted.package
    try:
        found = firmware.find(wanted)
    except HostError as error:
        return Finding(name=name, ok=False, detail=error.message, package=package)
    detail = "comes with qemu" if found is None else found.code
    return Finding(name=name, ok=True, detail=detail, package=package)


def architecture(arch: Arch) -> tuple[Finding, ...]:
    """What is particular to one architecture."""
    return (_emulator(arch), *map(_firmware, arch.firmwares))


def kvm(arch: Arch, folder: Path) -> Finding:
    """Whether the host's CPU can run guests of *arch*; never needed.

    :param folder: the cache's, where earlier builds left what they found.
    """
    name = f"KVM for {arch.name}"
    obstacle = accel.obstacle(arch)
    if obstacle is not None:
        detail = "; ".join(part for part in obstacle if part)
        return Finding(name=name, ok=False, needed=False, detail=f"{detail}; guests are emulated")
    works = None
    with contextlib.suppress(HostError):
        works = accel.memory(folder, arch, emulator.find(arch)).works("")
    if works is False:
        detail = "there, but guests hang under it (an earlier build saw it); they are emulated"
        return Finding(name=name, ok=False, needed=False, detail=detail)
    return Finding(name=name, ok=True, needed=False, detail=f"{accel.KVM} opens")


def default_cache() -> Path | None:
    """The cache's folder of builds, None when the modules that know it lack others."""
    try:
        from selfinstall.packages.cache import default_folder
    except ImportError:
        return None
    return default_folder(os.environ)


def cache(folder: Path) -> Iterator[Finding]:
    """Whether the cache's folder can be written, and has room."""
    nearest = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        yield Finding(name="cache", ok=False, detail=f"{folder}: {nearest} cannot be written")
        return
    yield Finding(name="cache", ok=True, detail=str(folder))
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(nearest).free
        yield Finding(
            name="free space", ok=free >= WANTED_SPACE, needed=False, detail=f"{size(free)} there"
        )


def examine(arches: Iterable[Arch], folder: Path | None) -> tuple[Finding, ...]:
    """Everything that builds for *arches* need.

    :param folder: the cache's folder, None when it is not known.
    """
    chosen = tuple(arches)
    found = [module(*row) for row in MODULES]
    found += [program(*row) for row in PROGRAMS]
    for arch in chosen:
        # Architectures share emulators and firmware packages.
        found += [finding for finding in architecture(arch) if finding not in found]
    if folder is not None:
        found += [kvm(arch, folder) for arch in chosen]
        found += cache(folder)
    return tuple(found)


def lacking(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What is needed and not there."""
    return tuple(finding for finding in findings if finding.needed and not finding.ok)


def in_venv() -> bool:
    """Whether this Python is a virtual environment's, which apt installs nothing into."""
    return sys.prefix != sys.base_prefix


def packages(findings: Iterable[Finding], *, venv: bool) -> tuple[str, ...]:
    """The Debian packages that bring what is lacking."""
    wanted = (f.package for f in lacking(findings) if not (venv and f.pip))
    return tuple(sorted({package for package in wanted if package is not None}))


def commands(findings: Iterable[Finding], *, venv: bool) -> tuple[str, ...]:
    """The commands that install what is lacking; one, unless a virtual environment is broken."""
    found = tuple(findings)
    names = packages(found, venv=venv)
    modules = sorted(f.pip for f in lacking(found) if venv and f.pip)
    lines = []
    if names:
        lines.append(f"sudo apt install {' '.join(names)}")
    if modules:
        lines.append(f"{sys.executable} -m pip install {' '.join(modules)}")
    return tuple(lines)


def state(finding: Finding) -> str:
    """One word for a finding."""
    if finding.ok:
        return "ok"
    return "missing" if finding.needed else "note"


def to_text(findings: Iterable[Finding]) -> str:
    """The findings as an aligned table."""
    found = tuple(findings)
    width = max(len(finding.name) for finding in found)
    lines = [f"{state(f):<8} {f.name.ljust(width)}  {f.detail}" for f in found]
    return "\n".join(lines)
