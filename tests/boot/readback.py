"""Reads an image's root natively, without root: the project's own initramfs with another hook."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from selfinstall import events, guest
from selfinstall.arch import Arch
from selfinstall.image.inspect import inspect_image
from selfinstall.initramfs.assemble import ExtraFile
from selfinstall.initramfs.hooks import load_hook, parse_hook
from selfinstall.initramfs.modules import find_kernel
from selfinstall.plan import INSTALLER_ARGS
from selfinstall.qemu.argv import AccelName, Drive, Machine
from selfinstall.qemu.emulator import find
from selfinstall.qemu.install import run_installer
from selfinstall.render import render
from selfinstall.rootfs.inspect import inspect
from selfinstall.rootfs.tree import Tree

HOOK = Path(__file__).parent / "hooks" / "50-readback"


def read_back(image: Path, tools: Path, arch: Arch, work: Path) -> Path:
    """The root of *image* as a tar; kernel and programs come from the tarball *tools*."""
    work.mkdir()
    spool = work / "tools.tar"
    tree = Tree([inspect(tools, spool=spool).layer])
    root = inspect_image(image).partitions[-1]
    settings = {
        "HOOKS": "10-modules 50-readback",
        "DISK_SERIAL": "image",
        "OUT_SERIAL": "out",
        "ROOT_PARTITION": str(root.number),
    }
    rendered = render("settings.j2", settings=settings).encode()
    kernel, initramfs = guest.write_bootable(
        tree,
        arch,
        find_kernel(tree),
        hooks=(load_hook("10-modules"), parse_hook(HOOK.name, HOOK.read_text())),
        files=(ExtraFile("selfinstall/settings", 0o644, rendered),),
        work=work,
    )
    out = work / "out.tar"
    with out.open("wb") as stream:
        stream.truncate(8 << 30)
    emulator = find(arch)

    def machine(accel: AccelName) -> Machine:
        return Machine(
            arch=arch,
            emulator=emulator,
            accel=accel,
            memory=1024,
            kernel=kernel,
            initrd=initramfs,
            append=" ".join((f"console={arch.console}", *INSTALLER_ARGS, *arch.installer_args)),
            drives=(
                Drive(path=image.absolute(), format="raw", serial="image", read_only=True),
                Drive(path=out.absolute(), format="raw", serial="out", discard=True),
            ),
        )

    run_installer(
        machine,
        wanted="tcg",
        stall=None,
        log=work / "console.log",
        hooks=("10-modules", "50-readback"),
        cache=work,
        on_event=events.ignore,
    )
    return out


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """All of a member that an image must keep."""

    type: str
    mode: int
    owner: tuple[int, int]
    mtime: float
    size: int
    digest: str
    target: str
    device: tuple[int, int]
    attributes: tuple[tuple[str, str], ...]
