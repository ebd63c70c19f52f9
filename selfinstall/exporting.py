"""Kernel and initramfs of a finished image without a boot loader, brought up to date beside it."""

from __future__ import annotations

import stat
from pathlib import Path

from selfinstall import plan, verification
from selfinstall.arch import Arch
from selfinstall.clock import Clock
from selfinstall.errors import InputError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.host import room_in, workspace
from selfinstall.image import export as images
from selfinstall.image.export import Exported
from selfinstall.image.ext4 import read_superblock
from selfinstall.image.inspect import ImageFacts, ImagePartition, inspect_image
from selfinstall.qemu import qemu_img
from selfinstall.rootfs.facts import Init

STEP = "export"


def export(image: Path, *, arch: str | None = None, on_event: OnEvent = ignore) -> Exported:
    """Copy the newest kernel with its initramfs out of *image*, whatever its format, beside it.

    A command line that lies there stays; else one is made for the image's root file system.

    :param arch: its architecture; None for what its partition table names, or the host's.
    :raises InputError: there is no such image, no kernel in it, or its file system was not
        unmounted cleanly.
    :raises HostError: the host lacks qemu-img, debugfs or space.
    """
    with Clock(on_event).step(STEP):
        facts = inspect_image(image)
        chosen = verification.arch_of(facts, arch)
        root = _root(facts, chosen)
        with workspace() as work, room_in(work):
            disk = _raw(facts, work, on_event)
            arguments = images.arguments_beside(image) or _made(disk, root, chosen, work)
            found = images.export(disk, root.start, arguments, work)
            # What was taken out of a file is for those only who may read that.
            private = not image.stat().st_mode & stat.S_IROTH
            placed = images.publish(found, image, private=private)
        message = f"kernel {placed.version}, its initramfs and the command line lie beside {image}"
        on_event(Event("note", STEP, message=message))
    return placed


def _root(facts: ImageFacts, arch: Arch) -> ImagePartition:
    if facts.label != "gpt":
        raise InputError(f"{facts.path} has no GPT", "is it an image of selfinstall's?")
    for partition in facts.partitions:
        if partition.type == arch.root_type:
            return partition
    raise InputError(
        f"{facts.path} has no root partition of {arch.name}", "is it an image of selfinstall's?"
    )


def _raw(facts: ImageFacts, work: Path, on_event: OnEvent) -> Path:
    """The image as a raw disk: itself, or a copy in *work*."""
    if facts.format == "raw":
        return facts.path
    disk = work / "disk.raw"
    qemu_img.convert(
        facts.path, disk, source_format=facts.format, format="raw", step=STEP, on_event=on_event
    )
    return disk


def _made(disk: Path, root: ImagePartition, arch: Arch, work: Path) -> str:
    init: Init = "systemd" if images.starts_systemd(disk, root.start, work) else "sysvinit"
    words = plan.kernel_arguments(arch, init)
    return images.command_line(read_superblock(disk, root.start).uuid, words)
