from __future__ import annotations

import base64
import dataclasses
import itertools
import shlex
from pathlib import Path

import golden
import pytest
from plan_helpers import make_facts, make_plan
from qemu_helpers import AMD64

from selfinstall.arch import DIRECT, Arch, Firmware, FirmwareFiles, all_arches
from selfinstall.qemu.argv import (
    Channel,
    Drive,
    Forward,
    Machine,
    Network,
    argv,
    escape,
    pasteable,
)
from selfinstall.qemu.credentials import CREDENTIALS
from selfinstall.qemu.emulator import Emulator
from selfinstall.qemu.install import CHANNELS

PORTS = tuple(Channel(channel.name, 12 + n) for n, channel in enumerate(CHANNELS))
TARGET = Drive(path=Path("/build/target.img"), format="raw", serial="target", discard=True)
PAYLOAD = Drive(path=Path("/build/payload.tar"), format="raw", serial="payload", read_only=True)
OVERLAY = Drive(path=Path("/scratch/overlay.qcow2"), format="qcow2", serial="image", bootindex=0)


def emulator(arch: Arch) -> Emulator:
    return Emulator(program=f"/usr/bin/{arch.qemu.program}", version="10.0.2", sandbox=True)


def private(firmware: Firmware) -> FirmwareFiles | None:
    """The first of its builds, with a copy of its variables."""
    if not firmware.files:
        return None
    files = firmware.files[0]
    return dataclasses.replace(files, vars="/scratch/vars.fd" if files.vars else None)


def installer(arch: Arch) -> Machine:
    plan = make_plan(make_facts(architecture=arch.name))
    own = arch.qemu.installer_firmware
    return Machine(
        arch=arch,
        emulator=emulator(arch),
        accel="tcg",
        memory=plan.memory_mib,
        kernel=Path("/build/vmlinuz"),
        initrd=Path("/build/initramfs.cpio"),
        append=" ".join(plan.installer_args),
        firmware=private(arch.firmware(own)) if own else None,
        drives=(TARGET,),
        console=10,
        qmp=11,
        channels=PORTS,
    )


def verify(arch: Arch, firmware: Firmware) -> Machine:
    return Machine(
        arch=arch,
        emulator=emulator(arch),
        accel="tcg",
        memory=1024,
        drives=(OVERLAY,),
        console=10,
        serial_screen=True,
        frugal=True,
        qmp=11,
        network=Network(),
        firmware=private(firmware),
    )


def direct(arch: Arch) -> Machine:
    plan = make_plan(make_facts(architecture=arch.name), bootloader="none")
    own = arch.qemu.installer_firmware
    return dataclasses.replace(
        verify(arch, arch.firmware(own) if own else DIRECT),
        drives=(dataclasses.replace(OVERLAY, bootindex=None),),
        kernel=Path("/images/a.img.kernel"),
        initrd=Path("/images/a.img.initrd"),
        append=f"root=UUID={plan.root_uuid} ro {' '.join(plan.image_args)}",
    )


EMULATOR = emulator(AMD64)
INSTALLER = installer(AMD64)
VERIFY = verify(AMD64, AMD64.firmware("bios"))
MACHINES = {
    **{f"{arch.name}-installer": installer(arch) for arch in all_arches().values()},
    **{
        f"{arch.name}-verify-{firmware.name}": verify(arch, firmware)
        for arch in all_arches().values()
        for firmware in arch.firmwares
    },
    **{f"{arch.name}-direct": direct(arch) for arch in all_arches().values()},
    "amd64-installer-disk-payload": dataclasses.replace(INSTALLER, drives=(TARGET, PAYLOAD)),
    "amd64-installer-kvm": dataclasses.replace(INSTALLER, accel="kvm", smp=2),
    "amd64-boot-forwards": dataclasses.replace(
        VERIFY,
        serial_screen=False,
        frugal=False,
        reboots=True,
        drives=(dataclasses.replace(OVERLAY, cache="writeback"),),
        network=Network(restrict=True, forwards=(Forward(2222, 22), Forward(8080, 80))),
    ),
}


def as_text(words: tuple[str, ...]) -> str:
    """One option with its value a line."""
    lines: list[list[str]] = []
    for word in words:
        if word.startswith("-") or not lines:
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return "\n".join(map(" ".join, lines)) + "\n"


