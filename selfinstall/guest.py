"""The installer's guest: what goes into its initramfs, and which machine runs it."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Iterator
from importlib.resources import files as resources
from pathlib import Path

from selfinstall.arch import Arch
from selfinstall.events import OnEvent
from selfinstall.image.label import make_esp, make_label
from selfinstall.initramfs import stripped, zboot
from selfinstall.initramfs.assemble import ExtraFile, InitramfsSpec, plan_entries, write_initramfs
from selfinstall.initramfs.cpio import Region
from selfinstall.initramfs.hooks import Hook, load_hook
from selfinstall.initramfs.modules import KernelFiles, find_kernel
from selfinstall.inputs import Inputs
from selfinstall.packages.cache import Cache, folder_or
from selfinstall.packages.resolution import Fetched
from selfinstall.plan import Plan
from selfinstall.qemu.argv import AccelName, Drive, Machine
from selfinstall.qemu.emulator import find as find_emulator
from selfinstall.qemu.firmware import find as find_firmware
from selfinstall.qemu.install import GuestReport, run_installer
from selfinstall.render import render
from selfinstall.request import Request
from selfinstall.rootfs.inspect import Inspection, index_tar
from selfinstall.rootfs.layer import initramfs_path
from selfinstall.rootfs.tree import Tree
from selfinstall.unpacking.prepare import prepare
from selfinstall.unpacking.rounds import Arranged, by_dpkg

#: Static files that the hooks copy into the image.
IMAGE_FILES = (
    "selfinstall-grow-root",
    "selfinstall-grow-root.service",
    "selfinstall-grow-root.init",
    "selfinstall-host-keys.service",
    "selfinstall-host-keys.init",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """Files on the host from which the guest boots, all in the build's private folder.

    :param kernel: the target's own kernel.
    :param initramfs: the whole initramfs.
    :param rootfs: the tar that travels on a disk of its own, None when the initramfs holds it.
    :param packages: likewise the tar of the packages.
    """

    kernel: Path
    initramfs: Path
    rootfs: Path | None
    packages: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        found = (self.kernel, self.initramfs, self.rootfs, self.packages)
        return tuple(path for path in found if path is not None)


def assemble(
    plan: Plan,
    arch: Arch,
    inspection: Inspection,
    fetched: tuple[Fetched, ...],
    inputs: Inputs,
    work: Path,
    cache: Path | None = None,
) -> Assembled:
    """Write kernel, initramfs and payload into the folder *work*.

    :param cache: the cache's folder; None for the user's.
    :raises InputError: programs, modules or the kernel are missing in the target.
    :raises HostError: a host program is missing, or the disk is full.
    """
    layers = [index_tar(f.path, f.data_offset, f.data_size, initramfs_path) for f in fetched]
    tree = Tree([inspection.layer, *layers])
    kernel = _kernel(tree, Tree(layers))
    spool = work / "rootfs.tar"
    packages = work / "packages.tar"
    epoch = plan.settings["SOURCE_DATE_EPOCH"]
    unpacking = prepare(
        plan.steps,
        fetched,
        spool=spool,
        spool_size=inspection.facts.tar_bytes,
        status=inspection.dpkg_status,
        out=packages,
        epoch=int(epoch) if epoch else None,
        in_guest=plan.unpack == "guest",
    )
    kernel_file, initramfs = write_bootable(
        tree,
        arch,
        kernel,
        hooks=tuple(load_hook(name) for name in plan.hooks),
        files=(
            *_rendered(plan, arch, unpacking.arranged),
            *unpacking.files,
            *_label(plan, work),
            *_inputs(plan, inputs),
            *_acls(inspection),
            *(_payload(spool, packages) if plan.payload == "initramfs" else ()),
        ),
        work=work,
    )
    if not any("lib/modules/" in path for path in inspection.layer):
        # Else a module of the tarball's could hide behind a package's folder.
        with_modules = [
            deb
            for deb, layer in zip(fetched, layers, strict=True)
            if any("lib/modules/" in path for path in layer)
        ]
        _add_stripped_modules(initramfs, with_modules, cache)
    on_disk = plan.payload == "disk"
    if not on_disk:
        spool.unlink()
        packages.unlink()
    return Assembled(
        kernel=kernel_file,
        initramfs=initramfs,
        rootfs=spool if on_disk else None,
        packages=packages if on_disk and fetched else None,
    )


def write_bootable(
    tree: Tree,
    arch: Arch,
    kernel: KernelFiles,
    *,
    hooks: tuple[Hook, ...],
    files: tuple[ExtraFile, ...],
    work: Path,
) -> tuple[Path, Path]:
    """Write a kernel and an initramfs that runs *hooks* into the folder *work*.

    :param tree: where the kernel, its modules and the programs come from.
    :param files: what else goes in, ``selfinstall/settings`` among it.
    :returns: the kernel's and the initramfs's paths.
    :raises InputError: programs or modules are missing in *tree*.
    :raises HostError: the disk is full.
    """
    image = tree.get(kernel.image)
    assert image is not None
    kernel_file, initramfs = work / "kernel", work / "initramfs"
    kernel_file.write_bytes(zboot.unpacked(image.read(), kernel.image))
    init = load_hook("init")
    spec = InitramfsSpec(
        programs=tuple(dict.fromkeys(p for hook in (init, *hooks) for p in hook.programs)),
        modules=tuple(dict.fromkeys(m for hook in hooks for m in hook.modules)),
        kernel_version=kernel.version,
        multiarch=arch.multiarch,
        # Nothing looks at these times; a constant keeps equal inputs equal.
        mtime=0,
        files=(
            ExtraFile("init", 0o755, init.text.encode()),
            ExtraFile("hooks/lib.sh", 0o644, static("lib.sh")),
            *(ExtraFile(f"hooks/{hook.name}", 0o755, hook.text.encode()) for hook in hooks),
            *files,
        ),
    )
    write_initramfs(initramfs, plan_entries(tree, spec))
    return kernel_file, initramfs


def _add_stripped_modules(initramfs: Path, fetched: list[Fetched], folder: Path | None) -> None:
    """Append the archives of stripped modules; the kernel unpacks one archive after the other."""
    with initramfs.open("ab") as stream:
        for deb in fetched:
            archive = Cache(folder).derived(
                deb.package.sha256,
                stripped.KIND,
                functools.partial(stripped.write_archive, deb.path, deb.data_offset, deb.data_size),
            )
            with archive.open("rb") as source:
                shutil.copyfileobj(source, stream, 1 << 20)


def _kernel(tree: Tree, added: Tree) -> KernelFiles:
    """A kernel that the packages bring is the one that was asked for; else the tarball's newest."""
    brings = any(
        path.startswith(("boot/vmlinu", "usr/lib/modules/", "lib/modules/")) for path in added
    )
    return find_kernel(tree, find_kernel(added).version if brings else None)


