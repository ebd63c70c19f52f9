from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from initramfs_helpers import (
    LIB,
    LOADER,
    MULTIARCH,
    Content,
    Link,
    Plain,
    elf_module,
    elf_program,
    make_tree,
    read_cpio,
)

from selfinstall.errors import HostError, InputError
from selfinstall.initramfs import cpio
from selfinstall.initramfs.assemble import ExtraFile, InitramfsSpec, plan_entries, write_initramfs
from selfinstall.initramfs.cpio import Region
from selfinstall.rootfs.tree import Tree

VERSION = "6.1-x"
LIBC = elf_program("ld.so")
TARBALL: dict[str, Content] = {
    "bin": Link("usr/bin"),
    "sbin": Link("usr/sbin"),
    "lib": Link("usr/lib"),
    "lib64": Link("usr/lib64"),
    "etc/passwd": Plain(b"root:x:0:0::/root:/bin/sh\nu:x:1:1::/:/bin/sh\n"),
    "usr/bin/sh": Link("dash"),
    "usr/bin/dash": elf_program("libc.so.6", interpreter=LOADER),
    "usr/bin/awk": Link("/etc/alternatives/awk"),
    "etc/alternatives/awk": Link("/usr/bin/mawk"),
    "usr/bin/mawk": elf_program("libc.so.6", interpreter=LOADER),
    "usr/lib64/ld-linux-x86-64.so.2": Link(f"/lib/{MULTIARCH}/ld.so"),
    f"{LIB}/ld.so": elf_program(),
    f"{LIB}/libc.so.6": LIBC,
    f"usr/lib/modules/{VERSION}/kernel/fs/ext4.ko": Plain(elf_module(depends="jbd-2")),
    f"usr/lib/modules/{VERSION}/kernel/fs/jbd_2.ko": Plain(elf_module()),
}
#: As packages were before merged /usr.
PACKAGE: dict[str, Content] = {
    "bin": None,
    "bin/kmod": elf_program("libc.so.6", interpreter=LOADER),
    "sbin/modprobe": Link("../bin/kmod"),
}


def spec(
    *programs: str, modules: tuple[str, ...] = (), files: tuple[ExtraFile, ...] = ()
) -> InitramfsSpec:
    return InitramfsSpec(
        programs=programs,
        modules=modules,
        kernel_version=VERSION,
        multiarch=MULTIARCH,
        mtime=1_700_000_000,
        files=files,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path, TARBALL, PACKAGE)


def written(tree: Tree, wanted: InitramfsSpec, out: Path) -> bytes:
    size = write_initramfs(out, plan_entries(tree, wanted))
    assert size == out.stat().st_size
    return out.read_bytes()


def test_the_whole_layout(tree: Tree) -> None:
    files = (ExtraFile("init", 0o755, b"#!/bin/sh\n"), ExtraFile("hooks/10-x", 0o755, b"x"))
    entries = plan_entries(tree, spec("sh", "awk", "modprobe", modules=("ext4",), files=files))
    lines = [line for line in cpio.listing(entries).splitlines() if not line.startswith("d")]
    # Sizes of the tests' own ELF files say nothing.
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        "bin -> usr/bin",
        "dev/console",
        "dev/null",
        "etc/alternatives/awk -> /usr/bin/mawk",
        "etc/group",
        "etc/passwd",
        "hooks/10-x",
        "init",
        "lib -> usr/lib",
        "lib64 -> usr/lib64",
        "modules/00-jbd_2.ko",
        "modules/01-ext4.ko",
        "sbin -> usr/sbin",
        "usr/bin/awk -> /etc/alternatives/awk",
        "usr/bin/dash",
        "usr/bin/kmod",
        "usr/bin/mawk",
        "usr/bin/sh -> dash",
        f"usr/lib/modules/{VERSION}/modules.dep.bin",
        f"{LIB}/ld.so",
        f"{LIB}/libc.so.6",
        f"usr/lib64/ld-linux-x86-64.so.2 -> /lib/{MULTIARCH}/ld.so",
        "usr/sbin/modprobe -> /bin/kmod",
    ]
    folders = {entry.path: entry.mode for entry in entries if entry.kind == "dir"}
    assert folders["tmp"] == 0o1777
    assert {"proc", "sys", "dev", "run", "target"} <= folders.keys()
    assert {entry.mtime for entry in entries} == {1_700_000_000}


