"""The plan of a build that begins with an image.  Pure.

It is made as for a tarball of the same system without boot loader; then the disk that
is there takes the place of the new one.
"""

from __future__ import annotations

import dataclasses
import math

from selfinstall import plan as plans
from selfinstall.adapt.base import Base
from selfinstall.arch import Arch
from selfinstall.errors import UsageError
from selfinstall.layout import MIB, Disk
from selfinstall.loader import all_loaders
from selfinstall.packages.resolution import Resolution
from selfinstall.plan import NO_LOADER, Needs, Plan, kernel_arguments
from selfinstall.profiles import Profile
from selfinstall.request import STDIN, Request
from selfinstall.rootfs.facts import RootfsFacts

#: Hooks that make a disk out of a rootfs.
MAKING = frozenset({"20-partition", "30-format", plans.ROOT_HOOK, "40-unpack", "70-grow"})
#: Hooks of images alone, and the last of them that makes the boot menu.
MENU = "68-adopted-menu"
ADAPTING = frozenset({"36-fill", MENU})
#: What a new image gets whatever its rootfs; one that boots is as its maker wanted it.
_NOT_NEEDED = frozenset({"udev", "initramfs-tools", "zstd"})
#: Bytes that a first initramfs, indexes and logs take beside the packages.
_SLACK = 96 * MIB


def check(request: Request) -> None:
    """:raises UsageError: something is asked for that an image has decided already."""
    assert request.from_image is not None
    defaults = Request()
    for option, given, default in (
        ("--tarball", request.tarball, defaults.tarball),
        ("--suite", request.suite, defaults.suite),
        ("--variant", request.variant, defaults.variant),
        ("--bootloader", request.bootloader, defaults.bootloader),
        ("--payload", request.payload, defaults.payload),
        ("--kernel", request.kernel, defaults.kernel),
        ("--seed", request.seed, defaults.seed),
    ):
        if given != default:
            raise UsageError(
                f"{option} has no meaning with --from-image",
                "an image keeps its own system, kernel, boot loader and ids",
            )
    if request.from_image == STDIN:
        raise UsageError("--from-image cannot read standard input", "name the image's file")
    if request.output is None:
        raise UsageError("the image that is adapted stays; the new one needs a name", "give -o")
    if request.output.exists() and request.output.samefile(request.from_image):
        raise UsageError(
            f"{request.output} is the image that is to be adapted, and that stays as it is",
            "name another file with -o",
        )


def needs(
    request: Request, facts: RootfsFacts, arch: Arch, profiles: tuple[Profile, ...] = ()
) -> Needs:
    """What must be added: what is asked for, and what the guest's hooks run."""
    found = plans.needs(_without_disk(request), facts, arch, profiles)
    # The network of a system that boots is left alone.
    network = plans.INIT_PACKAGES[plans.chosen_init(request, facts)]
    return dataclasses.replace(
        found,
        wanted=tuple(n for n in found.wanted if n not in _NOT_NEEDED or n in request.include),
        useful=tuple(n for n in found.useful if n not in _NOT_NEEDED.union(network)),
        kernels=(),
    )


def _without_disk(request: Request) -> Request:
    """*request* for the plan of the rootfs alone."""
    return dataclasses.replace(request, bootloader=NO_LOADER, size=None, payload="disk")


def make(
    request: Request,
    base: Base,
    facts: RootfsFacts,
    arch: Arch,
    resolution: Resolution,
    *,
    profiles: tuple[Profile, ...] = (),
    seed: str,
) -> Plan:
    """Decide everything.

    :raises UsageError: options that do not fit; no room for the packages.
    :raises InputError: the image is not of the architecture that was asked for.
    """
    made = plans.make(_without_disk(request), facts, arch, resolution, profiles=profiles, seed=seed)
    disk = _grown(request, base)
    _check_room(base, disk, resolution)
    # Names of network cards are of networks that are set up anew.
    names = set(kernel_arguments(arch, made.init)) - set(kernel_arguments(arch, "systemd"))
    arguments = tuple(argument for argument in made.image_args if argument not in names)
    hooks = tuple(sorted((set(made.hooks) - MAKING) | ADAPTING))
    settings = {
        "HOOKS": " ".join(hooks),
        "ADAPT": "yes",
        "ROOT_PARTITION": str(disk.root.number),
        "ROOT_UUID": base.volume.uuid,
        "MOUNTS": " ".join(f"{m.system.partition.number}:{m.kind}:{m.point}" for m in base.mounts),
        # Names are given where they are asked for.
        "HOST_NAME": request.hostname or "",
        "KERNEL_ARGS": " ".join(arguments),
        "BARE_KERNELS": " ".join(k.version for k in facts.kernels if not k.initrd),
        "MENU_HOOKS": MENU,
        "MENU_INPUTS": " ".join(
            dict.fromkeys(path for each in all_loaders().values() for path in each.menu_inputs)
        ),
        "GRUB_TERMINALS": arch.grub_terminal,
        "GRUB_SERIAL": arch.grub_serial or "",
    }
    return dataclasses.replace(
        made,
        from_image=True,
        hostname=request.hostname or facts.hostname or "",
        disk=disk,
        root_bytes=base.volume.size,
        root_uuid=base.volume.uuid,
        root_hash_seed="",
        esp_id="",
        loaders=(),
        firmwares=_firmwares(request, base, arch),
        hooks=hooks,
        settings={**made.settings, **settings},
        image_args=arguments,
        # A network that works is left alone, name servers and all.
        warnings=tuple(w for w in made.warnings if w != plans.NO_NAME_SERVER),
    )


def _grown(request: Request, base: Base) -> Disk:
    """The disk as the guest shall find it."""
    table = base.table
    size = table.size if request.size is None else request.size // MIB * MIB
    if size < table.size:
        raise UsageError(
            f"{base.name} is a disk of {math.ceil(table.size / MIB)} MiB and cannot become smaller",
            "leave out --size",
        )
    obstacle = table.obstacle(base.root.partition)
    if size > table.size and obstacle is not None:
        raise UsageError(f"the root of {base.name} cannot grow: {obstacle}", "leave out --size")
    return table.with_root(base.root.partition, size)


def _check_room(base: Base, disk: Disk, resolution: Resolution) -> None:
    """Packages may lie there packed and unpacked."""
    needed = 2 * sum(package.installed_size for package in resolution.packages) + _SLACK
    room = base.volume.free + disk.root.size - base.volume.size
    if resolution.packages and room < needed:
        least = math.ceil((disk.size + needed - room) / MIB) + 1
        raise UsageError(
            f"the root of {base.name} has {room // MIB} MiB left, and the packages need "
            f"{math.ceil(needed / MIB)}",
            f"--size {least}M is the least",
        )


def _firmwares(request: Request, base: Base, arch: Arch) -> tuple[tuple[str, ...], ...]:
    """Those that start the image, as its partitions tell; else whichever the host has."""
    if request.firmware != "both":
        return ((arch.firmware(request.firmware).name,),)
    rows = base.facts.bootable_firmwares(arch)
    return rows or (tuple(firmware.name for firmware in arch.firmwares),)
