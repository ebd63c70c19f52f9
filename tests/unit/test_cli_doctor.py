"""doctor: what it finds on made-up hosts."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from cli_helpers import command
from test_host import make_program

from selfinstall import arch, host
from selfinstall.arch import Arch, Firmware, FirmwareFiles
from selfinstall.cli import arches, doctor
from selfinstall.qemu import accel

QEMU = "#!/bin/sh\necho 'QEMU emulator version 8.1.0 (Debian 1:8.1)'\n"
PROGRAMS = (
    "qemu-img",
    "sfdisk",
    "mkfs.vfat",
    "apt-get",
    "apt-cache",
    "sqv",
    "setpriv",
    "debugfs",
    "mke2fs",
    "e2fsck",
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arch:
    """A host that has everything, and an architecture that looks for it there."""
    monkeypatch.setattr(host, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(accel, "KVM", tmp_path / "kvm")
    (tmp_path / "kvm").touch()
    for name in PROGRAMS:
        make_program(tmp_path / "bin" / name)
    real = arch.get("amd64")
    make_program(tmp_path / "bin" / real.qemu.program, QEMU)
    (tmp_path / "code.fd").touch()
    (tmp_path / "vars.fd").touch()
    (tmp_path / "cache").mkdir()
    files = FirmwareFiles(code=str(tmp_path / "code.fd"), vars=str(tmp_path / "vars.fd"))
    firmwares = (
        Firmware(name="bios", title="SeaBIOS"),
        Firmware(name="efi", title="OVMF", package="ovmf", files=(files,)),
    )
    # The machine that runs this test has KVM for it, whatever it is.
    qemu = dataclasses.replace(real.qemu, kvm_hosts=(os.uname().machine,))
    return dataclasses.replace(real, firmwares=firmwares, qemu=qemu)


def missing(machine: Arch, tmp_path: Path) -> dict[str, str]:
    found = doctor.examine([machine], tmp_path / "cache" / "selfinstall")
    return {finding.name: finding.detail for finding in doctor.lacking(found)}


def test_a_good_host_lacks_nothing(machine: Arch, tmp_path: Path) -> None:
    found = doctor.examine([machine], tmp_path / "cache" / "selfinstall")
    assert doctor.lacking(found) == ()
    assert doctor.commands(found, venv=True) == ()
    names = [finding.name for finding in found]
    assert {"jinja2", "sqv", "SeaBIOS", "OVMF", "KVM for amd64", "cache"} <= set(names)
    text = doctor.to_text(found)
    assert "missing" not in text
    assert "8.1.0 (Debian 1:8.1)" in text


def test_everything_that_lacks_is_in_one_command(machine: Arch, tmp_path: Path) -> None:
    for path in (tmp_path / "bin").iterdir():
        path.unlink()
    (tmp_path / "vars.fd").unlink()
    found = doctor.examine([machine], tmp_path / "cache")
    assert doctor.commands(found, venv=True) == (
        "sudo apt install apt dosfstools e2fsprogs fdisk gpgv ovmf qemu-system-x86 qemu-utils "
        "util-linux",
    )


def test_what_only_backports_have_is_a_command_of_its_own(machine: Arch, tmp_path: Path) -> None:
    rows = (
        "dpkg | 1.21 | http://deb.example.org/debian bookworm/main amd64 Packages",
        "qemu-system-x86 | 1:10.0 | http://d.example.org bookworm-backports/main amd64 Packages",
        "qemu-system-x86 | 1:7.2 | http://deb.example.org/debian bookworm/main amd64 Packages",
    )
    make_program(tmp_path / "bin" / "apt-cache", "#!/bin/sh\ncat <<E\n" + "\n".join(rows) + "\nE\n")
    make_program(tmp_path / "bin" / "cat", '#!/bin/sh\nwhile read -r l; do echo "$l"; done\n')
    (tmp_path / "bin" / "sfdisk").unlink()
    (tmp_path / "code.fd").unlink()
    qemu = dataclasses.replace(machine.qemu, minimum=(9, 0))
    found = doctor.examine([dataclasses.replace(machine, qemu=qemu)], None)
    # apt here knows no ovmf: a list of packages with it in would install nothing at all.
    assert doctor.packages(found, venv=True) == ("fdisk",)
    assert doctor.commands(found, venv=True) == (
        "sudo apt install fdisk",
        "sudo apt install -t bookworm-backports qemu-system-x86",
    )
    (ovmf,) = (f for f in doctor.lacking(found) if f.name == "OVMF")
    assert "apt here knows no ovmf:" in ovmf.detail


def test_one_firmware_for_each_loader_is_enough(machine: Arch, tmp_path: Path) -> None:
    other = Firmware(
        name="other",
        title="Other",
        package="other",
        files=(FirmwareFiles(code=str(tmp_path / "other.fd")),),
    )
    loaders = tuple(
        dataclasses.replace(use, firmwares=(*use.firmwares, "other")) for use in machine.loaders
    )
    arch = dataclasses.replace(machine, firmwares=(*machine.firmwares, other), loaders=loaders)
    assert doctor.lacking(doctor.architecture(arch)) == ()
    (tmp_path / "code.fd").unlink()
    assert [f.name for f in doctor.lacking(doctor.architecture(arch))] == ["OVMF"]
    (tmp_path / "other.fd").touch()
    found = {f.name: f for f in doctor.architecture(arch)}
    assert (found["OVMF"].ok, found["OVMF"].needed) == (False, False)
    qemu = dataclasses.replace(arch.qemu, installer_firmware="efi")
    arch = dataclasses.replace(arch, qemu=qemu)
    assert [f.name for f in doctor.lacking(doctor.architecture(arch))] == ["OVMF"]


def test_firmware_that_this_qemu_cannot_run(machine: Arch, tmp_path: Path) -> None:
    efi = machine.firmware("efi")
    newer = dataclasses.replace(efi.files[0], minimum=(99, 0))
    firmwares = (machine.firmwares[0], dataclasses.replace(efi, files=(newer,)))
    (finding,) = doctor.lacking(
        doctor.architecture(dataclasses.replace(machine, firmwares=firmwares))
    )
    assert "needs qemu 99.0" in finding.detail and finding.package is None


def test_the_host_s_own_architecture_unless_told(
    machine: Arch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    qemu = dataclasses.replace(machine.qemu, program="qemu-of-none", kvm_hosts=())
    foreign = dataclasses.replace(machine, name="zz", qemu=qemu)
    monkeypatch.setattr(
        "selfinstall.cli.verbs.all_arches", lambda: {"zz": foreign, "amd64": machine}
    )
    assert command("doctor") == 0
    out = capsys.readouterr().out
    assert "zz " in out and "lacks qemu-system-x86" in out
    assert out.endswith("\nnothing is missing\n")
    assert command("doctor --json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["packages"], document["commands"]) == ([], [])
    assert [row["arch"] for row in document["others"]] == ["zz"]
    assert command("doctor --all --json") == 4
    document = json.loads(capsys.readouterr().out)
    assert (document["packages"], document["others"]) == (["qemu-system-x86"], [])


def test_an_old_qemu_is_missing(machine: Arch, tmp_path: Path) -> None:
    make_program(tmp_path / "bin" / machine.qemu.program, QEMU.replace("8.1.0", "5.2.0"))
    assert "7.2" in missing(machine, tmp_path)[machine.qemu.program]


def test_a_qemu_that_is_none_is_missing(machine: Arch, tmp_path: Path) -> None:
    make_program(tmp_path / "bin" / machine.qemu.program, "#!/bin/sh\nexit 1\n")
    assert machine.qemu.program in missing(machine, tmp_path)


def test_modules_are_installed_where_this_python_looks(
    machine: Arch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "MODULES", (("no_such_module", "python3-none", "none"),))
    found = doctor.examine([machine], tmp_path / "cache")
    assert doctor.commands(found, venv=False) == ("sudo apt install python3-none",)
    (line,) = doctor.commands(found, venv=True)
    assert line.endswith("-m pip install none")
    assert doctor.packages(found, venv=True) == ()


def test_a_cache_that_cannot_be(machine: Arch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = doctor.cache(tmp_path / "file" / "cache")
    assert not finding.ok
    assert finding.package is None


def test_little_space_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "WANTED_SPACE", 1 << 80)
    found = tuple(doctor.cache(tmp_path))
    assert [(f.name, f.ok) for f in found] == [("cache", True), ("free space", False)]
    assert doctor.lacking(found) == ()


def test_kvm_is_never_needed(
    machine: Arch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda arch: ("/dev/kvm is missing", "load it"))
    finding = doctor.kvm(machine, tmp_path)
    assert (finding.ok, finding.needed) == (False, False)
    assert "/dev/kvm is missing; load it" in finding.detail


def test_what_a_build_found_about_kvm_is_told(
    machine: Arch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda arch: None)
    assert doctor.kvm(machine, tmp_path).ok
    accel.memory(tmp_path, machine, doctor.emulator.find(machine)).learn("x", works=False)
    finding = doctor.kvm(machine, tmp_path)
    assert not finding.ok
    assert "guests hang under it" in finding.detail


def test_status_and_json(
    machine: Arch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("selfinstall.cli.verbs.get", lambda name: machine)
    assert command("doctor --arch amd64") == 0
    assert capsys.readouterr().out.endswith("\nnothing is missing\n")
    assert command("doctor --arch amd64 -q") == 0
    assert capsys.readouterr().out == ""

    (tmp_path / "bin" / "sfdisk").unlink()
    assert command("doctor --arch amd64") == 4
    assert capsys.readouterr().out.endswith("\nsudo apt install fdisk\n")
    assert command("doctor --arch amd64 --json") == 4
    document = json.loads(capsys.readouterr().out)
    assert not document["ok"]
    assert document["packages"] == ["fdisk"]
    assert document["commands"] == ["sudo apt install fdisk"]
    assert "sfdisk" in [f["name"] for f in document["findings"] if not f["ok"]]


def test_the_table_of_architectures_says_what_lacks(machine: Arch, tmp_path: Path) -> None:
    assert arches.row(machine).ready
    (tmp_path / "code.fd").unlink()
    row = arches.row(machine)
    assert row.lacks == ("ovmf",)
    assert arches.to_text([row]).splitlines()[1].endswith("lacks ovmf")
