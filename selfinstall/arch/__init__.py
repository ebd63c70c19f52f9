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
#: How a firmware gets into the machine: in flash, as ``-bios``, or as what ``-kernel``
#: loads (a second stage that the machine's own first stage starts).
Attach = Literal["flash", "bios", "kernel"]
#: When a board has ACPI tables: in any case, under UEFI, or not (or the build has them off).
Acpi = Literal["always", "uefi", "never"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Elf:
    """The ELF header of its programs; *machine* is ``e_machine`` as pyelftools names it."""

    machine: str
    bits: Literal[32, 64]
    little_endian: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """Numbers of system calls (asm/unistd.h, in Debian's linux-libc-dev)."""

    fsync: int
    fdatasync: int
    prctl: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Qemu:
    """The emulated machine.

    :param program: the system emulator's name.
    :param packages: the Debian packages that hold it, of the newest release first.
    :param machine: the value of ``-machine``.
    :param cpu_tcg: the value of ``-cpu`` when instructions are translated.
    :param cpu_kvm: the value of ``-cpu`` when the host's CPU runs them.
    :param kvm_hosts: ``uname -m`` of the hosts whose KVM runs this architecture.
    :param transport: how virtio devices are attached.
    :param minimum: the oldest qemu version that works.
    :param for_kernels: (version of Linux, version of qemu): the oldest qemu that runs kernels
        from this one on, where that is not the minimum.
    :param memory: MiB that the installer gets at least; what the kernel takes for itself differs.
    :param frugal: properties of ``-machine`` that leave out devices which an emulated machine
        boots without, and which would only make the guest work.
    :param frugal_cpu: the same of ``-cpu``: features for which the guest loads modules.
    :param cpus: the guest CPUs with which an emulated image is up soonest, if the host is one of
        *kvm_hosts* and has as many.  On others qemu may run them in turn, for their rules of
        memory ordering are other ones.
    :param direct: properties of ``-machine`` for an emulated one whose kernel qemu loads, and
        which ends when it would restart.
    :param credentials: systemd takes credentials from its SMBIOS (systemd.system-credentials(7)).
    :param installer_firmware: the firmware without which not even ``-kernel`` starts.
    :param libvirt: what libvirt calls this architecture.
    :param acpi: when the machine has ACPI tables, which libvirt wants to be told.
    """

    program: str
    packages: tuple[str, ...]
    machine: str
    cpu_tcg: str
    cpu_kvm: str
    kvm_hosts: tuple[str, ...]
    transport: Transport
    libvirt: str
    acpi: Acpi
    minimum: tuple[int, int] = (7, 2)
    for_kernels: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = ()
    memory: int = 512
    frugal: str = ""
    frugal_cpu: str = ""
    cpus: int = 1
    direct: str = ""
    credentials: bool = False
    installer_firmware: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FirmwareFiles:
    """One build of a firmware.

    :param code: absolute path.
    :param vars: template of its variable store, None for one that has none.
    :param attach: how it gets into the machine.
    :param machine: properties of ``-machine`` that it needs.
    :param minimum: the oldest qemu version under which it works, None for the architecture's.
    """

    code: str
    vars: str | None = None
    attach: Attach = "flash"
    machine: str = ""
    minimum: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Firmware:
    """What starts the boot loader.

    :param name: ``bios``, ``efi`` …, as ``--firmware`` names it.
    :param title: what people call it (``SeaBIOS``).
    :param package: the Debian package that holds it; None when qemu brings it.
    :param since: the first release of Debian that has this package; None for bookworm.
    :param files: the builds to look for, best first; empty when qemu brings it.
    """

    name: str
    title: str
    package: str | None = None
    since: str | None = None
    files: tuple[FirmwareFiles, ...] = ()


#: What starts an image without a boot loader: qemu, with the kernel that lies beside it.
DIRECT = Firmware(name="direct", title="qemu's -kernel")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LoaderUse:
    """A boot loader as this architecture uses it.

    :param loader: the descriptor's name in :mod:`selfinstall.loader`.
    :param firmwares: what can start it; an image is verified under the first that the host has.
    :param target: what the loader's installer calls this platform, empty where there is one only.
    :param package: the Debian package that holds the loader for it, None where the loader's
        own packages are enough.
    :param auto: installed unless the user chooses.
    :param kernel_architecture: needs a kernel of this architecture; None for any.
    """

    loader: str
    firmwares: tuple[str, ...]
    target: str = ""
    package: str | None = None
    auto: bool = True
    kernel_architecture: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Arch:
    """Everything that is particular to one Debian architecture.

    :param name: Debian's name.
    :param multiarch: the GNU triplet of its library folders.
    :param elf: what its programs' ELF headers say.
    :param qemu: the emulated machine.
    :param calls: what its kernel calls system calls.
    :param root_type: the GPT type of its root partitions (Discoverable Partitions
        Specification); by it an image's architecture is known again.
    :param console: the first serial device.
    :param second_serial: the second serial port where its machines have one; the kernel
        may have a node without it.
    :param baud: its speed, for the kernel's and the loader's console.
    :param screen: the kernel's name of the screen console, None where there is none.
    :param grub_terminal: GRUB's terminals; under EFI the firmware's console is the serial one too.
    :param grub_serial: GRUB's ``serial`` command, None where it has no such driver.
    :param kernel_packages: default kernels; the first that the suite has is taken.  One of
        another architecture (``NAME:ARCH``) comes with that architecture added to dpkg's.
    :param installer_args: kernel arguments that only the installer's kernel gets here.
    :param boot_writes: paths in sysfs and the word that the image writes there at each boot,
        where it has such a file.
    :param firmwares: what can start its loaders, in the order of tests.
    :param loaders: the boot loaders, installed in this order.
    """

    name: str
    multiarch: str
    elf: Elf
    calls: Calls
    qemu: Qemu
    root_type: str
    console: str
    second_serial: str | None = None
    baud: int | None
    screen: str | None
    grub_terminal: str = "console"
    grub_serial: str | None = None
    kernel_packages: tuple[str, ...]
    installer_args: tuple[str, ...] = ()
    boot_writes: tuple[tuple[str, str], ...] = ()
    firmwares: tuple[Firmware, ...]
    loaders: tuple[LoaderUse, ...]

    def firmware(self, name: str) -> Firmware:
        """The firmware called *name*; :class:`UsageError` when this architecture has none such."""
        for firmware in (*self.firmwares, DIRECT):
            if firmware.name == name:
                return firmware
        known = ", ".join(f.name for f in self.firmwares) or "none"
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
