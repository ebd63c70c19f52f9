"""The guest's initramfs as a whole, for every architecture, from a made-up target."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from golden import check
from initramfs_helpers import Content, Link, Plain, elf_module, elf_program, make_tree, read_cpio
from plan_helpers import make_facts, make_plan

from selfinstall import guest, guestfiles
from selfinstall.arch import Arch, all_arches
from selfinstall.initramfs.assemble import ExtraFile
from selfinstall.initramfs.cpio import Region
from selfinstall.initramfs.hooks import load_hook
from selfinstall.initramfs.modules import KernelFiles
from selfinstall.rootfs.tree import Tree

VERSION = "6.12"
SBIN = ("mke2fs", "e2fsck", "blockdev", "fstrim", "chroot")


def make_target(folder: Path, arch: Arch, programs: set[str], modules: set[str]) -> Tree:
    """A merged-/usr system with these programs and kernel modules."""
    loader = f"/usr/lib/{arch.multiarch}/ld.so"
    program = elf_program("libc.so.6", interpreter=loader)
    content: dict[str, Content] = {
        **{name: Link(f"usr/{name}") for name in ("bin", "sbin", "lib")},
        f"usr/lib/{arch.multiarch}/ld.so": elf_program(),
        f"usr/lib/{arch.multiarch}/libc.so.6": elf_program("ld.so"),
        "boot/vmlinuz-6.12": Plain(b"kernel"),
    }
    for name in programs - {"sh", "modprobe"}:
        content[f"usr/{'sbin' if name in SBIN else 'bin'}/{name}"] = program
    content |= {"usr/bin/dash": program, "usr/bin/sh": Link("dash")}
    content |= {"usr/bin/kmod": program, "usr/sbin/modprobe": Link("../bin/kmod")}
    for name in modules:
        content[f"usr/lib/modules/{VERSION}/kernel/{name}.ko"] = Plain(elf_module())
    return make_tree(folder, content)


@pytest.mark.parametrize("arch", all_arches().values(), ids=lambda arch: arch.name)
def test_listing_of_the_initramfs(arch: Arch, tmp_path: Path) -> None:
    plan = make_plan(make_facts(architecture=arch.name), root_password_file=Path("x"))
    hooks = tuple(load_hook(name) for name in plan.hooks)
    programs = {p for hook in (load_hook("init"), *hooks) for p in hook.programs}
    modules = {m.removeprefix("?") for hook in hooks for m in hook.modules}
    tree = make_target(tmp_path, arch, programs, modules)
    files = tuple(
        ExtraFile(f"selfinstall/{name}", 0o644, text.encode())
        for name, text in guestfiles.rendered(plan, arch).items()
    )
    kernel, initramfs = guest.write_bootable(
        tree,
        arch,
        KernelFiles(version=VERSION, image="boot/vmlinuz-6.12"),
        hooks=hooks,
        files=files,
        work=tmp_path,
    )
    assert kernel.read_bytes() == b"kernel"
    found = read_cpio(initramfs.read_bytes())
    lines = [
        f"{stat.filemode(entry.mode)} {path}"
        + (f" -> {entry.content.decode()}" if stat.S_ISLNK(entry.mode) else "")
        for path, entry in found.items()
    ]
    check(f"initramfs-{arch.name}.txt", "\n".join(lines) + "\n")


def test_a_payload_is_appended_to_the_initramfs(tmp_path: Path) -> None:
    """Large contents are copied by the kernel, from one file to the other."""
    content = bytes(range(256)) * 4096
    (tmp_path / "rootfs.tar").write_bytes(content)
    initramfs = tmp_path / "initramfs"
    initramfs.write_bytes(b"")
    guest.append_files(initramfs, [ExtraFile("first", 0o644, b"1")])
    region = Region(tmp_path / "rootfs.tar", 0, len(content))
    begin = initramfs.stat().st_size
    guest.append_files(initramfs, [ExtraFile("payload/rootfs.tar", 0o644, region)])
    found = read_cpio(initramfs.read_bytes()[begin:])
    assert found["payload/rootfs.tar"].content == content
    assert read_cpio(initramfs.read_bytes()[:begin])["first"].content == b"1"
