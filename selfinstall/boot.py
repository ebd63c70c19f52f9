"""Running an image with its console on the terminal, or telling others how to run it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from selfinstall import exporting, request, verification
from selfinstall import seed as seeds
from selfinstall.errors import InputError, UsageError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.host import workspace
from selfinstall.image import export
from selfinstall.image.inspect import inspect_image
from selfinstall.packages.cache import folder_or
from selfinstall.qemu import accel as accels
from selfinstall.qemu import usernet
from selfinstall.qemu.argv import Forward, Network, Share, pasteable
from selfinstall.qemu.boot import Boot, bare
from selfinstall.qemu.libvirt import domain
from selfinstall.qemu.terminal import HOW_TO_QUIT, boot_interactive
from selfinstall.seed import Seed


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
    shares: tuple[Share, ...] = (),
    seed: Seed | None = None,
    write: bool = False,
    refresh: bool = False,
    cache: Path | None = None,
    on_event: OnEvent = ignore,
) -> None:
    """Boot *image* until its machine ends or the user ends it.

    :param arch: its architecture; None for what its partition table names, or the host's.
    :param firmware: what starts it; None for the architecture's first that it has a loader for.
    :param memory: MiB.
    :param forwards: TCP ports of the host's loopback that lead into the machine; a note
        tells those that were left to choose.
    :param shares: folders that the machine can mount.
    :param seed: what cloud-init in the machine is told; None for no seed.
    :param write: keep what the machine writes; without, it is thrown away.
    :param refresh: afterwards, bring kernel and initramfs beside the image up to date.
    :raises UsageError: *refresh* without *write*.
    :raises InputError: there is no such image or folder.
    :raises HostError: the host lacks qemu or firmware, or a port is in use.
    """
    if refresh and not write:
        raise UsageError("there is nothing to export after a boot that keeps nothing", "--write")
    usernet.check_free(forwards)
    made = prepare(
        image,
        arch=arch,
        firmware=firmware,
        memory=memory,
        smp=smp,
        qemu=qemu,
        forwards=forwards,
        shares=shares,
        write=write,
    )
    for share in made.shares:
        on_event(Event("note", "boot", message=how_to_mount(share)))
    on_event(Event("note", "boot", message=HOW_TO_QUIT))
    with workspace() as work:
        boot_interactive(
            dataclasses.replace(made, scratch=work, seed=write_seed(seed, work / "seed.iso")),
            wanted=accel,
            cache=folder_or(cache, work),
            on_event=on_event,
        )
    if refresh:
        exporting.export(image, arch=arch, on_event=on_event)


def printed(
    image: Path,
    style: request.Style,
    *,
    arch: str | None = None,
    firmware: str | None = None,
    accel: request.Accel = "auto",
    memory: int | None = None,
    smp: int | None = None,
    qemu: Path | None = None,
    forwards: tuple[Forward, ...] = (),
    shares: tuple[Share, ...] = (),
    seed: Seed | None = None,
    write: bool = False,
    cache: Path | None = None,
    on_event: OnEvent = ignore,
) -> str:
    """How to run *image* without this program; arguments as of :func:`boot`.

    A seed is written beside the image, as ``IMAGE.seed``, and a port that was left to choose
    is one that is free now.

    :param style: ``qemu`` for a line for a shell, ``libvirt`` for a domain's XML.
    :raises InputError: there is no such image or folder.
    :raises HostError: the host lacks qemu or firmware, or the seed cannot be written.
    """
    made = prepare(
        image,
        arch=arch,
        firmware=firmware,
        memory=memory,
        smp=smp,
        qemu=qemu,
        forwards=_free(forwards),
        shares=shares,
        write=write,
    )
    beside = image.with_name(f"{image.name}.seed")
    made = dataclasses.replace(made, seed=write_seed(seed, beside))
    if made.seed is not None:
        on_event(Event("note", "boot", message=f"cloud-init's seed is {made.seed}"))
    with workspace() as work:
        known = accels.memory(folder_or(cache, work), made.arch, made.emulator)
        name = accels.likely(accel, made.arch, known, made.firmware.name)
    machine = bare(made, name)
    return f"{pasteable(machine)}\n" if style == "qemu" else domain(machine, image.stem)


def prepare(
    image: Path,
    *,
    arch: str | None,
    firmware: str | None,
    memory: int | None,
    smp: int | None,
    qemu: Path | None,
    forwards: tuple[Forward, ...],
    shares: tuple[Share, ...] = (),
    write: bool = False,
) -> Boot:
    """*image* as something to boot; arguments as of :func:`boot`.

    :raises InputError: there is no such image or folder.
    :raises HostError: the host lacks qemu or firmware.
    """
    facts = inspect_image(image)
    chosen = verification.arch_of(facts, arch)
    direct = export.beside(image)
    name = firmware or verification.usable_firmwares(facts, chosen, direct, qemu)[0]
    made = verification.machine(
        facts, chosen, name, direct=direct, memory=memory, smp=smp, qemu=qemu, write=write
    )
    return dataclasses.replace(
        made, network=Network(forwards=forwards), shares=tuple(_tagged(shares))
    )


def how_to_mount(share: Share) -> str:
    """The command that mounts *share* inside."""
    options = "trans=virtio,version=9p2000.L"
    if share.read_only:
        options = f"ro,{options}"
    return f"inside, {share.path} is mounted by: mount -t 9p -o {options} {share.tag} /mnt"


def write_seed(seed: Seed | None, target: Path) -> Path | None:
    """Write a *seed* to *target*, at once or not at all; None when there is none.

    :raises HostError: the place does not take the file.
    """
    if seed is None:
        return None
    unfinished = target.with_name(f".{target.name}.part")
    try:
        seeds.write(seed, unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def _tagged(shares: Iterable[Share]) -> Iterable[Share]:
    """The shares with absolute paths; those without a tag are ``share``, ``share2`` …"""
    tags = set[str]()
    for number, share in enumerate(shares, 1):
        if not share.path.is_dir() or not os.access(share.path, os.R_OK | os.X_OK):
            raise InputError(f"{share.path} is no folder that can be read")
        tag = share.tag or ("share" if number == 1 else f"share{number}")
        if tag in tags:
            raise UsageError(f"two shares have the tag {tag}", "--share FOLDER:TAG")
        tags.add(tag)
        yield dataclasses.replace(share, path=share.path.absolute(), tag=tag)


def _free(forwards: Iterable[Forward]) -> tuple[Forward, ...]:
    """The same with ports that are free now for those that were left to choose."""
    with contextlib.ExitStack() as stack:
        found = []
        for forward in forwards:
            # All stay open until all are chosen, so that none is chosen twice.
            probe = stack.enter_context(socket.socket())
            probe.bind((usernet.LOOPBACK, 0))
            found.append(dataclasses.replace(forward, host=forward.host or probe.getsockname()[1]))
        return tuple(found)
