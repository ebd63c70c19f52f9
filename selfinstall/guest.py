"""The installer's guest: what goes into its initramfs, and which machine runs it."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from selfinstall.arch import Arch
from selfinstall.events import OnEvent
from selfinstall.ext4.owners import NOBODY, Owners
from selfinstall.guestfiles import acls, own_files, static
from selfinstall.host import room_in
from selfinstall.initramfs import bzimage, cpio, stripped, zboot
from selfinstall.initramfs.assemble import ExtraFile, InitramfsSpec, plan_entries, write_initramfs
from selfinstall.initramfs.cpio import Region
from selfinstall.initramfs.hooks import Hook, load_hook
from selfinstall.initramfs.modules import KernelFiles, find_kernel, read_kernel
from selfinstall.inputs import Inputs
from selfinstall.layers import POINTS
from selfinstall.layers.session import Layers
from selfinstall.packages.cache import Cache, folder_or
from selfinstall.packages.resolution import Fetched
from selfinstall.plan import ROOT_HOOK, Plan
from selfinstall.qemu.answers import Job
from selfinstall.qemu.argv import AccelName, Drive, Machine, Network
from selfinstall.qemu.emulator import find as find_emulator
from selfinstall.qemu.firmware import for_installer
from selfinstall.qemu.install import GuestReport, run_installer
from selfinstall.request import Request
from selfinstall.rootfs.inspect import Inspection, index_tar
from selfinstall.rootfs.layer import initramfs_path
from selfinstall.rootfs.tree import Tree
from selfinstall.unpacking.prepare import prepare


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """Files on the host from which the guest boots, all in the build's private folder.

    :param kernel: the target's own kernel.
    :param initramfs: the whole initramfs.
    :param rootfs: the tar that travels on a disk of its own, None when the initramfs holds it.
    :param packages: likewise the tar of the packages.
    :param early: the tar of what the host itself puts into the root, None without such.
    :param owners: whose the files in that are.
    """

    kernel: Path
    initramfs: Path
    rootfs: Path | None
    packages: Path | None
    early: Path | None = None
    owners: Owners = NOBODY

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        found = (self.kernel, self.initramfs, self.rootfs, self.packages, self.early)
        return tuple(path for path in found if path is not None)


def assemble(
    plan: Plan,
    arch: Arch,
    inspection: Inspection,
    fetched: tuple[Fetched, ...],
    inputs: Inputs,
    esp: bytes,
    work: Path,
    cache: Path | None = None,
    on_base: Callable[[Path, Path], None] = lambda kernel, initramfs: None,
) -> Assembled:
    """Write kernel, initramfs and payload into the folder *work*.

    :param esp: the EFI partition's content.
    :param cache: the cache's folder; None for the user's.
    :param on_base: called with the kernel and the initramfs before anything is in it that is
        of this build alone.
    :raises InputError: programs, modules or the kernel are missing in the target.
    :raises HostError: a host program is missing, or the disk is full.
    """
    layers = [index_tar(f.path, f.data_offset, f.data_size, initramfs_path) for f in fetched]
    tree = Tree([inspection.layer, *layers])
    kernel = _kernel(tree, Tree(layers))
    spool = work / "rootfs.tar"
    packages = work / "packages.tar"
    in_guest = plan.unpack == "guest" and not plan.from_image
    early = None if in_guest or plan.from_image else work / "early.tar"
    epoch = plan.settings["SOURCE_DATE_EPOCH"]
    unpacking = prepare(
        plan.steps,
        fetched,
        spool=spool,
        spool_size=inspection.facts.tar_bytes,
        status=inspection.dpkg_status,
        out=packages,
        early=early,
        epoch=int(epoch) if epoch else None,
        in_guest=plan.unpack == "guest",
    )
    carried = (spool, packages) if in_guest else (packages,)
    hooks = tuple(load_hook(name) for name in plan.hooks)
    kernel_file, initramfs = write_bootable(tree, arch, kernel, hooks=hooks, files=(), work=work)
    on_base(kernel_file, initramfs)
    append_files(
        initramfs,
        (
            *own_files(plan, arch, inputs, work, unpacking.arranged),
            *unpacking.files,
            ExtraFile("selfinstall/esp.head", 0o644, esp),
            *(acls(inspection) if in_guest else ()),
            *(_payload(carried) if plan.payload == "initramfs" else ()),
        ),
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
        for path in carried:
            path.unlink()
    return Assembled(
        kernel=kernel_file,
        initramfs=initramfs,
        rootfs=spool if on_disk and in_guest else None,
        packages=packages if on_disk and fetched else None,
        early=early,
        owners=unpacking.owners,
    )


def resume(plan: Plan, arch: Arch, inputs: Inputs, work: Path) -> Assembled:
    """The same for a disk that begins with a layer, whose kernel and initramfs are in *work*.

    :raises HostError: a host program is missing, or the disk is full.
    """
    initramfs = work / "initramfs"
    # The room may be needed for what comes.
    (work / "rootfs.tar").unlink(missing_ok=True)
    append_files(initramfs, tuple(own_files(plan, arch, inputs, work)))
    return Assembled(kernel=work / "kernel", initramfs=initramfs, rootfs=None, packages=None)


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
    packed = read_kernel(image, kernel.image)
    kernel_file.write_bytes(bzimage.unpacked(zboot.unpacked(packed, kernel.image)))
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


def append_files(initramfs: Path, files: Iterable[ExtraFile]) -> None:
    """Add an archive with *files*; the kernel unpacks one archive after the other.

    :raises HostError: the disk is full.
    """
    entries = [cpio.regular(file.path, file.content, file.mode) for file in files]
    # Not for appending: copy_file_range(2) refuses such descriptors.
    with room_in(initramfs.parent), initramfs.open("r+b") as stream:
        stream.seek(0, os.SEEK_END)
        cpio.write_cpio(stream, cpio.complete(entries))


def _add_stripped_modules(initramfs: Path, fetched: list[Fetched], folder: Path | None) -> None:
    """Append the archives of stripped modules."""
    with initramfs.open("ab") as stream:
        for deb in fetched:
            with Cache(folder).derived(
                deb.package.sha256,
                stripped.KIND,
                functools.partial(stripped.write_archive, deb.path, deb.data_offset, deb.data_size),
            ) as source:
                shutil.copyfileobj(source, stream, 1 << 20)


def _kernel(tree: Tree, added: Tree) -> KernelFiles:
    """A kernel that the packages bring is the one that was asked for; else the tarball's newest."""
    brings = any(
        path.startswith(("boot/vmlinu", "usr/lib/modules/", "lib/modules/")) for path in added
    )
    return find_kernel(tree, find_kernel(added).version if brings else None)


