"""What follows from the architectures' data: loaders, firmware, kernels; and a new one."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from plan_helpers import make_facts, make_plan, make_resolution

from selfinstall import plan
from selfinstall.arch import DIRECT, Arch, Firmware, FirmwareFiles, all_arches, get
from selfinstall.errors import HostError, InputError, UsageError
from selfinstall.image.inspect import ImageFacts, ImagePartition
from selfinstall.layout import BIOS_BOOT, ESP, PREP
from selfinstall.loader import all_loaders
from selfinstall.packages.resolution import Resolution
from selfinstall.qemu import firmware
from selfinstall.qemu.emulator import Emulator, check_kernel
from selfinstall.request import Request
from selfinstall.rootfs.facts import Kernel, RootfsFacts
from selfinstall.verification import arch_of, machine, usable_firmwares

SOURCE = Path(__file__).parents[2] / "selfinstall"
each_arch = pytest.mark.parametrize("arch", all_arches().values(), ids=lambda arch: arch.name)


def facts_of(arch: Arch | str, **changes: object) -> RootfsFacts:
    return make_facts(architecture=arch if isinstance(arch, str) else arch.name, **changes)


@pytest.fixture(autouse=True)
def no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host's apt knows is not asked."""
    monkeypatch.setenv("PATH", str(tmp_path))


# --- boot loaders --------------------------------------------------------------------------


def chosen(arch: str, bootloader: str = "auto", firmware: str = "both") -> list[str]:
    request = Request(tarball=Path("a.tar"), bootloader=bootloader, firmware=firmware)
    return [use.target or use.loader for use in plan.chosen_loaders(request, get(arch))]


@pytest.mark.parametrize(
    ("arch", "bootloader", "firmware", "expected"),
    [
        ("amd64", "auto", "both", ["i386-pc", "x86_64-efi"]),
        ("amd64", "grub", "bios", ["i386-pc"]),
        ("amd64", "none", "both", []),
        ("i386", "auto", "both", ["i386-pc", "i386-efi", "x86_64-efi"]),
        ("i386", "auto", "efi32", ["i386-efi"]),
        ("arm64", "auto", "both", ["arm64-efi"]),
        ("arm64", "auto", "u-boot", ["arm64-efi"]),
        ("arm64", "grub", "u-boot", ["arm64-efi"]),
        ("arm64", "extlinux", "both", ["extlinux"]),
        ("riscv64", "extlinux", "u-boot", ["extlinux"]),
        ("ppc64el", "auto", "slof", ["powerpc-ieee1275"]),
        ("s390x", "auto", "both", ["zipl"]),
        ("s390x", "zipl", "ccw", ["zipl"]),
        ("mips64el", "auto", "both", []),
        ("mipsel", "none", "both", []),
    ],
)
def test_chosen_loaders(arch: str, bootloader: str, firmware: str, expected: list[str]) -> None:
    assert chosen(arch, bootloader, firmware) == expected


