"""The architectures: one file each, one frozen :class:`Arch` value in it.

Dropping a file into this folder adds an architecture; nothing else names one.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from typing import Literal

from selfinstall.errors import UsageError

Transport = Literal["pci", "mmio", "ccw"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Elf:
    """The ELF header of its programs; *machine* is ``e_machine`` as pyelftools names it."""

    machine: str
    bits: Literal[32, 64]
    little_endian: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Qemu:
    """The emulated machine.

    :param program: the system emulator's name.
    :param package: the Debian package that holds it.
    :param machine: the value of ``-machine``.
    :param cpu_tcg: the value of ``-cpu`` when instructions are translated.
    :param cpu_kvm: the value of ``-cpu`` when the host's CPU runs them.
    :param kvm_hosts: ``uname -m`` of the hosts whose KVM runs this architecture.
    :param transport: how virtio devices are attached.
    :param minimum: the oldest qemu version that works.
    """

    program: str
    package: str
    machine: str
    cpu_tcg: str
    cpu_kvm: str
    kvm_hosts: tuple[str, ...]
    transport: Transport
    minimum: tuple[int, int] = (7, 2)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FirmwareFiles:
    """One build of a firmware: code and template of the variable store, as absolute paths."""

    code: str
    vars: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Firmware:
    """What starts the boot loader.

    :param name: ``bios``, ``efi`` …, as ``--firmware`` names it.
    :param title: what people call it (``SeaBIOS``).
    :param package: the Debian package that holds it; None when qemu brings it.
    :param files: the builds to look for, best first; empty when qemu brings it.
    """

    name: str
    title: str
    package: str | None = None
    files: tuple[FirmwareFiles, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LoaderUse:
    """A boot loader as this architecture uses it.

    :param loader: the descriptor's name in :mod:`selfinstall.loader`.
    :param firmware: the firmware that starts it.
    :param target: what the loader's installer calls this platform.
    :param package: the Debian package that holds the loader for it.
    """

    loader: str
    firmware: str
    target: str
    package: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Arch:
    """Everything that is particular to one Debian architecture.

    :param name: Debian's name.
    :param multiarch: the GNU triplet of its library folders.
    :param elf: what its programs' ELF headers say.
    :param qemu: the emulated machine.
    :param root_type: the GPT type of its root partitions (Discoverable Partitions
        Specification); by it an image's architecture is known again.
    :param console: the first serial device.
    :param baud: its speed, for the kernel's and the loader's console.
    :param screen: the kernel's name of the screen console, None where there is none.
    :param grub_terminal: GRUB's terminals; under EFI the firmware's console is the serial one too.
    :param grub_serial: GRUB's ``serial`` command, None where it has no such driver.
    :param kernel_package: the default kernel.
    :param installer_args: kernel arguments that only the installer's kernel gets here.
    :param firmwares: what can start its loaders, in the order of tests.
    :param loaders: the boot loaders, installed in this order.
    """

    name: str
    multiarch: str
    elf: Elf
    qemu: Qemu
    root_type: str
    console: str
    baud: int | None
    screen: str | None
    grub_terminal: str = "console"
    grub_serial: str | None = None
    kernel_package: str
    installer_args: tuple[str, ...] = ()
    firmwares: tuple[Firmware, ...]
    loaders: tuple[LoaderUse, ...]

    def firmware(self, name: str) -> Firmware:
        """The firmware called *name*; :class:`UsageError` when this architecture has none such."""
        for firmware in self.firmwares:
            if firmware.name == name:
                return firmware
        known = ", ".join(f.name for f in self.firmwares)
        raise UsageError(f"{self.name} has no firmware {name!r}", f"it has: {known}")


@functools.cache
def all_arches() -> dict[str, Arch]:
    """Every architecture by its Debian name, found by listing this package's modules."""
    found: dict[str, Arch] = {}
    for module in pkgutil.iter_modules(__path__):
        arch = importlib.import_module(f"{__name__}.{module.name}").ARCH
        found[arch.name] = arch
    return found


def get(name: str) -> Arch:
    """The architecture called *name*; :class:`UsageError` when there is no file for it."""
    arches = all_arches()
    if name not in arches:
        raise UsageError(
            f"architecture {name!r} is not supported",
            f"supported: {', '.join(sorted(arches))} (selfinstall arches)",
        )
    return arches[name]
