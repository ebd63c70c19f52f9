"""A rootfs without a tarball: a suite's base packages, made into what a first stage leaves."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from selfinstall import stage
from selfinstall.errors import InputError
from selfinstall.events import OnEvent
from selfinstall.packages import control, debian, keyring
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.fetch import fetch
from selfinstall.packages.hostapt import native_architecture
from selfinstall.packages.resolution import Fetched, Package, Resolution
from selfinstall.packages.resolve import Record, of_priority
from selfinstall.packages.target import AptInput, read
from selfinstall.plan import INIT_SYSTEMS, chosen_init
from selfinstall.request import Request, Variant
from selfinstall.rootfs.facts import HeldDeb, RootfsFacts
from selfinstall.rootfs.inspect import Inspection, inspect_made
from selfinstall.rootfs.synthesis import Data, RootfsStream
from selfinstall.stage import SecondStage

#: What each variant has besides packages that are Essential or of priority required.
PRIORITIES: dict[Variant, tuple[str, ...]] = {
    "minbase": (),
    "important": ("important",),
    "standard": ("important", "standard"),
}
#: Depended on as "usrmerge | usr-is-merged"; the first would convert what is merged already.
_CONVERTER, _MARK = "usrmerge", "usr-is-merged"
#: Where the image keeps the user's keyring.
OWN_KEYRING = "etc/apt/keyrings/selfinstall.gpg"
_ARCHITECTURES = re.compile(r"^Architectures: (.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The packages that a build without a tarball starts from.

    :param held: their control data.
    :param fetched: the packages themselves; none where nothing is built.
    """

    second_stage: SecondStage
    held: tuple[HeldDeb, ...]
    fetched: tuple[Fetched, ...]


def settled(request: Request) -> Request:
    """*request* with the architecture that it means: without ``--arch`` the host's."""
    if request.suite is None or request.arch is not None:
        return request
    return dataclasses.replace(request, arch=native_architecture())


def apt_input(request: Request, files: dict[str, bytes]) -> AptInput:
    """What apt is told about the suite: an empty system, and the sources that it will have."""
    assert request.arch is not None
    own = files.get(OWN_KEYRING)
    return AptInput(
        architecture=request.arch,
        dpkg_status=b"",
        sources=tuple((path, text.decode()) for path, text in files.items() if "sources" in path),
        keyrings=() if own is None else ((OWN_KEYRING, own),),
        suite=request.suite,
        sources_file=request.sources,
        keyring=request.keyring,
        packages_dir=request.packages,
        proxy=request.apt_proxy,
        allow_unsigned=request.allow_unsigned,
    )


def image_files(request: Request) -> dict[str, bytes]:
    """What the rootfs has besides its packages' files: dpkg's empty database, apt's sources.

    :raises InputError: the suite's name, sources or keyring cannot be used.
    """
    assert request.suite is not None
    files = {"var/lib/dpkg/status": b"", "var/lib/dpkg/available": b""}
    used = f"/{OWN_KEYRING}" if request.keyring is not None else debian.KEYRING
    if request.keyring is not None:
        files[OWN_KEYRING] = keyring.binary(str(request.keyring), read(request.keyring))
    if request.sources is not None:
        suffix = ".list" if request.sources.suffix == ".list" else ".sources"
        files[f"etc/apt/sources.list.d/debian{suffix}"] = read(request.sources)
    else:
        mirrors = debian.mirrors(debian.host_files())
        text = debian.suite_sources(request.suite, mirrors, mirror=request.mirror, keyring=used)
        files["etc/apt/sources.list.d/debian.sources"] = text.encode()
    return files


