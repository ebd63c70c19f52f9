"""A finished image as a machine: its own firmware, its own loader, no ``-kernel``."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from selfinstall.arch import Arch, Firmware
from selfinstall.errors import HostError
from selfinstall.image.export import Exported
from selfinstall.qemu import firmware as firmwares
from selfinstall.qemu.argv import AccelName, Drive, Machine, Network
from selfinstall.qemu.emulator import Emulator
from selfinstall.qemu.qemu_img import overlay

SERIAL = "image"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Boot:
    """An image to boot.

    :param image: its file.
    :param format: as qemu calls it.
    :param firmware: what starts its loader.
    :param memory: MiB.
    :param direct: kernel, initramfs and arguments for an image without a boot loader.
    :param network: the card, None for none.
    :param write: what the guest writes stays in the image; without, it goes to an overlay
        that is thrown away and the image is opened for reading only.
    :param scratch: the folder for the overlay and the firmware's variables, None for the
        system's temporary folder.
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
    write: bool = False
    scratch: Path | None = None


@contextlib.contextmanager
def machine(boot: Boot, accel: AccelName) -> Iterator[Machine]:
    """*boot* as a machine, with fresh firmware variables and, unless it writes, a fresh overlay.

    :raises HostError: firmware, program or space is missing.
    :raises InputError: the image cannot be used.
    """
    with contextlib.ExitStack() as stack:
        try:
            temporary = tempfile.TemporaryDirectory(prefix="selfinstall-boot-", dir=boot.scratch)
        except OSError as error:
            raise HostError(f"cannot make a temporary folder: {error}") from error
        folder = Path(stack.enter_context(temporary))
        image = boot.image.absolute()
        # What qemu loads itself is first already: on a PC its loader for -kernel has index 0.
        first = None if boot.direct else 0
        if boot.write:
            drive = Drive(
                path=image, format=boot.format, serial=SERIAL, bootindex=first, cache="writeback"
            )
        else:
            layer = stack.enter_context(overlay(image, boot.format, folder))
            drive = Drive(path=layer, format="qcow2", serial=SERIAL, bootindex=first)
        firmware, needed = boot.firmware, boot.arch.qemu.installer_firmware
        if boot.direct and needed is not None:
            firmware = boot.arch.firmware(needed)
        yield Machine(
            arch=boot.arch,
            emulator=boot.emulator,
            accel=accel,
            memory=boot.memory,
            smp=boot.smp,
            kernel=boot.direct.kernel.absolute() if boot.direct else None,
            initrd=boot.direct.initrd.absolute() if boot.direct else None,
            append=boot.direct.arguments if boot.direct else None,
            firmware=stack.enter_context(firmwares.private(firmware, folder, boot.emulator)),
            drives=(dataclasses.replace(drive, discard=True),),
            network=boot.network,
        )
