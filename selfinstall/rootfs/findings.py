"""Facts out of what was collected.  Pure."""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from collections.abc import Mapping
from typing import Any

from debian.debian_support import version_compare
from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.elf.descriptions import describe_e_machine
from elftools.elf.structs import ELFStructs

from selfinstall.arch import Elf, all_arches
from selfinstall.errors import InputError
from selfinstall.packages import control
from selfinstall.rootfs import apt
from selfinstall.rootfs.collect import (
    ARCHIVES,
    OS_RELEASES,
    PROGRAMS,
    SECOND_STAGE,
    STATUS,
    Collection,
)
from selfinstall.rootfs.dpkg import Database, parse_os_release, parse_status
from selfinstall.rootfs.facts import HeldDeb, Init, Kernel
from selfinstall.rootfs.source import shown

_USABLE = "mmdebstrap --variant=minbase and debootstrap make tarballs that can be used"


def os_release(found: Collection) -> dict[str, str]:
    """The variables of the rootfs's os-release file; empty when it has none."""
    texts = (found.text(path) for path in OS_RELEASES)
    return parse_os_release(next((text for text in texts if text is not None), ""))


def database(found: Collection, name: str) -> tuple[bytes, Database, tuple[HeldDeb, ...]]:
    """The dpkg database as it is, what it says or will say after the second stage, and the
    packages that wait for that.

    :raises InputError: there is none, it knows no dpkg, or packages are there in part.
    """
    status = found.read(STATUS)
    if status is None:
        raise _no_database(found, name)
    parsed = parse_status(status)
    if parsed.broken:
        raise InputError(
            f"in {name}, dpkg was interrupted while it unpacked {', '.join(parsed.broken[:8])}",
            "finish that where it was made, or make the tarball again",
        )
    held = held_debs(found, parsed)
    if not held and parsed.architecture is None:
        if found.resolve(SECOND_STAGE):
            raise InputError(
                f"{name} holds the first stage of debootstrap --foreign without its packages",
                f"they belong in /{ARCHIVES} of the tarball; leave them there when you pack it",
            )
        raise InputError(f"the dpkg database in {name} does not list dpkg itself", _USABLE)
    controls = [control.parse(deb.control) for deb in held]
    native = [c.architecture for c in controls if c.name == "dpkg"]
    if held and not (native or parsed.architecture):
        raise InputError(
            f"the first stage in {name} holds no package of dpkg itself",
            "make it again with debootstrap --foreign",
        )
    database = dataclasses.replace(
        parsed,
        architecture=parsed.architecture or native[0],
        packages=parsed.packages | {c.name: c.version for c in controls},
    )
    return status, database, held


def held_debs(found: Collection, database: Database) -> tuple[HeldDeb, ...]:
    """The packages of a first stage that are not installed yet; none in a finished system.

    apt keeps packages in the same folder; only without dpkg in the database, or
    with debootstrap's own second stage still there, are they to be installed.
    """
    if database.architecture is not None and found.resolve(SECOND_STAGE) is None:
        return ()
    return tuple(
        deb
        for deb in found.debs()
        if database.packages.get((c := control.parse(deb.control)).name) != c.version
    )


def _no_database(found: Collection, name: str) -> InputError:
    if found.nested is not None:
        return InputError(
            f"the rootfs in {name} lies below the folder {shown(found.nested)}",
            "pack it from inside: tar -C FOLDER --numeric-owner -caf rootfs.tar.zst .",
        )
    release = os_release(found)
    families = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if release and not families & {"debian", "ubuntu"}:
        title = release.get("PRETTY_NAME") or release.get("ID", "something")
        return InputError(
            f"{name} holds {shown(title)}, not a Debian system: there is no dpkg database", _USABLE
        )
    return InputError(
        f"{name} holds no dpkg database ({STATUS} is missing)",
        "mmdebstrap --variant=extract leaves none; these ways work: mmdebstrap "
        "--variant=minbase, debootstrap --foreign, or no tarball at all: selfinstall --suite",
    )


def _elf_header(header: bytes) -> Elf | None:
    """What a program's first bytes say, None when it is no ELF program."""
    if header[:4] != b"\x7fELF" or header[4:5] not in b"\1\2" or header[5:6] not in b"\1\2":
        return None
    bits, little_endian = (64 if header[4] == 2 else 32), header[5] == 1
    structs: Any = ELFStructs(little_endian=little_endian, elfclass=bits)
    structs.create_basic_structs()
    try:
        machine = struct_parse(structs.Elf_Ehdr, io.BytesIO(header))["e_machine"]
    except ELFError:
        return None
    # A number stands for a machine that has no name yet.
    return Elf(machine=str(machine), bits=64 if bits == 64 else 32, little_endian=little_endian)


def _title(elf: Elf) -> str:
    """An ELF header in words, with the architecture's name where there is a file for it."""
    order = "little" if elf.little_endian else "big"
    names = sorted(arch.name for arch in all_arches().values() if arch.elf == elf)
    machine = describe_e_machine(elf.machine)
    if machine == "<unknown>":
        machine = f"machine {elf.machine.removeprefix('EM_')}"
    known = f" ({' or '.join(names)})" if names else ""
    return f"{elf.bits}-bit {order}-endian {machine}{known}"


