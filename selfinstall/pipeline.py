"""From a request to a bootable image: the steps in their order, each in its own module.

inspect ─▶ resolve ─▶ plan ─▶ fetch ─▶ initramfs ─▶ guest ─▶ convert ─▶ verify ─▶ publish
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from selfinstall import guest, manifest, plan, stage, suite
from selfinstall.adapt import planning as adapting
from selfinstall.adapt.base import Base
from selfinstall.arch import Arch
from selfinstall.clock import Clock
from selfinstall.errors import GuestFailed, HostError, InputError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.guestfiles import esp_content, files_before_layers
from selfinstall.host import require_program, room_in, workspace
from selfinstall.image import export
from selfinstall.image.digest import digesting, untouched
from selfinstall.image.export import Exported
from selfinstall.image.seal import publish, unfinished
from selfinstall.inputs import Inputs, read_inputs
from selfinstall.keptlog import kept
from selfinstall.layers.session import Layers
from selfinstall.layers.store import DEFAULT_LIMIT, Store
from selfinstall.origin import Origin, from_image, from_suite, from_tarball
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.cache import Cache, default_folder
from selfinstall.packages.fetch import fetch
from selfinstall.packages.resolution import Fetched, Resolution
from selfinstall.packages.resolve import resolve
from selfinstall.plan import Needs, Plan
from selfinstall.profiles import blamed
from selfinstall.qemu import qemu_img
from selfinstall.qemu.emulator import check_kernel
from selfinstall.qemu.emulator import find as find_emulator
from selfinstall.qemu.firmware import first_usable, for_installer
from selfinstall.qemu.install import GuestReport
from selfinstall.request import Request
from selfinstall.result import Result
from selfinstall.rootfs.inspect import Inspection
from selfinstall.verification import Verified, verify


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


def make_plan(request: Request, on_event: OnEvent = ignore) -> Plan:
    """What :func:`build` would do, without doing it: the tarball is read and apt is asked.

    :raises SelfinstallError: as :func:`build` before its guest runs.
    """
    request = _checked(request)
    with workspace() as work:
        request = _with_cache(request, work)
        return _prepare(request, read_inputs(request), work, Clock(on_event), None).plan


def build(request: Request, on_event: OnEvent = ignore) -> Result:
    """Build the image that *request* asks for.

    :param on_event: called with each :class:`Event`, in the thread that builds.
    :raises UsageError: options that do not fit together (exit status 2).
    :raises InputError: a tarball, package, key or hook script that cannot be used (3).
    :raises HostError: the host lacks a program, firmware, space or its mirror (4).
    :raises GuestFailed: a hook failed in the guest (5).
    :raises GuestHung: the guest gave no sign of life (6).
    :raises BootFailed: the image was built and does not boot (7).
    """
    clock = Clock(on_event)
    request = _checked(request)
    inputs = read_inputs(request)
    output = plan.output_path(request)
    with unfinished(output, private=inputs.private) as image, workspace() as work, room_in(work):
        request = _with_cache(request, work)
        disk = image if request.format == "raw" else work / "disk.raw"
        layers = Layers(_store(request, clock), disk, work, on_event)
        with layers.opened():
            prepared = _prepare(request, inputs, work, clock, layers)
            report = _run_guest(request, prepared, layers, work, clock)
            layers.keep()
        exported = _export(prepared.plan, disk, work)
        if disk != image:
            with clock.step("convert"):
                qemu_img.convert(
                    disk, image, source_format="raw", format=request.format, on_event=on_event
                )
            disk.unlink()
        with untouched(image), digesting(image) as digested:
            verified = _verify(request, prepared, image, exported, work, clock)
            wanted = request.verify or request.manifest is not None
            content = manifest.make(
                prepared.plan,
                prepared.inspection.facts,
                report,
                verified,
                digested() if wanted else None,
                clock.seconds,
            )
        if exported is not None:
            exported = export.publish(exported, output, private=inputs.private)
            content["exported"] = export.described(exported)
        if request.manifest is not None:
            manifest.write(content, request.manifest)
        publish(image, output)
    return Result(image=output, manifest=content, seconds=clock.seconds, log=request.log)


def _checked(request: Request) -> Request:
    """*request* with its defaults that depend on the host, when it names what to build from."""
    if request.from_image is not None:
        adapting.check(request)
    plan.check_source(request)
    return suite.settled(request)


def _with_cache(request: Request, work: Path) -> Request:
    """*request*, whose cache is a new folder when it is to know nothing of other builds."""
    return request if request.use_cache else dataclasses.replace(request, cache=work / "cache")


def _store(request: Request, clock: Clock) -> Store | None:
    """Where layers are kept; None where there is no such place, or none is wanted."""
    # An image that is adapted is what a layer would be.
    if not request.use_cache or request.layers_limit == 0 or request.from_image is not None:
        return None
    try:
        folder = request.cache or default_folder(os.environ)
        return Store(folder, request.layers_limit or DEFAULT_LIMIT)
    except (OSError, HostError) as error:
        clock.on_event(Event("note", "layer", message=f"no layers: {error}"))
        return None


def _prepare(
    request: Request, inputs: Inputs, work: Path, clock: Clock, layers: Layers | None
) -> Prepared:
    """Everything before the guest.  Without *layers*, only as far as the plan."""
    spool = None if layers is None else work / "rootfs.tar"
    if request.from_image is not None:
        disk = None if layers is None else layers.disk
        origin = from_image(request, work, clock, spool=spool, disk=disk)
    else:
        origin = (from_suite if request.tarball is None else from_tarball)(
            request, work, clock, spool=spool
        )
    facts = origin.inspection.facts
    arch = plan.arch_of(facts)
    profiles = inputs.profiles
    needs = (adapting if origin.image else plan).needs(request, facts, arch, profiles)
    second = origin.second_stage
    with _apt_root(request, origin, needs, work, clock) as root:
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
        seed = request.seed or plan.content_seed(
            request, facts, (*second.base, *resolution.packages)
        )
        if origin.image is not None:
            made = adapting.make(
                request, origin.image, facts, arch, resolution, profiles=profiles, seed=seed
            )
        else:
            made = plan.make(
                request, facts, arch, resolution, base=second.base, profiles=profiles, seed=seed
            )
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
    request: Request, origin: Origin, needs: Needs, work: Path, clock: Clock
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
    cache = Cache(request.cache)
    with clock.step("packages"), AptRoot(apt, work / "apt", cache, on_event=clock.on_event) as root:
        yield root


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
    if not made.loaders and not made.from_image:
        require_program("debugfs", "e2fsprogs")
    if made.verify:
        for names in made.firmwares:
            first_usable(arch, names, emulator)


def _run_guest(
    request: Request, prepared: Prepared, layers: Layers, work: Path, clock: Clock
) -> GuestReport:
    """Assemble the initramfs, boot it, wait for its verdict."""
    made, arch = prepared.plan, prepared.arch
    with clock.step("initramfs"):
        if layers.begun:
            machine = guest.resume(made, arch, prepared.inputs, work)
        else:
            machine = guest.assemble(
                made,
                arch,
                prepared.inspection,
                prepared.fetched,
                prepared.inputs,
                prepared.esp,
                work,
                request.cache,
                layers.assembled,
            )
    log = request.log or work / "console.log"
    try:
        with clock.step("guest"):
            fresh = _fresh(prepared, layers, clock)
            report = guest.run(request, made, arch, machine, log, layers, fresh, clock.on_event)
    except GuestFailed as error:
        error.log = request.log or kept(log)
        raise
    clock.seconds.update(report.hooks)
    for path in machine.files:
        # The room may be needed for what comes.
        path.unlink()
    return report


def _fresh(prepared: Prepared, layers: Layers, clock: Clock) -> Callable[[], None]:
    """What makes the disk as the guest shall find it, before each attempt."""
    image, disk = prepared.image, prepared.plan.disk
    if image is None:
        return lambda: layers.fresh_disk(disk.size)
    spoilt = itertools.chain((False,), itertools.repeat(True))
    return lambda: image.fresh(layers.disk, disk, clock.on_event, again=next(spoilt))


def _export(made: Plan, disk: Path, work: Path) -> Exported | None:
    """Kernel and initramfs of an image without a boot loader."""
    if made.loaders or made.from_image:
        return None
    arguments = export.command_line(made.root_uuid, made.image_args)
    return export.export(disk, made.disk.root.start, arguments, work)


def _verify(
    request: Request,
    prepared: Prepared,
    image: Path,
    exported: Exported | None,
    work: Path,
    clock: Clock,
) -> tuple[Verified, ...]:
    if not request.verify:
        return ()
    log = request.log or work / "verify.log"
    emulator = find_emulator(prepared.arch, request.qemu)
    rows = prepared.plan.firmwares
    try:
        return verify(
            image,
            arch=prepared.arch.name,
            firmware=tuple(first_usable(prepared.arch, row, emulator) for row in rows),
            exported=exported,
            accel=request.accel,
            qemu=request.qemu,
            stall=request.stall,
            cache=request.cache,
            log=log,
            on_event=clock.on_event,
        )
    except GuestFailed as error:
        error.log = request.log or kept(log)
        raise