@pytest.mark.parametrize(
    ("arch", "bootloader", "firmware", "message", "hint"),
    [
        ("amd64", "extlinux", "both", "amd64 has no boot loader 'extlinux'", "auto, grub, none"),
        ("s390x", "grub", "both", "s390x has no boot loader 'grub'", "auto, zipl, none"),
        ("mipsel", "grub", "both", "mipsel has no boot loader 'grub'", "auto, none"),
        ("amd64", "auto", "slof", "amd64 has no firmware 'slof'", "bios, efi"),
        ("mipsel", "auto", "efi", "mipsel has no firmware 'efi'", "none"),
        ("arm64", "extlinux", "efi", "extlinux of arm64 is not for the firmware efi", "u-boot"),
    ],
)
def test_loaders_that_cannot_be(
    arch: str, bootloader: str, firmware: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(arch, bootloader, firmware)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@each_arch
def test_without_a_loader_nothing_of_one_is_there(arch: Arch) -> None:
    made = make_plan(facts_of(arch), bootloader="none")
    assert [p.role for p in made.disk.partitions] == ["root"]
    assert not any(hook.startswith(("65-", "68-")) for hook in made.hooks)
    assert made.firmwares == ((DIRECT.name,),)
    request = Request(tarball=Path("a.tar"), bootloader="none")
    wanted = plan.needs(request, facts_of(arch), arch).wanted
    assert not {name for use in arch.loaders for name in (use.package,) if name} & set(wanted)


def test_the_menu_of_u_boot_marks_the_root_bootable() -> None:
    made = make_plan(facts_of("riscv64"), bootloader="extlinux")
    assert made.disk.root.attributes == "LegacyBIOSBootable"
    assert 'attrs="LegacyBIOSBootable"' in made.disk.sfdisk_script()
    assert "attrs" not in make_plan(facts_of("riscv64")).disk.sfdisk_script()
    assert made.settings["MENU_HOOKS"] == "68-extlinux-menu"


# --- kernels of another architecture -------------------------------------------------------


def test_a_64_bit_kernel_brings_64_bit_uefi_to_i386() -> None:
    facts = facts_of("i386")
    own = make_plan(facts)
    assert own.settings["GRUB_EFI_TARGETS"] == "i386-efi"
    assert own.firmwares == (("bios",), ("efi32",))
    assert own.settings["FOREIGN_ARCHITECTURES"] == ""
    foreign = make_plan(facts, make_resolution("i386", "linux-image-amd64:amd64"))
    assert foreign.settings["GRUB_EFI_TARGETS"] == "i386-efi x86_64-efi"
    assert foreign.firmwares == (("bios",), ("efi32",), ("efi",))
    assert foreign.settings["FOREIGN_ARCHITECTURES"] == "amd64"
    assert foreign.kernel == "linux-image-amd64:amd64"
    # One EFI partition for both.
    assert [p.role for p in foreign.disk.partitions] == ["bios_grub", "esp", "root"]


def test_a_64_bit_kernel_that_is_there_brings_64_bit_uefi_too() -> None:
    kernel = Kernel(version="6.12-amd64", image="boot/vmlinuz-6.12-amd64", initrd=None)
    own = make_plan(facts_of("i386", kernels=(kernel,)), Resolution())
    assert own.settings["GRUB_EFI_TARGETS"] == "i386-efi"
    kernel = dataclasses.replace(kernel, architecture="amd64")
    facts = facts_of("i386", kernels=(kernel,))
    made = make_plan(facts, Resolution())
    assert made.settings["GRUB_EFI_TARGETS"] == "i386-efi x86_64-efi"
    assert made.firmwares == (("bios",), ("efi32",), ("efi",))
    # dpkg knows that architecture already.
    assert made.settings["FOREIGN_ARCHITECTURES"] == ""
    needs = plan.needs(Request(tarball=Path("a.tar")), facts, get("i386"))
    assert "grub-efi-amd64-bin" in needs.wanted and needs.kernels == ()


def test_firmware_that_cannot_start_the_kernel() -> None:
    facts = facts_of("i386")
    foreign = make_resolution("i386", "linux-image-amd64:amd64")
    assert make_plan(facts, foreign, firmware="efi").settings["GRUB_EFI_TARGETS"] == "x86_64-efi"
    # Not an image without any boot loader.
    with pytest.raises(UsageError, match="firmware efi cannot start a kernel of i386") as caught:
        make_plan(facts, firmware="efi")
    assert "one of amd64 with --kernel" in (caught.value.hint or "")


def test_apt_is_told_of_the_kernel_s_architecture() -> None:
    request = Request(tarball=Path("a.tar"))
    needs = plan.needs(request, facts_of("i386"), get("i386"))
    assert needs.kernels == ("linux-image-686-pae", "linux-image-amd64:amd64")
    assert needs.foreign_architectures == ("amd64",)
    assert plan.needs(request, facts_of("armel"), get("armel")).foreign_architectures == ("armhf",)
    assert plan.needs(request, facts_of("armhf"), get("armhf")).foreign_architectures == ()
    asked = dataclasses.replace(request, kernel="linux-image-x:amd64=6.1")
    needs = plan.needs(asked, facts_of("i386"), get("i386"))
    assert (needs.kernels, needs.foreign_architectures) == ((), ("amd64",))


def test_kernels_are_tried_in_the_order_of_the_data() -> None:
    kernels = get("armhf").kernel_packages
    for kernel in kernels:
        assert make_plan(facts_of("armhf"), make_resolution("armhf", kernel)).kernel == kernel


# --- firmware ------------------------------------------------------------------------------

OLD = Emulator(program="/usr/bin/qemu", version="7.2.22", number=(7, 2), sandbox=False)
NEW = Emulator(program="/usr/bin/qemu", version="10.0.2", number=(10, 0), sandbox=False)


@pytest.mark.parametrize(
    "kernel",
    ["7.0.1+deb14-big", "linux-image-s390x 7.2.13-1", "linux-image-7.2.13+deb14-s390x 7.2.13-1"],
)
def test_a_kernel_may_need_a_newer_qemu(kernel: str) -> None:
    qemu = dataclasses.replace(get("amd64").qemu, for_kernels=(((7, 0), (10, 0)),))
    arch = dataclasses.replace(get("amd64"), qemu=qemu)
    with pytest.raises(HostError, match=re.escape(f"{kernel} of amd64 needs 10.0")) as caught:
        check_kernel(arch, OLD, kernel)
    assert "SELFINSTALL_QEMU_AMD64" in (caught.value.hint or "")
    check_kernel(arch, NEW, kernel)
    check_kernel(arch, OLD, "6.12.107+deb13-s390x")
    check_kernel(arch, OLD, "linux-image-s390x")


def with_firmware(folder: Path, **minimum: tuple[int, int] | None) -> Arch:
    """An architecture whose firmwares are these, their files lying in *folder*."""
    firmwares = tuple(
        Firmware(
            name=name,
            title=name.upper(),
            package=f"pkg-{name}",
            files=(FirmwareFiles(code=str(folder / name), minimum=value),),
        )
        for name, value in minimum.items()
    )
    return dataclasses.replace(get("amd64"), firmwares=firmwares)


def test_firmware_needs_a_new_enough_qemu(tmp_path: Path) -> None:
    arch = with_firmware(tmp_path, new=(8, 1))
    with pytest.raises(HostError, match="NEW firmware is missing") as caught:
        firmware.find(arch.firmware("new"), OLD)
    assert caught.value.hint == "sudo apt install pkg-new"
    (tmp_path / "new").touch()
    assert firmware.find(arch.firmware("new"), NEW) == arch.firmware("new").files[0]
    assert firmware.find(arch.firmware("new")) is not None
    with pytest.raises(HostError, match=r"NEW firmware needs qemu 8\.1 .* 7\.2\.22") as caught:
        firmware.find(arch.firmware("new"), OLD)
    assert caught.value.hint == "name another build by --qemu, or another --firmware"
    packaged = dataclasses.replace(OLD, packages=("qemu-new", "qemu-old"))
    with pytest.raises(HostError) as caught:
        firmware.find(arch.firmware("new"), packaged)
    assert (caught.value.hint or "").startswith("sudo apt install qemu-new; or name another")


def test_the_first_firmware_that_the_host_can_run(tmp_path: Path) -> None:
    arch = with_firmware(tmp_path, new=(8, 1), old=None)
    names = ("new", "old")
    with pytest.raises(HostError, match="NEW firmware is missing"):
        firmware.first_usable(arch, names, NEW)
    (tmp_path / "old").touch()
    assert firmware.first_usable(arch, names, NEW) == "old"
    (tmp_path / "new").touch()
    assert firmware.first_usable(arch, names, NEW) == "new"
    assert firmware.first_usable(arch, names, OLD) == "old"
    with pytest.raises(HostError, match=r"needs qemu 8\.1"):
        firmware.first_usable(arch, ("new",), OLD)


# --- what an image's partition table tells -------------------------------------------------


def image_facts(
    *types: str, first: bytes = b"", bootable: bool = False, names: tuple[str, ...] = ()
) -> ImageFacts:
    """A GPT disk with partitions of these types, of which the last is bootable."""
    names = names or ("",) * len(types)
    partitions = tuple(
        ImagePartition(
            number=number,
            type=kind,
            uuid="",
            name=names[number - 1],
            start=number << 20,
            size=1 << 20,
            bootable=bootable and number == len(types),
        )
        for number, kind in enumerate(types, 1)
    )
    return ImageFacts(
        path=Path("/images/a.img"),
        format="raw",
        virtual_size=1 << 30,
        actual_size=1 << 20,
        label="gpt",
        partitions=partitions,
        arches=tuple(a.name for a in all_arches().values() if a.root_type in types),
        first_bytes=first,
    )


@pytest.mark.parametrize(
    ("arch", "types", "more", "expected"),
    [
        ("amd64", (BIOS_BOOT, ESP), {}, (("bios",), ("efi",))),
        ("amd64", (BIOS_BOOT,), {}, (("bios",),)),
        ("amd64", (ESP,), {}, (("efi",),)),
        ("amd64", (), {}, ()),
        ("arm64", (ESP,), {}, (("efi", "u-boot"),)),
        ("arm64", (), {"bootable": True}, (("u-boot",),)),
        ("arm64", (), {}, ()),
        ("ppc64el", (PREP,), {}, (("slof",),)),
        ("ppc64el", (ESP,), {}, ()),
        ("s390x", (), {"first": b"zIPL\0\0\0\1"}, (("ccw",),)),
        ("s390x", (), {"first": b"\xeb\x63"}, ()),
        ("mipsel", (ESP, BIOS_BOOT, PREP), {"first": b"zIPL", "bootable": True}, ()),
    ],
)
def test_firmwares_that_an_image_has_a_loader_for(arch, types, more, expected) -> None:  # type: ignore[no-untyped-def]
    facts = image_facts(*types, get(arch).root_type, **more)
    assert facts.bootable_firmwares(get(arch)) == expected


@each_arch
def test_a_plan_s_disk_tells_what_boots_it(arch: Arch) -> None:
    """What the build says that it verifies is what the image alone would say."""
    kernels = [f"{name}:{arch.name}" if ":" not in name else name for name in arch.kernel_packages]
    for bootloader, kernel in itertools.product(("auto", "none"), kernels):
        resolution = make_resolution(arch.name, kernel)
        made = make_plan(facts_of(arch), resolution, bootloader=bootloader)
        magic = b"".join(all_loaders()[use.loader].magic for use in made.loaders)
        types, names = zip(*((p.type, p.name) for p in made.disk.partitions), strict=True)
        found = image_facts(*types, first=magic, names=names).bootable_firmwares(arch)
        assert made.firmwares == (found or ((DIRECT.name,),))


def test_an_image_without_loader_needs_its_kernel_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("selfinstall.verification.find_emulator", lambda *words: OLD)
    arch = get("mipsel")
    facts = image_facts(arch.root_type)
    assert arch_of(facts, None) == arch
    assert usable_firmwares(facts, arch, None) == (DIRECT.name,)
    with pytest.raises(InputError, match=r"no boot loader, .* no a\.img\.kernel") as caught:
        machine(facts, arch, DIRECT.name, memory=None, smp=None, qemu=None)
    assert "selfinstall export /images/a.img" in (caught.value.hint or "")


# --- a new one -----------------------------------------------------------------------------

MADE_UP = '''
"""vax64: made up."""

from selfinstall.arch import Arch, Calls, Elf, Firmware, LoaderUse, Qemu

ARCH = Arch(
    name="vax64",
    multiarch="vax64-linux-gnu",
    elf=Elf(machine="EM_VAX", bits=64, little_endian=True),
    calls=Calls(fsync=95, fdatasync=187, prctl=167),
    qemu=Qemu(
        program="qemu-system-vax64",
        packages=("qemu-system-vax",),
        machine="microvax",
        cpu_tcg="max",
        cpu_kvm="host",
        kvm_hosts=("vax64",),
        transport="pci",
        libvirt="vax",
        acpi="never",
    ),
    root_type="00000000-1111-2222-3333-444444444444",
    console="ttyV0",
    baud=9600,
    screen=None,
    kernel_packages=("linux-image-vax64",),
    firmwares=(Firmware(name="vmb", title="VMB"),),
    loaders=(
        LoaderUse(
            loader="grub-efi", firmwares=("vmb",), target="vax64-efi", package="grub-efi-vax64-bin"
        ),
    ),
)
'''
QUESTIONS = """
from plan_helpers import make_facts, make_plan
from selfinstall.arch import get
from selfinstall.cli.parser import parse
from selfinstall.cli.run import run
made = make_plan(make_facts(architecture="vax64"))
assert made.firmwares == (("vmb",),), made.firmwares
assert made.settings["GRUB_EFI_TARGETS"] == "vax64-efi"
assert made.settings["CONSOLE"] == "ttyV0"
assert made.disk.root.type == get("vax64").root_type
assert made.kernel == "linux-image-vax64"
assert parse("boot x --firmware vmb --arch vax64".split()).get("firmware") == "vmb"
assert run(["--help"]) == 0 and run(["doctor", "--arch", "vax64"]) == 4
raise SystemExit(run(["arches"]))
"""


def test_an_architecture_is_one_file(tmp_path: Path) -> None:
    package = tmp_path / "selfinstall"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "arch" / "vax64.py").write_text(MADE_UP)
    done = subprocess.run(
        [sys.executable, "-c", QUESTIONS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("vax64 ")]
    assert "vmb (VMB)" in row and "qemu-system-vax64 -machine microvax" in row
    assert "vax64" not in all_arches()