def static(name: str) -> bytes:
    """The content of a shipped file below ``hooks/``."""
    return (resources("selfinstall") / "hooks" / name).read_bytes()


def _rendered(plan: Plan, arch: Arch, arranged: Arranged) -> Iterator[ExtraFile]:
    for name, text in rendered(plan, arch, arranged).items():
        yield ExtraFile(f"selfinstall/{name}", 0o644, text.encode())
    for name in IMAGE_FILES:
        yield ExtraFile(f"selfinstall/files/{name}", 0o644, static(f"files/{name}"))


def rendered(plan: Plan, arch: Arch, arranged: Arranged | None = None) -> dict[str, str]:
    """The guest's data files by their path under ``/selfinstall``.  Pure.

    :param arranged: who unpacks what; None for the guest's dpkg everything.
    """
    if arranged is None:
        arranged = by_dpkg(plan.steps, "")
    return {
        "settings": render("settings.j2", settings=plan.settings),
        "dpkg-steps": render("dpkg-steps.j2", steps=arranged.steps),
        "extended_states": render(
            "extended_states.j2", packages=[p for p in plan.packages if p.automatic]
        ),
        "files/grub.cfg": render(
            "grub.cfg.j2",
            distributor=plan.distributor,
            kernel_args=plan.image_args,
            terminal=arch.grub_terminal,
            serial_command=arch.grub_serial,
        ),
    }


