"""A finished image as a machine: its own firmware, its own loader, no ``-kernel``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from selfinstall.arch import Arch, Firmware, FirmwareFiles
from selfinstall.host import workspace
from selfinstall.image.export import Exported
from selfinstall.qemu import firmware as firmwares
from selfinstall.qemu.argv import AccelName, Drive, Machine, Network, Share
from selfinstall.qemu.emulator import Emulator
from selfinstall.qemu.qemu_img import overlay

SERIAL = "image"
SEED = "seed"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Boot:
    """An image to boot.

    :param image: its file.
    :param format: as qemu calls it.
    :param firmware: what starts its loader.
    :param memory: MiB.
    :param direct: kernel, initramfs and arguments for an image without a boot loader.
    :param network: the card, None for none.
    :param shares: folders of the host that the guest can mount.
    :param seed: a further disk that is only read, for cloud-init.
    :param write: what the guest writes stays in the image; without, it goes to an overlay
        that is thrown away and the image is opened for reading only.
    :param scratch: the folder for the overlay and the firmware's variables, None for where
        temporary files go.
    """

    arch: Arch
    emulator: Emulator
    image: Path
    format: str
    firmware: Firmware
    memory: int = 1024
    smp: int = 1
    direct: Exported | None = None
    network: Network | None = None
    shares: tuple[Share, ...] = ()
    seed: Path | None = None
    write: bool = False
    scratch: Path | None = None


@contextlib.contextmanager
def machine(boot: Boot, accel: AccelName) -> Iterator[Machine]:
    """*boot* as a machine, with fresh firmware variables and, unless it writes, a fresh overlay.

    :raises HostError: firmware, program or space is missing.
    :raises InputError: the image cannot be used.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(workspace(boot.scratch))
        image = boot.image.absolute()
        if boot.write:
            drive = Drive(path=image, format=boot.format, serial=SERIAL, cache="writeback")
        else:
            layer = stack.enter_context(overlay(image, boot.format, folder))
            drive = Drive(path=layer, format="qcow2", serial=SERIAL)
        firmware = firmwares.private(_firmware(boot), folder, boot.emulator)
        yield _machine(boot, accel, drive, stack.enter_context(firmware))


def bare(boot: Boot, accel: AccelName) -> Machine:
    """*boot* as a machine that somebody else starts, at any time: it uses no temporary file.

    Unless it writes, qemu itself keeps what is written, in files that are gone with it.

    :raises HostError: firmware is missing.
    """
    drive = Drive(
        path=boot.image.absolute(),
        format=boot.format,
        serial=SERIAL,
        cache="writeback",
        snapshot=not boot.write,
    )
    made = _machine(boot, accel, drive, firmwares.find(_firmware(boot), boot.emulator))
    return dataclasses.replace(made, fresh_vars=True, reboots=True)


def _firmware(boot: Boot) -> Firmware:
    """What starts the machine, be it only for qemu to start the kernel."""
    needed = boot.arch.qemu.installer_firmware
    return boot.arch.firmware(needed) if boot.direct and needed is not None else boot.firmware


def _machine(boot: Boot, accel: AccelName, drive: Drive, firmware: FirmwareFiles | None) -> Machine:
    # What qemu loads itself is first already: on a PC its loader for -kernel has index 0.
    first = None if boot.direct else 0
    drives = [dataclasses.replace(drive, bootindex=first, discard=True)]
    if boot.seed is not None:
        drives.append(Drive(path=boot.seed.absolute(), format="raw", serial=SEED, read_only=True))
    return Machine(
        arch=boot.arch,
        emulator=boot.emulator,
        accel=accel,
        memory=boot.memory,
        smp=boot.smp,
        kernel=boot.direct.kernel.absolute() if boot.direct else None,
        initrd=boot.direct.initrd.absolute() if boot.direct else None,
        append=boot.direct.arguments if boot.direct else None,
        firmware=firmware,
        drives=tuple(drives),
        network=boot.network,
        shares=boot.shares,
    )
