"""qemu's command line.  Pure: a :class:`Machine` in, words out."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from selfinstall.arch import Arch, FirmwareFiles, Transport
from selfinstall.qemu import credentials
from selfinstall.qemu.emulator import SANDBOX, Emulator

AccelName = Literal["kvm", "tcg"]
Cache = Literal["unsafe", "writeback"]

EVENTS = "org.selfinstall.events"
MANIFEST = "org.selfinstall.manifest"

#: How the name of a virtio device ends on each transport.
SUFFIX: dict[Transport, str] = {"pci": "-pci", "mmio": "-device", "ccw": "-ccw"}
#: Further properties of a network card.  PCI cards carry iPXE, which an image that boots
#: by itself does not need, and whose ROM is only recommended by Debian's qemu.
CARD: dict[Transport, str] = {"pci": ",romfile=", "mmio": "", "ccw": ""}
#: MiB of translated code that TCG keeps.  The default is an eighth of the host's memory up
#: to 1 GiB, which is what made qemu larger than its guest.
TRANSLATIONS = 512


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Drive:
    """A virtio disk.

    :param path: the image, absolute; any characters.
    :param format: as qemu calls it.
    :param serial: what the guest finds it by (``/dev/disk/by-id/virtio-SERIAL``), 20 bytes at most.
    :param bootindex: the firmware tries the lowest first, and nothing that has none.
    :param cache: ``unsafe`` never flushes to the host's disk: for what is thrown away on a crash.
    :param discard: what the guest trims or fills with zeros takes no space on the host.
    :param snapshot: qemu itself keeps what is written in a file of its own, gone with it.
    """

    path: Path
    format: str
    serial: str
    read_only: bool = False
    bootindex: int | None = None
    cache: Cache = "unsafe"
    discard: bool = False
    snapshot: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """A named virtio-serial port on an open socket *fd*; None for one that leads nowhere."""

    name: str
    fd: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Forward:
    """A TCP port of the host's loopback (*host*) that leads to the guest's port *guest*.

    0 as *host* is any that is free; qemu tells which (:mod:`selfinstall.qemu.usernet`).
    """

    host: int
    guest: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A folder of the host that the guest can mount by 9p over virtio.

    :param path: the folder, absolute; any characters.
    :param tag: what the guest mounts it by, 31 bytes at most (qemu's MAX_TAG_LEN).
    """

    path: Path
    tag: str
    read_only: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """One card on qemu's user-mode network (DHCP, NAT).

    :param restrict: the guest reaches neither the host nor the world.
    """

    restrict: bool = False
    forwards: tuple[Forward, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A machine to start.

    :param memory: MiB.
    :param kernel: started directly; None to let the firmware find a loader on the drives.
    :param firmware: files for flash, *vars* being a private writable copy; None for what
        qemu brings.
    :param fresh_vars: *vars* is the template itself; qemu keeps what is written to it in a
        file of its own, gone with it.
    :param console: the first serial device: an open socket, ``stdio``, or None for none.
    :param serial_screen: the firmware shows on the serial console what it would on a screen.
    :param frugal: when emulated, it makes no work for the guest that a boot does not need.
    :param qmp: an open socket for the machine protocol, or None.
    :param reboots: the guest may restart itself; without, qemu exits when it tries.
    """

    arch: Arch
    emulator: Emulator
    accel: AccelName
    memory: int
    smp: int = 1
    kernel: Path | None = None
    initrd: Path | None = None
    append: str | None = None
    firmware: FirmwareFiles | None = None
    fresh_vars: bool = False
    drives: tuple[Drive, ...] = ()
    console: int | Literal["stdio"] | None = None
    serial_screen: bool = False
    frugal: bool = False
    channels: tuple[Channel, ...] = ()
    qmp: int | None = None
    network: Network | None = None
    shares: tuple[Share, ...] = ()
    rng: bool = True
    reboots: bool = False


def argv(machine: Machine) -> tuple[str, ...]:
    """The words that start *machine*."""
    return tuple(word for option in _options(machine) for word in option)


def pasteable(machine: Machine) -> str:
    """A line for a shell: *machine* with its console on the terminal, its ports nowhere."""
    ports = tuple(dataclasses.replace(c, fd=None) for c in machine.channels)
    return shlex.join(argv(dataclasses.replace(machine, console="stdio", channels=ports, qmp=None)))


def escape(value: str | os.PathLike[str]) -> str:
    """*value* inside an option of qemu, where a comma ends it unless doubled."""
    return os.fspath(value).replace(",", ",,")


def _options(machine: Machine) -> Iterator[tuple[str, ...]]:
    yield (machine.emulator.program,)
    yield ("-nodefaults",)
    yield ("-no-user-config",)
    yield "-display", "none"
    if not machine.reboots:
        yield ("-no-reboot",)
    if machine.emulator.sandbox:
        yield "-sandbox", SANDBOX
    yield from _board(machine)
    yield from _boot(machine)
    if _is_frugal(machine) and machine.arch.qemu.credentials:
        yield from credentials.options()
    for number, drive in enumerate(machine.drives):
        yield from _disk(drive, f"disk{number}", SUFFIX[machine.arch.qemu.transport])
    yield from _serial(machine)
    yield from network(machine)
    for number, share in enumerate(machine.shares):
        yield from _share(share, f"share{number}", SUFFIX[machine.arch.qemu.transport])
    if machine.rng:
        yield "-object", "rng-builtin,id=rng0"
        yield "-device", f"virtio-rng{SUFFIX[machine.arch.qemu.transport]},rng=rng0"


def _is_frugal(machine: Machine) -> bool:
    return machine.frugal and machine.accel == "tcg"


def _starts_once(machine: Machine) -> bool:
    return machine.kernel is not None and machine.accel == "tcg" and not machine.reboots


def _board(machine: Machine) -> Iterator[tuple[str, str]]:
    qemu = machine.arch.qemu
    board = qemu.machine
    if machine.serial_screen:
        board += ",graphics=off"
    if _is_frugal(machine) and qemu.frugal:
        board += f",{qemu.frugal}"
    if _starts_once(machine) and qemu.direct:
        board += f",{qemu.direct}"
    flash = machine.firmware
    if flash is not None and flash.machine:
        board += f",{flash.machine}"
    if flash is not None and flash.attach == "flash":
        yield "-blockdev", _file("flash0", "raw", Path(flash.code), read_only=True)
        board += ",pflash0=flash0"
        if flash.vars is not None and machine.fresh_vars:
            yield "-drive", f"if=pflash,unit=1,{_snapshot('raw', Path(flash.vars))}"
        elif flash.vars is not None:
            yield "-blockdev", _file("flash1", "raw", Path(flash.vars), read_only=False)
            board += ",pflash1=flash1"
    yield "-machine", board
    # No thread=multi: it is the default wherever the host's memory ordering is as strong as
    # the guest's, and wrong where it is not.
    tcg = f"tcg,tb-size={TRANSLATIONS}"
    yield "-accel", "kvm" if machine.accel == "kvm" else tcg
    cpu = qemu.cpu_kvm if machine.accel == "kvm" else qemu.cpu_tcg
    if _is_frugal(machine) and qemu.frugal_cpu:
        cpu += f",{qemu.frugal_cpu}"
    yield "-cpu", cpu
    yield "-smp", str(machine.smp)
    yield "-m", f"{machine.memory}M"


def _boot(machine: Machine) -> Iterator[tuple[str, str]]:
    firmware = machine.firmware
    if firmware is not None and firmware.attach != "flash":
        yield f"-{firmware.attach}", firmware.code
    if machine.kernel is not None:
        yield "-kernel", os.fspath(machine.kernel)
    if machine.initrd is not None:
        yield "-initrd", os.fspath(machine.initrd)
    if machine.append is not None:
        yield "-append", machine.append
    if any(drive.bootindex is not None for drive in machine.drives):
        # Firmware then does not go on to the network, which takes minutes.
        yield "-boot", "strict=on"


def _file(node: str, format: str, path: Path, *, read_only: bool) -> str:
    """A block node on a file.  Unlike -drive, it takes a colon in a path for what it is."""
    return (
        f"driver={escape(format)},node-name={node},read-only={'on' if read_only else 'off'},"
        f"file.driver=file,file.filename={escape(path)}"
    )


def _snapshot(format: str, path: Path) -> str:
    """The same for -drive, which alone can keep what is written in a file that nobody sees."""
    named = f"format={escape(format)},file.driver=file,file.filename={escape(path)}"
    return f"{named},snapshot=on"


def _disk(drive: Drive, node: str, suffix: str) -> Iterator[tuple[str, str]]:
    # What the format's node does not set on its file is inherited by it: cache and discard too.
    if drive.snapshot:
        block = f"if=none,id={node},{_snapshot(drive.format, drive.path)}"
    else:
        block = _file(node, drive.format, drive.path, read_only=drive.read_only)
        if drive.cache == "unsafe":
            block += ",cache.no-flush=on"
    if drive.discard:
        block += ",discard=unmap,detect-zeroes=unmap"
    yield "-drive" if drive.snapshot else "-blockdev", block
    device = f"virtio-blk{suffix},drive={node},serial={escape(drive.serial)}"
    if drive.bootindex is not None:
        device += f",bootindex={drive.bootindex}"
    yield "-device", device


def _serial(machine: Machine) -> Iterator[tuple[str, str]]:
    if machine.console == "stdio":
        yield "-chardev", "stdio,id=console,mux=on,signal=off"
        yield "-mon", "chardev=console,mode=readline"
    elif machine.console is not None:
        yield "-chardev", f"socket,id=console,fd={machine.console}"
    if machine.console is not None:
        yield "-serial", "chardev:console"
    if machine.channels:
        yield "-device", f"virtio-serial{SUFFIX[machine.arch.qemu.transport]}"
    for number, channel in enumerate(machine.channels):
        end = "null" if channel.fd is None else "socket"
        where = "" if channel.fd is None else f",fd={channel.fd}"
        yield "-chardev", f"{end},id=port{number}{where}"
        yield "-device", f"virtserialport,chardev=port{number},name={escape(channel.name)}"
    if machine.qmp is not None:
        yield "-chardev", f"socket,id=qmp,fd={machine.qmp}"
        yield "-mon", "chardev=qmp,mode=control"


def network(machine: Machine) -> Iterator[tuple[str, str]]:
    """The options of its card, each with its value."""
    card = machine.network
    if card is None:
        return
    user = "user,id=net0"
    if card.restrict:
        user += ",restrict=on"
    for forward in card.forwards:
        user += f",hostfwd=tcp:127.0.0.1:{forward.host}-:{forward.guest}"
    yield "-netdev", user
    transport = machine.arch.qemu.transport
    yield "-device", f"virtio-net{SUFFIX[transport]},netdev=net0{CARD[transport]}"


def _share(share: Share, name: str, suffix: str) -> Iterator[tuple[str, str]]:
    # Files of the guest belong to the user who runs qemu, who alone need not be root for it;
    # "mapped" would let no other program see their modes and links.  File systems mounted
    # below may repeat inode numbers, which remap tells apart.
    folder = f"local,id={name},path={escape(share.path)},security_model=none,multidevs=remap"
    yield "-fsdev", f"{folder},readonly=on" if share.read_only else folder
    yield "-device", f"virtio-9p{suffix},fsdev={name},mount_tag={escape(share.tag)}"