def check_programs(found: Collection, architecture: str, name: str) -> None:
    """Compare dpkg's *architecture* with a program of the rootfs.

    An architecture that has no file in :mod:`selfinstall.arch` is let pass:
    the plan refuses it.

    :raises InputError: they do not agree, or there is no program.
    """
    arch = all_arches().get(architecture)
    if arch is None:
        return
    path = next((path for path in PROGRAMS if found.read(path) is not None), None)
    if path is None:
        raise InputError(f"{name} holds neither dpkg nor a shell; it is no whole system", _USABLE)
    elf = _elf_header(found.read(path) or b"")
    if elf is None:
        raise InputError(f"/{path} in {name} is no ELF program; the rootfs is damaged")
    if elf != arch.elf:
        raise InputError(
            f"{name} contradicts itself: its dpkg database says {architecture}, "
            f"its /{path} is a program for {_title(elf)}",
            "it is a mixture of two systems; make it again",
        )


def init_system(found: Collection, packages: frozenset[str], *, held: bool = False) -> Init | None:
    """Which init system ``/sbin/init`` is.

    :param held: whether packages wait for the second stage, so that files tell less than names.
    """
    path = found.resolve("sbin/init")
    if path is None and not held:
        return None
    match (path or "").rpartition("/")[2]:
        case "systemd":
            return "systemd"
        case "openrc-init":
            return "openrc"
    # Debian's openrc runs under sysvinit's init, and then it is what starts services.
    for package, init in _INIT_PACKAGES:
        if package in packages:
            return init
    return None


_INIT_PACKAGES: tuple[tuple[str, Init], ...] = (
    ("openrc", "openrc"),
    ("sysvinit-core", "sysvinit"),
    ("systemd-sysv", "systemd"),
)

_IN_BOOT = re.compile(r"boot/vmlinu[xz]-(.+)")
_IN_MODULES = re.compile(r"(?:usr/)?lib/modules/([^/]+)/vmlinuz")


def _compare(one: str, other: str) -> int:
    """Compare kernel versions as Debian versions; these know no underscore and the like."""
    plain = [re.sub(r"[^A-Za-z0-9.+~-]", ".", version) for version in (one, other)]
    result: int = version_compare(*plain)
    return result or (one > other) - (one < other)


#: The package of a kernel's image, by its version.
_KERNEL_PACKAGES = ("linux-image-{}", "linux-image-{}-unsigned", "linux-binary-{}")


def kernels(found: Collection, architectures: Mapping[str, str]) -> tuple[Kernel, ...]:
    """The kernels, newest first; of two images of a version the one in ``/boot``.

    :param architectures: what packages are built for, by their name.
    """
    images: dict[str, str] = {}
    for pattern in (_IN_MODULES, _IN_BOOT):
        for path in sorted(found.boot_files):
            if match := pattern.fullmatch(path):
                images[match[1]] = path
    initrds = {version: f"boot/initrd.img-{version}" for version in images}
    return tuple(
        Kernel(
            version=version,
            image=images[version],
            initrd=initrds[version] if initrds[version] in found.boot_files else None,
            architecture=next(
                filter(None, (architectures.get(p.format(version)) for p in _KERNEL_PACKAGES)), None
            ),
        )
        for version in sorted(images, key=functools.cmp_to_key(_compare), reverse=True)
    )


def sources(found: Collection) -> tuple[tuple[str, str], ...]:
    """apt's source files as (path, text)."""
    texts = ((path, found.text(path)) for path in found.source_files())
    return tuple((path, text) for path, text in texts if text is not None)


def parsed_sources(files: tuple[tuple[str, str], ...]) -> tuple[apt.AptSource, ...]:
    """What they say."""
    return tuple(source for path, text in files for source in apt.parse(path, text))


def keyrings(
    found: Collection, apt_sources: tuple[apt.AptSource, ...]
) -> tuple[tuple[str, bytes], ...]:
    """The keyrings that apt could use unasked and those that its sources name."""
    paths = sorted({*found.keyring_files(), *apt.signed_by(apt_sources)})
    contents = ((path, found.read(path)) for path in paths)
    return tuple((path, content) for path, content in contents if content is not None)


def suite(
    found: Collection, release: dict[str, str], apt_sources: tuple[apt.AptSource, ...]
) -> str | None:
    """The suite: os-release's code name, but unstable calls itself by the name of testing."""
    codename = release.get("VERSION_CODENAME")
    if codename and "/sid" not in (found.text("etc/debian_version") or ""):
        return codename
    return apt.main_suite(apt_sources) or codename or None


def first_line(text: str | None) -> str | None:
    """The first line that is neither empty nor a comment."""
    lines = (line.strip() for line in (text or "").splitlines())
    return next((line for line in lines if line and not line.startswith("#")), None)