def _label(plan: Plan, work: Path) -> Iterator[ExtraFile]:
    label = make_label(plan.disk, work)
    yield ExtraFile("selfinstall/label.head", 0o644, label.head)
    yield ExtraFile("selfinstall/label.tail", 0o644, label.tail)
    esp = plan.disk.partition("esp")
    if esp is not None:
        content = make_esp(esp.size, plan.esp_id, work)
        yield ExtraFile("selfinstall/esp.head", 0o644, content)


def _inputs(plan: Plan, inputs: Inputs) -> Iterator[ExtraFile]:
    for name, content in inputs.secrets.items():
        yield ExtraFile(f"selfinstall/secrets/{name}", 0o600, content)
    for name, (_, content) in zip(plan.customize_hooks, inputs.customize, strict=True):
        yield ExtraFile(f"selfinstall/customize/{name}", 0o755, content)


def _acls(inspection: Inspection) -> Iterator[ExtraFile]:
    if inspection.acl_attributes:
        names = b"".join(os.fsencode(name) + b"\0" for name in inspection.acl_attributes)
        yield ExtraFile("selfinstall/acl-attributes", 0o644, names)


def _payload(spool: Path, packages: Path) -> Iterator[ExtraFile]:
    for path in (spool, packages):
        yield ExtraFile(f"payload/{path.name}", 0o644, Region(path, 0, path.stat().st_size))


def run(
    request: Request,
    plan: Plan,
    arch: Arch,
    assembled: Assembled,
    disk: Path,
    log: Path,
    on_event: OnEvent,
) -> GuestReport:
    """Boot the assembled guest on an empty *disk* and wait for its verdict.

    :param disk: the raw image to make; what it held is lost.
    :param log: where the console goes.
    :raises HostError: qemu is missing or too old.
    :raises GuestFailed: a hook failed.
    :raises GuestHung: the guest gave no sign of life.
    """
    emulator = find_emulator(arch, request.qemu)
    firmware = None
    if arch.qemu.installer_firmware is not None:
        firmware = find_firmware(arch.firmware(arch.qemu.installer_firmware), emulator)

    def machine_for(accel: AccelName) -> Machine:
        # An attempt that did not come to life may have left something.
        with disk.open("wb") as stream:
            stream.truncate(plan.disk.size)
        return Machine(
            arch=arch,
            emulator=emulator,
            accel=accel,
            memory=plan.memory_mib,
            smp=plan.smp,
            firmware=firmware,
            kernel=assembled.kernel,
            initrd=assembled.initramfs,
            append=" ".join(plan.installer_args),
            drives=tuple(_drives(plan, assembled, disk)),
        )

    return run_installer(
        machine_for,
        wanted=request.accel,
        stall=request.stall,
        log=log,
        hooks=plan.hooks,
        cache=folder_or(request.cache, log.parent),
        on_event=on_event,
    )


def _drives(plan: Plan, assembled: Assembled, disk: Path) -> Iterator[Drive]:
    yield Drive(
        path=disk.absolute(), format="raw", serial=plan.settings["DISK_SERIAL"], discard=True
    )
    for path, setting in (
        (assembled.rootfs, "PAYLOAD_SERIAL"),
        (assembled.packages, "PACKAGES_SERIAL"),
    ):
        if path is not None:
            yield Drive(path=path, format="raw", serial=plan.settings[setting], read_only=True)