def find_base(request: Request, root: AptRoot, *, fetching: bool, on_event: OnEvent) -> Base:
    """Find the suite's base and, where *fetching*, fetch it.

    :raises InputError: no such suite, or it has not this architecture.
    :raises HostError: the mirror cannot be reached, or the disk is full.
    """
    root.refresh()
    try:
        found = _base(request, root)
        wanted = _variant(request, root, found)
    finally:
        root.keep_lists()
    held = tuple(_held(record) for record in found)
    second_stage = stage.of_packages(held, wanted)
    fetched: tuple[Fetched, ...] = ()
    if fetching:
        fetched = fetch(root, Resolution(packages=second_stage.base), root.cache, on_event=on_event)
    return Base(second_stage=second_stage, held=held, fetched=fetched)


def make_rootfs(
    request: Request, base: Base, files: dict[str, bytes], *, spool: Path | None, on_event: OnEvent
) -> Inspection:
    """Make a rootfs of the base, in *spool*; without one, tell what it will be like.

    :raises InputError: a package is damaged.
    :raises HostError: the disk is full.
    """
    if spool is None:
        return Inspection(_estimated(request, base.second_stage), b"", {})
    # base-files first: it has the folders of the root, with their modes.
    first = sorted(base.fetched, key=lambda f: f.package.name != "base-files")
    data = [Data(f.path, f.data_offset, f.data_size) for f in first]
    stream = RootfsStream(data, files)
    return inspect_made(stream, str(request.suite), base.held, spool=spool, on_event=on_event)


def _base(request: Request, root: AptRoot) -> tuple[Record, ...]:
    found = of_priority(root, ("required",))
    if any(record.package.name == _CONVERTER for record in found):
        found = of_priority(root, ("required",), _MARK)
    if not any(record.package.name == "dpkg" for record in found):
        where = request.packages or request.suite
        raise InputError(f"{where} has no packages for {request.arch}", _offered(root))
    return found


def _offered(root: AptRoot) -> str | None:
    """A hint at the architectures that the mirror's Release files name."""
    names: dict[str, None] = {}
    for path in sorted((root.folder / "lists").glob("*Release")):
        for line in _ARCHITECTURES.findall(path.read_text("utf-8", "replace")):
            names |= dict.fromkeys(name for name in line.split() if name != "all")
    return f"it has: {', '.join(names)}" if names else None


def _variant(request: Request, root: AptRoot, base: tuple[Record, ...]) -> tuple[str, ...]:
    """The names of the variant's packages beyond the base."""
    priorities = PRIORITIES[request.variant]
    if not priorities:
        return ("apt",)
    there = {record.package.name for record in base}
    # Another init system than the variant's own takes its place.
    others = {
        name
        for init, names in INIT_SYSTEMS.items()
        if init != chosen_init(request, None)
        for name in names
    }
    records = of_priority(root, ("required", *priorities))
    out = control.without((control.parse(record.fields.dump()) for record in records), others)
    names = (
        record.package.name for record in records if record.fields.get("Priority") in priorities
    )
    return ("apt", *(name for name in names if name not in there | out | {"apt"}))


def _held(record: Record) -> HeldDeb:
    package = record.package
    return HeldDeb(
        control=record.fields.dump(),
        sha256=package.sha256,
        size=package.size,
        path=package.filename,
        offset=0,
    )


def _estimated(request: Request, second_stage: SecondStage) -> RootfsFacts:
    """Facts of a rootfs that is not made, for a plan that is only shown."""
    assert request.arch is not None
    base: tuple[Package, ...] = second_stage.base
    size = sum(package.installed_size for package in base)
    return RootfsFacts(
        name=str(request.suite),
        sha256="",
        compression="none",
        compressed_bytes=size,
        tar_bytes=size,
        content_bytes=size,
        members=100 * len(base),
        architecture=request.arch,
        distribution="debian",
        suite=request.suite,
        pretty_name=f"Debian {request.suite}",
        init=None,
        merged_usr=True,
        hostname=None,
        kernels=(),
        packages={package.name: package.version for package in base},
        unconfigured=(),
        sources=(),
        keyrings=(),
        machine_id=False,
    )
