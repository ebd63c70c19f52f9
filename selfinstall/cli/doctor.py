"""What a host needs, what it has, and the one command that installs the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from selfinstall import offers
from selfinstall.arch import Arch, Firmware
from selfinstall.cli.wording import size
from selfinstall.errors import HostError
from selfinstall.host import find_program
from selfinstall.qemu import accel, emulator, firmware
from selfinstall.qemu.emulator import Emulator

T = TypeVar("T")

#: Modules that selfinstall imports, by name, with their Debian packages and names at PyPI.
MODULES = (
    ("jinja2", "python3-jinja2", "jinja2"),
    ("elftools", "python3-pyelftools", "pyelftools"),
    ("zstandard", "python3-zstandard", "zstandard"),
    ("debian", "python3-debian", "python-debian"),
    ("pycdlib", "python3-pycdlib", "pycdlib"),
    ("rich", "python3-rich", "rich"),
)
#: Programs of which one of each row must be there, with the package and what they are for.
PROGRAMS = (
    (("qemu-img",), "qemu-utils", "makes and converts images"),
    (("sfdisk",), "fdisk", "partitions"),
    (("mke2fs",), "e2fsprogs", "makes root file systems"),
    (("e2fsck",), "e2fsprogs", "indexes them"),
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
    :param package: the Debian package that brings it, None when none does here.
    :param suite: of which apt takes that package only when told to (backports).
    :param pip: its name at PyPI, None for what is no Python module.
    """

    name: str
    ok: bool
    needed: bool = True
    detail: str
    package: str | None = None
    suite: str | None = None
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


def _lacking_package(
    name: str,
    detail: str,
    packages: tuple[str, ...],
    *,
    minimum: tuple[int, int] | None = None,
    since: str | None = None,
) -> Finding:
    """Something that one of *packages* brings, where apt has one that fits."""
    offer = offers.best(packages, minimum)
    if offer is None:
        return Finding(
            name=name, ok=False, detail=f"{detail}; {offers.hint(packages, minimum, since)}"
        )
    return Finding(
        name=name,
        ok=False,
        detail=detail,
        package=offer.package,
        suite=offer.suite if offer.reluctant else None,
    )


def _emulator(arch: Arch) -> tuple[Finding, Emulator | None]:
    qemu = arch.qemu
    try:
        found = emulator.find(arch)
    except HostError as error:
        name, packages = qemu.program, qemu.packages
        return _lacking_package(name, error.message, packages, minimum=qemu.minimum), None
    detail = f"{found.program}, {found.version}"
    return Finding(name=qemu.program, ok=True, detail=detail, package=qemu.packages[0]), found


def _firmware(wanted: Firmware, runner: Emulator | None) -> Finding:
    name, package = wanted.title, wanted.package
    if wanted.files and firmware.present(wanted) is None:
        packages = (package,) if package else ()
        return _lacking_package(name, firmware.missing(wanted), packages, since=wanted.since)
    try:
        found = firmware.find(wanted, runner)
    except HostError as error:
        return Finding(name=name, ok=False, detail=f"{error.message}; {error.hint}")
    detail = "comes with qemu" if found is None else found.code
    return Finding(name=name, ok=True, detail=detail, package=package)


def architecture(arch: Arch) -> tuple[Finding, ...]:
    """What is particular to one architecture.

    Of the firmwares that could start a boot loader one is enough; others are not needed.
    """
    own, runner = _emulator(arch)
    found = {f.name: _firmware(f, runner) for f in arch.firmwares}
    needed = {arch.qemu.installer_firmware}
    for use in arch.loaders:
        if use.auto and not any(found[name].ok for name in use.firmwares):
            needed.add(min(use.firmwares, key=lambda name: _trouble(found[name])))
    return (
        own,
        *(dataclasses.replace(f, needed=f.ok or name in needed) for name, f in found.items()),
    )


def _trouble(finding: Finding) -> int:
    """How hard it is to get: from this release, from backports, from elsewhere."""
    if finding.package is None:
        return 2
    return 0 if finding.suite is None else 1


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
    for group in side_by_side(architecture, chosen):
        # Architectures share emulators and firmware packages.
        found += [finding for finding in group if finding not in found]
    if folder is not None:
        # Of many, those that could have KVM here; one that was asked for is told why it has none.
        found += [kvm(arch, folder) for arch in chosen if len(chosen) == 1 or native((arch,))]
        found += cache(folder)
    return tuple(found)


def native(arches: Iterable[Arch]) -> Arch | None:
    """The first of *arches* that is this host's own."""
    return next((a for a in arches if platform.machine() in a.qemu.kvm_hosts), None)


def side_by_side(look: Callable[[Arch], T], arches: Sequence[Arch]) -> list[T]:
    """*look* at each; what takes time there is other programs."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(look, arches))


def lacking(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What is needed and not there."""
    return tuple(finding for finding in findings if finding.needed and not finding.ok)


def in_venv() -> bool:
    """Whether this Python is a virtual environment's, which apt installs nothing into."""
    return sys.prefix != sys.base_prefix


def packages(
    findings: Iterable[Finding], *, venv: bool, suite: str | None = None
) -> tuple[str, ...]:
    """The Debian packages that bring what is lacking.

    :param suite: those that apt takes from this suite only when told to; None for all others.
    """
    wanted = (f.package for f in lacking(findings) if f.suite == suite and not (venv and f.pip))
    return tuple(sorted({package for package in wanted if package is not None}))


def commands(findings: Iterable[Finding], *, venv: bool) -> tuple[str, ...]:
    """The commands that install what is lacking; as a rule one."""
    found = tuple(findings)
    lines = []
    for suite in sorted({f.suite or "" for f in lacking(found)}):
        names = packages(found, venv=venv, suite=suite or None)
        where = f"-t {suite} " if suite else ""
        lines += [f"sudo apt install {where}{' '.join(names)}"] if names else []
    modules = sorted(f.pip for f in lacking(found) if venv and f.pip)
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
