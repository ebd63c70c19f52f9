"""From a request to a bootable image: the steps in their order, each in its own module.

inspect ─▶ resolve ─▶ plan ─▶ fetch ─▶ initramfs ─▶ guest ─▶ convert ─▶ verify ─▶ publish
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from selfinstall import cachefolder, guest, invocation, manifest, plan, suite
from selfinstall.adapt import planning as adapting
from selfinstall.cachefolder import DEFAULT_LIMIT
from selfinstall.clock import Clock
from selfinstall.errors import GuestFailed, HostError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.ext4 import inode
from selfinstall.ext4 import make as ext4
from selfinstall.ext4.make import Archive
from selfinstall.guest import Assembled
from selfinstall.host import room_in, workspace
from selfinstall.image import export
from selfinstall.image.digest import digesting, untouched
from selfinstall.image.export import Exported
from selfinstall.image.seal import publish, unfinished
from selfinstall.inputs import read_inputs
from selfinstall.keptlog import kept
from selfinstall.layers.session import Layers
from selfinstall.layers.store import Store
from selfinstall.packages.cache import check_folder, default_folder
from selfinstall.plan import Plan
from selfinstall.preparing import SPOOL, Prepared, prepare
from selfinstall.qemu import qemu_img
from selfinstall.qemu.emulator import find as find_emulator
from selfinstall.qemu.firmware import first_usable
from selfinstall.qemu.install import GuestReport
from selfinstall.request import Request
from selfinstall.result import Result
from selfinstall.verification import Verified, verify


def make_plan(request: Request, on_event: OnEvent = ignore) -> Plan:
    """What :func:`build` would do, without doing it: the tarball is read and apt is asked.

    :raises SelfinstallError: as :func:`build` before its guest runs.
    """
    request = _checked(request)
    with workspace() as work, contextlib.ExitStack() as holding:
        request = _with_cache(request, work, on_event)
        holding.callback(_trim_cache, request)
        return prepare(request, read_inputs(request), work, Clock(on_event), None, holding).plan


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
    with (
        unfinished(output, private=inputs.private) as image,
        workspace() as work,
        room_in(work),
        contextlib.ExitStack() as holding,
    ):
        request = _with_cache(request, work, on_event)
        holding.callback(_trim_cache, request)
        disk = image if request.format == "raw" else work / "disk.raw"
        layers = Layers(_store(request, clock), disk, work, on_event)
        with layers.opened():
            prepared = prepare(request, inputs, work, clock, layers, holding)
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


def _with_cache(request: Request, work: Path, on_event: OnEvent) -> Request:
    """*request*, whose cache is a new folder when it is to know nothing of other builds.

    So it is when there is no place for the user's own (a home that cannot be written); one
    that was named has to be usable.
    """
    apart = dataclasses.replace(request, use_cache=False, cache=work / "cache")
    if not request.use_cache:
        return apart
    if request.cache is None:
        try:
            check_folder()
        except HostError as error:
            message = f"{error.message}; nothing is kept for later builds"
            on_event(Event("warning", "cache", message=message))
            return apart
    return request


def _trim_cache(request: Request) -> None:
    if request.use_cache:
        limit = DEFAULT_LIMIT if request.cache_limit is None else request.cache_limit
        cachefolder.trim(request.cache or default_folder(os.environ), limit)


def _store(request: Request, clock: Clock) -> Store | None:
    """Where layers are kept; None where there is no such place, or none is wanted."""
    # An image that is adapted is what a layer would be.
    if not request.use_cache or request.cache_limit == 0 or request.from_image is not None:
        return None
    try:
        folder = request.cache or default_folder(os.environ)
        return Store(folder, request.cache_limit or DEFAULT_LIMIT)
    except (OSError, HostError) as error:
        clock.on_event(Event("note", "layer", message=f"no layers: {error}"))
        return None


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
    versions = invocation.versions(find_emulator(arch, request.qemu).version)
    head = invocation.head(request.invocation, versions)
    try:
        with clock.step("guest"):
            report = guest.run(
                request,
                made,
                arch,
                machine,
                log,
                head,
                layers,
                _fresh(prepared, layers, clock),
                lambda tell: _fill(prepared, machine, layers.disk, work, clock.telling(tell)),
                clock.on_event,
            )
    except GuestFailed as error:
        error.log, error.versions = request.log or kept(log), versions
        raise
    clock.seconds.update(report.hooks)
    for path in (*machine.files, work / SPOOL):
        # The room may be needed for what comes.
        path.unlink(missing_ok=True)
    return report


def _fresh(prepared: Prepared, layers: Layers, clock: Clock) -> Callable[[], None]:
    """What makes the disk as the guest shall find it, before each attempt."""
    image, disk = prepared.image, prepared.plan.disk
    if image is None:
        return lambda: layers.fresh_disk(disk.size)
    spoilt = itertools.chain((False,), itertools.repeat(True))
    return lambda: image.fresh(layers.disk, disk, clock.on_event, again=next(spoilt))


def _fill(prepared: Prepared, machine: Assembled, disk: Path, work: Path, clock: Clock) -> None:
    """Make the root on a disk that has nothing where it is to be."""
    made, facts = prepared.plan, prepared.inspection.facts
    epoch = made.settings["SOURCE_DATE_EPOCH"]
    archives = [Archive(path=work / SPOOL, size=facts.tar_bytes, name=facts.name)]
    if machine.early is not None:
        size = machine.early.stat().st_size
        packages = Archive(
            path=machine.early, size=size, name="the packages' archive", owners=machine.owners
        )
        archives += [packages] if size else []
    with clock.step(ext4.STEP):
        ext4.make_root(
            disk,
            made.disk.root.start,
            made.root_bytes // inode.BLOCK,
            uuid=made.root_uuid,
            hash_seed=made.root_hash_seed,
            epoch=int(epoch) if epoch else None,
            archives=archives,
            work=work,
            on_event=clock.on_event,
        )


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
    versions = invocation.versions(emulator.version)
    if request.log is None:
        # Else the boots' consoles follow what the build wrote.
        log.write_bytes(invocation.head(request.invocation, versions))
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
        error.log, error.versions = request.log or kept(log), versions
        raise