def test_contents(tree: Tree, tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.write_bytes(b"<payload>")
    files = (ExtraFile("payload/rootfs.tar", 0o600, Region(payload, 1, 7)),)
    found = read_cpio(written(tree, spec("sh", modules=("jbd-2",), files=files), tmp_path / "out"))
    assert found[f"{LIB}/libc.so.6"].content == LIBC
    assert found["modules/00-jbd_2.ko"].content == elf_module()
    assert found["payload/rootfs.tar"].content == b"payload"
    assert found["etc/passwd"].content == TARBALL["etc/passwd"].content  # type: ignore[union-attr]
    # The target has no groups: root's, so that names can be looked up.
    assert found["etc/group"].content == b"root:x:0:\n"
    # Setuid in the tree, not in the initramfs.
    assert found["usr/bin/dash"].mode & 0o7777 == 0o755


def test_same_input_same_bytes(tree: Tree, tmp_path: Path) -> None:
    wanted = spec("sh", "modprobe", modules=("ext4",))
    again = spec("modprobe", "sh", modules=("ext4",))
    first = written(tree, wanted, tmp_path / "one")
    assert first == written(tree, again, tmp_path / "two")


def test_all_missing_programs_are_named_at_once(tree: Tree) -> None:
    with pytest.raises(InputError, match=r"missing in the tarball and the packages: mke2fs tar$"):
        plan_entries(tree, spec("sh", "mke2fs", "?e2fsck", "tar"))


def test_optional_programs(tree: Tree) -> None:
    paths = {entry.path for entry in plan_entries(tree, spec("?e2fsck", "?sh"))}
    assert "usr/bin/dash" in paths


def test_own_files_win_and_follow_merged_usr(tree: Tree) -> None:
    files = (ExtraFile("/etc/passwd", 0o644, b"mine"), ExtraFile("/sbin/tool", 0o755, b"tool"))
    entries = {entry.path: entry for entry in plan_entries(tree, spec("sh", files=files))}
    assert entries["etc/passwd"].content == b"mine"
    assert entries["usr/sbin/tool"].content == b"tool"
    assert entries["sbin"].target == "usr/sbin"


def test_many_modules_stay_in_order(tmp_path: Path) -> None:
    root = f"usr/lib/modules/{VERSION}/kernel"
    names = [f"m{n}" for n in range(101)]
    tree = make_tree(tmp_path, {f"{root}/{name}.ko": Plain(elf_module()) for name in names})
    entries = plan_entries(tree, spec(modules=tuple(names)))
    paths = [entry.path for entry in entries if entry.path.startswith("modules/")]
    assert paths == [f"modules/{n:03}-m{n}.ko" for n in range(101)]


def test_full_disk(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    entries = plan_entries(tree, spec("sh"))
    out = tmp_path / "folder" / "out"
    out.parent.mkdir()
    with pytest.raises(HostError) as caught:
        write_initramfs(out, entries)
    assert f"no room in {out.parent} for the initramfs of " in caught.value.message
    assert f"{cpio.archive_size(entries)} bytes" in caught.value.message
    assert caught.value.hint
    assert not out.exists()


def test_really_full_device(tree: Tree) -> None:
    # /dev/full refuses whatever is written; a stand-in keeps it from being unlinked.
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb") as stream:
        cpio.write_cpio(stream, plan_entries(tree, spec("sh")))
    assert caught.value.errno == errno.ENOSPC


def test_folder_that_cannot_be_written(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be written"):
        write_initramfs(tmp_path / "absent" / "out", plan_entries(tree, spec("sh")))


def test_nothing_is_left_of_a_failure(tree: Tree, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(b"")
    files = (ExtraFile("payload", 0o600, Region(cut, 0, 9)),)
    with pytest.raises(InputError, match="cut ends 9 bytes too early"):
        write_initramfs(tmp_path / "out", plan_entries(tree, spec(files=files)))
    assert not (tmp_path / "out").exists()
