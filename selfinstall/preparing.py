"""The first half of a build, before its guest: inspect ─▶ resolve ─▶ plan ─▶ fetch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from selfinstall import plan, stage
from selfinstall.adapt import planning as adapting
from selfinstall.adapt.base import Base
from selfinstall.arch import Arch
from selfinstall.clock import Clock
from selfinstall.errors import InputError
from selfinstall.events import Event
from selfinstall.ext4.make import require_tools
from selfinstall.guestfiles import esp_content, files_before_layers
from selfinstall.host import require_program
from selfinstall.inputs import Inputs
from selfinstall.layers.session import Layers
from selfinstall.origin import Origin, from_image, from_suite, from_tarball
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.cache import Cache
from selfinstall.packages.fetch import fetch
from selfinstall.packages.resolution import Fetched, Resolution
from selfinstall.packages.resolve import resolve
from selfinstall.plan import Needs, Plan
from selfinstall.profiles import Profile, blamed
from selfinstall.qemu.emulator import check_kernel
from selfinstall.qemu.emulator import find as find_emulator
from selfinstall.qemu.firmware import first_usable, for_installer
from selfinstall.request import Request
from selfinstall.rootfs.inspect import Inspection

#: The uncompressed tarball, in the build's private folder.
SPOOL = "rootfs.tar"


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """The first half of a build: looked at, resolved, planned and, for a build, fetched."""

    inputs: Inputs
    inspection: Inspection
    arch: Arch
    plan: Plan
    fetched: tuple[Fetched, ...]
    esp: bytes
    image: Base | None


def prepare(
    request: Request,
    inputs: Inputs,
    work: Path,
    clock: Clock,
    layers: Layers | None,
    holding: contextlib.ExitStack,
) -> Prepared:
    """Everything before the guest.  Without *layers*, only as far as the plan.

    :param holding: until it closes, fetched packages stay.
    """
    spool = None if layers is None else work / SPOOL
    if request.from_image is not None:
        disk = None if layers is None else layers.disk
        origin = from_image(request, work, clock, spool=spool, disk=disk)
    elif request.tarball is None:
        origin = from_suite(request, work, clock, holding, spool=spool)
    else:
        origin = from_tarball(request, work, clock, spool=spool)
    facts = origin.inspection.facts
    arch = plan.arch_of(facts)
    profiles = inputs.profiles
    needs = (adapting if origin.image else plan).needs(request, facts, arch, profiles)
    second = origin.second_stage
    with _apt_root(request, origin, needs, work, clock, holding) as root:
        resolution = Resolution()
        if root is not None:
            wanted = (*second.wanted, *needs.wanted)
            try:
                resolution = resolve(
                    root, wanted, needs.useful, one_of=needs.kernels, on_event=clock.on_event
                )
            except InputError as error:
                init = plan.chosen_init(request, facts)
                raise blamed(error, profiles, init) from None
        made = _planned(request, origin, arch, resolution, profiles)
        for warning in made.warnings:
            clock.on_event(Event("warning", "plan", message=warning))
        fetched, esp = origin.fetched, b""
        if layers is not None and spool is not None:
            _check_host(request, arch, made)
            esp = esp_content(made, work)
            with clock.step("layer"):
                files = files_before_layers(made, arch, esp, profiles)
                made = layers.start(made, arch, facts, files)
            if root is not None and not layers.begun:
                root.local |= stage.cut_out(facts.held, spool, work) if request.tarball else {}
                lacking = Resolution(packages=made.packages[len(fetched) :])
                fetched += fetch(root, lacking, root.cache, on_event=clock.on_event)
    return Prepared(inputs, origin.inspection, arch, made, fetched, esp, origin.image)


@contextlib.contextmanager
def _apt_root(
    request: Request,
    origin: Origin,
    needs: Needs,
    work: Path,
    clock: Clock,
    holding: contextlib.ExitStack,
) -> Iterator[AptRoot | None]:
    """Where apt is asked for what is needed; None when nothing is."""
    second = origin.second_stage
    if needs.nothing and not (second.base or second.rest):
        yield None
        return
    apt = dataclasses.replace(
        origin.apt,
        foreign=needs.foreign_architectures,
        offline=needs.nothing and request.suite is None,
    )
    cache = Cache(request.cache, holding)
    with clock.step("packages"), AptRoot(apt, work / "apt", cache, on_event=clock.on_event) as root:
        yield root


def _planned(
    request: Request,
    origin: Origin,
    arch: Arch,
    resolution: Resolution,
    profiles: tuple[Profile, ...],
) -> Plan:
    facts, base = origin.inspection.facts, origin.second_stage.base
    seed = request.seed or plan.content_seed(request, facts, (*base, *resolution.packages))
    if origin.image is not None:
        return adapting.make(
            request, origin.image, facts, arch, resolution, profiles=profiles, seed=seed
        )
    return plan.make(request, facts, arch, resolution, base=base, profiles=profiles, seed=seed)


def _check_host(request: Request, arch: Arch, made: Plan) -> None:
    """Look for what the later steps need of the host, before anything long is done.

    :raises HostError: something is missing.
    """
    emulator = find_emulator(arch, request.qemu)
    images = (p for p in made.packages if p.name.startswith("linux-image-"))
    for kernel in (made.kernel, *(f"{p.name} {p.version}" for p in images)):
        check_kernel(arch, emulator, kernel)
    for_installer(arch, emulator)
    require_program("qemu-img", "qemu-utils")
    require_program("sfdisk", "fdisk")
    if made.disk.partition("esp") is not None:
        require_program("mkfs.vfat", "dosfstools")
    if made.unpack == "host" and not made.from_image:
        require_tools()
    if not made.loaders and not made.from_image:
        require_program("debugfs", "e2fsprogs")
    if made.verify:
        for names in made.firmwares:
            first_usable(arch, names, emulator)
