"""Kernel and initramfs copied out of images, and put beside them."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cli_helpers import command

from selfinstall import boot, exporting, plan, verification
from selfinstall.arch import all_arches
from selfinstall.errors import HostError, InputError, UsageError
from selfinstall.events import Event
from selfinstall.host import find_program
from selfinstall.image import export
from selfinstall.image.export import Exported
from selfinstall.image.ext4 import read_superblock
from selfinstall.image.label import HEAD_SECTORS, TAIL_SECTORS, make_label
from selfinstall.layout import MIB, SECTOR
from selfinstall.qemu import qemu_img
from selfinstall.qemu.emulator import Emulator

pytestmark = pytest.mark.skipif(
    any(find_program(p) is None for p in ("mke2fs", "debugfs", "sfdisk", "qemu-img")),
    reason="no mke2fs, debugfs, sfdisk or qemu-img",
)
QEMU = Emulator(program="/usr/bin/qemu", version="7.2", sandbox=False)
MIPSEL = all_arches()["mipsel"]
ROOT_UUID = "01234567-89ab-cdef-0123-456789abcdef"
TWO_KERNELS = {
    "vmlinux-6.9.12-4kc-malta": b"older kernel",
    "initrd.img-6.9.12-4kc-malta": b"older initrd",
    "vmlinux-6.12.3-4kc-malta": b"newer kernel",
    "initrd.img-6.12.3-4kc-malta": b"newer initrd",
    "vmlinux-6.99-without-initrd": b"no initrd",
    "config-6.12.3-4kc-malta": b"x",
    "initrd.img-6.98": b"no kernel",
}
ODD_NAMES = ["a.img", "a b,c?offset=7 ü ß.img", "-R quit.img", "fd:3;x", "ä\udcff.img"]


def file_system(
    disk: Path, start: int, boot: dict[str, bytes] | None, init: str | None = None
) -> None:
    """An ext4 of 4 MiB at byte *start* of *disk* with these files in /boot; None for no /boot.

    :param init: where /sbin/init leads, None when it is a file.
    """
    root = disk.with_name("root")
    (root / "usr" / "sbin").mkdir(parents=True)
    (root / "sbin").symlink_to("usr/sbin")
    if init is None:
        (root / "usr" / "sbin" / "init").write_bytes(b"init")
    else:
        (root / "usr" / "sbin" / "init").symlink_to(init)
    if boot is not None:
        (root / "boot").mkdir()
    for name, content in (boot or {}).items():
        (root / "boot" / name).write_bytes(content)
    program = find_program("mke2fs")
    assert program is not None
    subprocess.run(
        [
            *(program, "-q", "-F", "-t", "ext4", "-U", ROOT_UUID, "-d", root),
            *("-E", f"offset={start}", disk, "4m"),
        ],
        check=True,
    )
    shutil.rmtree(root)


def debugfs(disk: Path, start: int, order: str) -> None:
    program = find_program("debugfs")
    assert program is not None
    subprocess.run(
        [program, "-w", "-R", order, f"{disk.name}?offset={start}"],
        cwd=disk.parent,
        capture_output=True,
        check=True,
    )


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def bare(folder: Path, files: dict[str, bytes] | None = None, start: int = MIB) -> Path:
    """A disk without a label."""
    disk = folder / "bare.img"
    with disk.open("wb") as stream:
        stream.truncate(start + 5 * MIB)
    file_system(disk, start, TWO_KERNELS if files is None else files)
    return disk


def image(
    folder: Path,
    name: str = "a.img",
    files: dict[str, bytes] | None = None,
    init: str | None = "../lib/systemd/systemd",
) -> Path:
    """A disk with a label, as a build makes it."""
    layout = plan.place((), MIPSEL.root_type, 8 * MIB, "seed")
    label = make_label(layout, folder)
    disk = folder / "whole.img"
    with disk.open("wb") as stream:
        stream.truncate(layout.size)
        stream.write(label.head[: HEAD_SECTORS * SECTOR])
        stream.seek(layout.size - TAIL_SECTORS * SECTOR)
        stream.write(label.tail)
    file_system(disk, layout.root.start, TWO_KERNELS if files is None else files, init)
    return disk.rename(folder / name)


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("start", [0, 3 * MIB])
def test_the_newest_kernel_with_an_initramfs(
    tmp_path: Path, scratch: Path, name: str, start: int
) -> None:
    disk = bare(tmp_path, start=start).rename(tmp_path / name)
    found = export.export(disk, start, "root=x", scratch)
    assert found.kernel.read_bytes() == b"newer kernel"
    assert found.initrd.read_bytes() == b"newer initrd"
    assert (found.arguments, found.version) == ("root=x", "6.12.3-4kc-malta")
    assert not (scratch / "disk").is_symlink()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"vmlinuz-6.1": b"x", "initrd.img-6.2": b"y"},
        {"vmlinuz-6.1": b"x", "initrd.img-6.1": b""},
        {"vmlinuz-6.1 x": b"x", "initrd.img-6.1 x": b"y"},
    ],
)
def test_no_kernel(tmp_path: Path, scratch: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match="no kernel with an initramfs"):
        export.export(bare(tmp_path, files), MIB, "", scratch)


def test_no_folder_of_kernels(tmp_path: Path, scratch: Path) -> None:
    disk = tmp_path / "bare.img"
    with disk.open("wb") as stream:
        stream.truncate(6 * MIB)
    file_system(disk, MIB, None)
    with pytest.raises(InputError, match="no kernel with an initramfs"):
        export.export(disk, MIB, "", scratch)


def test_links_and_huge_files_are_no_kernels(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"vmlinuz-6.1": b"kernel", "initrd.img-6.1": b"initrd"}
    disk = bare(tmp_path, files)
    debugfs(disk, MIB, "symlink /boot/vmlinuz-6.2 /etc/passwd")
    debugfs(disk, MIB, "symlink /boot/initrd.img-6.2 /etc/passwd")
    assert export.export(disk, MIB, "", scratch).version == "6.1"
    monkeypatch.setattr(export, "LARGEST", 5)
    with pytest.raises(InputError, match="no kernel with an initramfs"):
        export.export(disk, MIB, "", scratch)


def test_a_file_system_that_was_not_unmounted_shows_no_stale_kernel(
    tmp_path: Path, scratch: Path
) -> None:
    disk = bare(tmp_path)
    assert read_superblock(disk, MIB).clean
    debugfs(disk, MIB, "feature needs_recovery")
    assert not read_superblock(disk, MIB).clean
    with pytest.raises(InputError, match="not unmounted cleanly") as caught:
        export.export(disk, MIB, "", scratch)
    assert "--write" in (caught.value.hint or "")
    assert list(scratch.iterdir()) == []


def test_without_a_journal_the_state_counts(tmp_path: Path) -> None:
    disk = bare(tmp_path)
    debugfs(disk, MIB, "feature -has_journal")
    assert read_superblock(disk, MIB).clean
    debugfs(disk, MIB, "set_super_value state 0")
    assert not read_superblock(disk, MIB).clean


@pytest.mark.parametrize("content", [b"", bytes(4096)])
def test_no_file_system(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="no ext4"):
        read_superblock(tmp_path / "x", 0)


def test_a_kernel_that_unpacks_itself_under_efi_is_unpacked(tmp_path: Path, scratch: Path) -> None:
    payload = gzip.compress(b"the kernel")
    packed = struct.pack("<4s4sII8x8s", b"MZ", b"zimg", 64, len(payload), b"gzip")
    files = {"vmlinuz-6.1": packed.ljust(64, b"\0") + payload, "initrd.img-6.1": b"y"}
    assert export.export(bare(tmp_path, files), MIB, "", scratch).kernel.read_bytes() == (
        b"the kernel"
    )


def made(folder: Path, text: str) -> Exported:
    """Something exported, in *folder*."""
    (folder / "kernel").write_text(f"kernel {text}")
    (folder / "initrd").write_text(f"initrd {text}")
    return Exported(kernel=folder / "kernel", initrd=folder / "initrd", arguments=f"args {text}")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_publish_and_beside(tmp_path: Path, scratch: Path, name: str) -> None:
    image = tmp_path / name
    assert export.beside(image) is None
    for text in ("one", "two"):
        placed = export.publish(made(scratch, text), image)
        assert placed == export.beside(image)
        assert placed.kernel.read_text() == f"kernel {text}"
        assert placed.arguments == f"args {text}"
    files = {path.name for path in tmp_path.iterdir()} - {"scratch"}
    assert files == {f"{name}.kernel", f"{name}.initrd", f"{name}.cmdline"}
    placed.initrd.unlink()
    assert export.beside(image) is None


def test_publish_where_nothing_can_be_written(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(HostError, match="cannot write"):
        export.publish(made(scratch, ""), tmp_path / "nowhere" / "a.img")


# --- the library's function and the verb ---------------------------------------------------


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_export_of_an_image(tmp_path: Path, format: str) -> None:
    path = image(tmp_path)
    if format != "raw":
        other = tmp_path / "b ü,?.qcow2"
        qemu_img.convert(path, other, source_format="raw", format=format)
        path = other
    before = path.read_bytes()
    events: list[Event] = []
    found = exporting.export(path, on_event=events.append)
    assert found.kernel == path.with_name(f"{path.name}.kernel")
    assert found.kernel.read_bytes() == b"newer kernel"
    assert found.arguments == f"root=UUID={ROOT_UUID} ro console=ttyS0,115200"
    assert path.read_bytes() == before
    assert [e.event for e in events if e.event != "progress"] == ["begin", "note", "end"]
    # What somebody wrote there stays.
    path.with_name(f"{path.name}.cmdline").write_text("root=/dev/vda1 quiet\n")
    assert exporting.export(path).arguments == "root=/dev/vda1 quiet"


@pytest.mark.parametrize("init", [None, "busybox"])
def test_cards_keep_their_names_where_no_systemd_looks_after_them(
    tmp_path: Path, init: str | None
) -> None:
    found = exporting.export(image(tmp_path, init=init))
    assert found.arguments == f"root=UUID={ROOT_UUID} ro console=ttyS0,115200 net.ifnames=0"


def test_export_takes_what_was_installed_meanwhile(tmp_path: Path) -> None:
    path = image(tmp_path)
    exporting.export(path)
    debugfs(path, MIB, "ln /boot/config-6.12.3-4kc-malta /boot/vmlinux-6.13")
    debugfs(path, MIB, "ln /boot/config-6.12.3-4kc-malta /boot/initrd.img-6.13")
    found = exporting.export(path)
    assert (found.version, found.kernel.read_bytes()) == ("6.13", b"x")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "no such image file"),
        (lambda path: path.write_bytes(bytes(MIB)), "has no GPT"),
        (lambda path: debugfs(path, MIB, "feature needs_recovery"), "not unmounted cleanly"),
    ],
)
def test_images_that_cannot_be_exported(tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    path = image(tmp_path)
    spoil(path)
    with pytest.raises(InputError, match=words):
        exporting.export(path, arch="mipsel")
    assert export.beside(path) is None


def test_export_for_another_architecture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is mipsel, not amd64"):
        exporting.export(image(tmp_path), arch="amd64")


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = image(tmp_path)
    assert command(f"export {path}") == 0
    assert capsys.readouterr().out == f"kernel 6.12.3-4kc-malta of {path}: {path}.kernel\n"
    assert command(f"export -q {path} --arch mipsel") == 0
    assert capsys.readouterr() == (f"{path}.kernel\n", "")
    assert command(f"export {tmp_path}/nothing.img") == 3


def test_boot_exports_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image(tmp_path)
    exporting.export(path)
    ran: list[bool] = []

    def interactive(made: object, **more: object) -> None:
        ran.append((tmp_path / "a.img.kernel").exists())
        (tmp_path / "a.img.kernel").write_bytes(b"stale")

    monkeypatch.setattr(boot, "boot_interactive", interactive)
    monkeypatch.setattr(verification, "find_emulator", lambda *words: QEMU)
    boot.boot(path, write=True)
    assert (tmp_path / "a.img.kernel").read_bytes() == b"stale"
    boot.boot(path, write=True, refresh=True)
    assert (tmp_path / "a.img.kernel").read_bytes() == b"newer kernel"
    with pytest.raises(UsageError, match="keeps nothing"):
        boot.boot(path, refresh=True)
    assert ran == [True, True]
