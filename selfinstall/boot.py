"""Running an image with its console on the terminal."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from selfinstall import exporting, request, verification
from selfinstall.errors import UsageError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.host import workspace
from selfinstall.image import export
from selfinstall.image.inspect import inspect_image
from selfinstall.packages.cache import folder_or
from selfinstall.qemu.argv import Forward, Network
from selfinstall.qemu.terminal import HOW_TO_QUIT, boot_interactive


def boot(
    image: Path,
    *,
    arch: str | None = None,
    firmware: str | None = None,
    accel: request.Accel = "auto",
    memory: int | None = None,
    smp: int | None = None,
    qemu: Path | None = None,
    forwards: tuple[Forward, ...] = (),
    write: bool = False,
    refresh: bool = False,
    cache: Path | None = None,
    on_event: OnEvent = ignore,
) -> None:
    """Boot *image* until its machine ends or the user ends it.

    :param arch: its architecture; None for what its partition table names, or the host's.
    :param firmware: what starts it; None for the architecture's first that it has a loader for.
    :param memory: MiB.
    :param forwards: TCP ports of the host's loopback that lead into the machine.
    :param write: keep what the machine writes; without, it is thrown away.
    :param refresh: afterwards, bring kernel and initramfs beside the image up to date.
    :raises UsageError: *refresh* without *write*.
    :raises InputError: there is no such image.
    :raises HostError: the host lacks qemu or firmware.
    """
    if refresh and not write:
        raise UsageError("there is nothing to export after a boot that keeps nothing", "--write")
    facts = inspect_image(image)
    chosen = verification.arch_of(facts, arch)
    direct = export.beside(image)
    name = firmware or verification.usable_firmwares(facts, chosen, direct, qemu)[0]
    made = verification.machine(
        facts, chosen, name, direct=direct, memory=memory, smp=smp, qemu=qemu, write=write
    )
    made = dataclasses.replace(made, network=Network(forwards=forwards))
    on_event(Event("note", "boot", message=HOW_TO_QUIT))
    with workspace() as work:
        boot_interactive(
            dataclasses.replace(made, scratch=work),
            wanted=accel,
            cache=folder_or(cache, work),
            on_event=on_event,
        )
    if refresh:
        exporting.export(image, arch=arch, on_event=on_event)
