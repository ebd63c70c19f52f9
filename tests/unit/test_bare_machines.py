"""How others run an image: qemu's line for a shell and libvirt's domain, for every architecture."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import golden
import pytest
from plan_helpers import make_facts, make_plan
from qemu_helpers import AMD64
from test_qemu_argv import as_text, emulator

from selfinstall.arch import DIRECT, Arch, all_arches
from selfinstall.image.export import Exported
from selfinstall.qemu import boot
from selfinstall.qemu.argv import Forward, Machine, Network, Share, argv, pasteable
from selfinstall.qemu.boot import Boot
from selfinstall.qemu.libvirt import domain, domain_name

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
SHARES = (
    Share(path=Path("/srv/da,ta & <more>"), tag="share"),
    Share(path=Path("/srv/ro"), tag="lib", read_only=True),
)
EVERY = [
    (arch, firmware)
    for arch in all_arches().values()
    for firmware in (*arch.firmwares, *(() if arch.firmwares else (DIRECT,)))
]


@pytest.fixture(autouse=True)
def firmware_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this host has it does not matter."""
    monkeypatch.setattr(
        boot.firmwares, "find", lambda wanted, runner: wanted.files[0] if wanted.files else None
    )


def a_boot(arch: Arch, firmware: str) -> Boot:
    direct = None
    if firmware == DIRECT.name:
        plan = make_plan(make_facts(architecture=arch.name), bootloader="none")
        direct = Exported(
            kernel=Path("/images/a.img.kernel"),
            initrd=Path("/images/a.img.initrd"),
            arguments=f"root=UUID={plan.root_uuid} ro {' '.join(plan.image_args)}",
        )
    return Boot(
        arch=arch,
        emulator=emulator(arch),
        image=Path("/images/a.img"),
        format="raw",
        firmware=arch.firmware(firmware),
        direct=direct,
        network=Network(forwards=(Forward(2222, 22),)),
        shares=SHARES,
        seed=Path("/images/a.img.seed"),
    )


def bare(arch: Arch, firmware: str) -> Machine:
    return boot.bare(a_boot(arch, firmware), "tcg")


@pytest.mark.parametrize(("arch", "firmware"), EVERY, ids=lambda x: x.name)
def test_golden(arch: Arch, firmware) -> None:  # type: ignore[no-untyped-def]
    machine = bare(arch, firmware.name)
    line = as_text(argv(dataclasses.replace(machine, console="stdio")))
    golden.check(f"bare-{arch.name}-{firmware.name}.txt", line)
    golden.check(f"libvirt-{arch.name}-{firmware.name}.xml", domain(machine, "a"))


def test_no_golden_file_is_left_over() -> None:
    names = {f"{arch.name}-{firmware.name}" for arch, firmware in EVERY}
    assert {p.stem.removeprefix("bare-") for p in golden.FOLDER.glob("bare-*.txt")} == names
    assert {p.stem.removeprefix("libvirt-") for p in golden.FOLDER.glob("libvirt-*")} == names


def test_domains_are_what_libvirt_s_schema_wants() -> None:
    if shutil.which("xmllint") is None or not SCHEMA.exists():
        assert not os.environ.get("CI"), "./run-tests installs libxml2-utils and libvirt0"
        pytest.skip("xmllint (libxml2-utils) or libvirt's schema (libvirt0) is missing")
    # The architectures of this version: Debian 12's does not know the newest.
    known = set(re.findall(r"<value>(\w+)</value>", (SCHEMA.parent / "basictypes.rng").read_text()))
    files = [
        path
        for path in sorted(golden.FOLDER.glob("libvirt-*.xml"))
        if re.findall(r'<type arch="(\w+)"', path.read_text())[0] in known
    ]
    command = ["xmllint", "--noout", "--relaxng", SCHEMA, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert len(files) > 12 and done.returncode == 0, done.stderr


@pytest.mark.parametrize("kvm", [False, True])
def test_a_domain_of_every_choice(kvm: bool) -> None:
    arch = AMD64
    made = dataclasses.replace(
        boot.bare(dataclasses.replace(a_boot(arch, "efi"), write=True), "kvm" if kvm else "tcg")
    )
    root = ElementTree.fromstring(domain(made, "../ein Bild?"))
    assert root.get("type") == ("kvm" if kvm else "qemu")
    assert root.find("devices/disk/transient") is None
    cpu = root.find("cpu")
    assert cpu is not None and cpu.get("mode") == ("host-passthrough" if kvm else "maximum")
    source = root.find("devices/filesystem/source")
    assert source is not None and source.get("dir") == str(SHARES[0].path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.b", "a.b"), ("../a/b", "a-b"), ("--x y", "x-y"), ("ü", "image"), (".", "image")],
)
def test_names_of_domains(name: str, expected: str) -> None:
    assert domain_name(name) == expected


def test_a_property_that_libvirt_has_no_word_for_is_not_passed_over() -> None:
    arch = AMD64
    odd = dataclasses.replace(arch, qemu=dataclasses.replace(arch.qemu, machine="q35,odd=on"))
    with pytest.raises(ValueError, match="odd=on"):
        domain(dataclasses.replace(bare(arch, "bios"), arch=odd), "a")


def test_the_line_is_for_a_shell_and_for_any_time() -> None:
    arch = AMD64
    line = pasteable(bare(arch, "efi"))
    assert "fd=" not in line and "-no-reboot" not in line
    done = subprocess.run(
        ["sh", "-c", f"set -- {line}; printf '%s\\n' \"$@\""], capture_output=True, check=True
    )
    words = done.stdout.decode().splitlines()
    assert "local,id=share0,path=/srv/da,,ta & <more>,security_model=none,multidevs=remap" in words
    # Neither the image nor the host's template of firmware variables is written to.
    for path in ("/images/a.img", "VARS"):
        (word,) = [w for w in words if path in w and "seed" not in w]
        assert "snapshot=on" in word


def test_a_line_that_writes(tmp_path: Path) -> None:
    arch = AMD64
    line = pasteable(boot.bare(dataclasses.replace(a_boot(arch, "bios"), write=True), "tcg"))
    assert "snapshot" not in line and "cache.no-flush" not in line.partition("seed")[0]