def _payload(archives: Iterable[Path]) -> Iterator[ExtraFile]:
    for path in archives:
        yield ExtraFile(f"payload/{path.name}", 0o644, Region(path, 0, path.stat().st_size))


def run(
    request: Request,
    plan: Plan,
    arch: Arch,
    assembled: Assembled,
    log: Path,
    head: bytes,
    layers: Layers,
    fresh: Callable[[], None],
    fill: Callable[[OnEvent], None],
    on_event: OnEvent,
) -> GuestReport:
    """Boot the assembled guest and wait for its verdict.

    :param log: where the console goes.
    :param head: what the log begins with.
    :param layers: whose disk the guest gets.
    :param fresh: makes that disk what the guest shall find.
    :param fill: makes the root on it while the guest starts, where a hook waits for that.
    :raises InputError: the root cannot be made of what the archives hold.
    :raises HostError: qemu is missing or too old.
    :raises GuestFailed: a hook failed.
    :raises GuestHung: the guest gave no sign of life.
    """
    emulator = find_emulator(arch, request.qemu)
    firmware = for_installer(arch, emulator)

    def machine_for(accel: AccelName) -> Machine:
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
            drives=tuple(_drives(plan, assembled, layers.disk)),
            network=Network() if plan.network else None,
        )

    return run_installer(
        machine_for,
        wanted=request.accel,
        stall=request.stall,
        log=log,
        head=head,
        hooks=plan.hooks,
        cache=folder_or(request.cache, log.parent),
        on_event=on_event,
        # An attempt that did not come to life may have left something.
        fresh=fresh,
        jobs=dict(_jobs(plan, layers, fill)),
    )


def _jobs(plan: Plan, layers: Layers, fill: Callable[[OnEvent], None]) -> Iterator[tuple[str, Job]]:
    """What the host does while the guest runs, by the hook that waits for it."""
    if ROOT_HOOK in plan.hooks:
        yield ROOT_HOOK, Job(lambda tell, go_on: fill(tell), ahead=True)
    for point in POINTS:
        yield point, _taking(plan, layers, point)


def _taking(plan: Plan, layers: Layers, point: str) -> Job:
    return Job(lambda tell, go_on: layers.take(plan, point, go_on))


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