@pytest.mark.parametrize("name", MACHINES)
def test_golden(name: str) -> None:
    golden.check(f"qemu-argv-{name}.txt", as_text(argv(MACHINES[name])))


def test_no_golden_file_is_left_over() -> None:
    known = {f"qemu-argv-{name}.txt" for name in MACHINES}
    assert {path.name for path in golden.FOLDER.glob("qemu-argv-*.txt")} == known


def option(words: tuple[str, ...], name: str) -> list[str]:
    return [value for key, value in itertools.pairwise(words) if key == name]


@pytest.mark.parametrize("name", [n for n in MACHINES if "-verify-" in n])
def test_only_an_emulated_machine_is_frugal(name: str) -> None:
    """A real CPU has no need of it; and what the user boots has all devices."""
    plain = argv(dataclasses.replace(MACHINES[name], accel="kvm", frugal=False))
    assert argv(dataclasses.replace(MACHINES[name], accel="kvm")) == plain
    assert option(plain, "-smbios") == []


def test_frugal() -> None:
    (board,) = option(argv(VERIFY), "-machine")
    assert board.split(",")[1:] == ["graphics=off", "sata=off", "smbus=off", "i8042=off"]
    (cpu,) = option(argv(VERIFY), "-cpu")
    (others,) = option(argv(INSTALLER), "-cpu")
    assert cpu == f"{others},svm=off,aes=off,vaes=off,pclmulqdq=off"


def test_credentials() -> None:
    """What qemu is given is what systemd shall read."""
    found = {}
    for value in option(argv(VERIFY), "-smbios"):
        kind, _, text = value.partition(",value=io.systemd.credential.binary:")
        name, _, content = text.partition("=")
        assert kind == "type=11" and "," not in text
        found[name] = base64.b64decode(content, validate=True).decode()
    assert found == CREDENTIALS
    (unit,) = [name for name in found if name.startswith("systemd.extra-unit.")]
    wants = f"Wants={unit.removeprefix('systemd.extra-unit.')}"
    assert wants in found["systemd.unit-dropin.sysinit.target"].splitlines()
    golden.check("credentials.txt", "".join(f"# {n}\n{t}\n" for n, t in found.items()))


@pytest.mark.parametrize("path", ["/a,b/c.img", "/ü ß/x:y.img", "/a,,b.img", "/fd:3"])
def test_any_path(path: str) -> None:
    drive = dataclasses.replace(TARGET, path=Path(path))
    (block,) = option(argv(dataclasses.replace(INSTALLER, drives=(drive,))), "-blockdev")
    # qemu ends a value at a single comma.
    value = block.partition("file.filename=")[2].replace(",,", "\0").partition(",")[0]
    assert value.replace("\0", ",") == path


def test_escape_doubles_commas_only() -> None:
    assert escape("a,b=c d") == "a,,b=c d"


@pytest.mark.parametrize(("transport", "suffix"), [("mmio", "-device"), ("ccw", "-ccw")])
def test_transport(transport: str, suffix: str) -> None:
    qemu = dataclasses.replace(AMD64.qemu, transport=transport)
    machine = dataclasses.replace(
        INSTALLER, arch=dataclasses.replace(AMD64, qemu=qemu), network=Network()
    )
    devices = option(argv(machine), "-device")
    heads = {device.partition(",")[0] for device in devices}
    assert heads == {f"virtio-{kind}{suffix}" for kind in ("blk", "serial", "rng", "net")} | {
        "virtserialport"
    }
    assert not any("romfile" in device for device in devices)


def test_without_seccomp() -> None:
    machine = dataclasses.replace(INSTALLER, emulator=dataclasses.replace(EMULATOR, sandbox=False))
    assert "-sandbox" not in argv(machine)


def test_pasteable_needs_no_sockets() -> None:
    words = tuple(shlex.split(pasteable(INSTALLER)))
    assert "fd=" not in pasteable(INSTALLER)
    assert option(words, "-chardev")[0].startswith("stdio,")
    assert option(words, "-append") == [INSTALLER.append]


def test_sockets_are_used_once() -> None:
    sockets = [value for value in option(argv(INSTALLER), "-chardev") if "fd=" in value]
    assert [value.rpartition("=")[2] for value in sockets] == ["10", "12", "13", "11"]
