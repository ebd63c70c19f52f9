"""The installer's guest: what goes into its initramfs, and which machine runs it."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files as resources
from pathlib import Path

from selfinstall.arch import Arch
from selfinstall.events import OnEvent
from selfinstall.host import room_in
from selfinstall.image.label import make_esp, make_label
from selfinstall.initramfs import cpio, stripped, zboot
from selfinstall.initramfs.assemble import ExtraFile, InitramfsSpec, plan_entries, write_initramfs
from selfinstall.initramfs.cpio import Region
from selfinstall.initramfs.hooks import Hook, load_hook
from selfinstall.initramfs.modules import KernelFiles, find_kernel, read_kernel
from selfinstall.inputs import Inputs
from selfinstall.layers.session import Layers
from selfinstall.packages.cache import Cache, folder_or
from selfinstall.packages.resolution import Fetched
from selfinstall.plan import Plan
from selfinstall.profiles import RESERVED, Profile
from selfinstall.qemu.argv import AccelName, Drive, Machine, Network
from selfinstall.qemu.emulator import find as find_emulator
from selfinstall.qemu.firmware import for_installer
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
    "selfinstall-boot-writes.init",
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
    hooks = tuple(load_hook(name) for name in plan.hooks)
    kernel_file, initramfs = write_bootable(tree, arch, kernel, hooks=hooks, files=(), work=work)
    on_base(kernel_file, initramfs)
    append_files(
        initramfs,
        (
            *_own_files(plan, arch, inputs, work, unpacking.arranged),
            *unpacking.files,
            ExtraFile("selfinstall/esp.head", 0o644, esp),
            *_acls(inspection),
            *(_payload(spool, packages) if plan.payload == "initramfs" else ()),
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
        spool.unlink()
        packages.unlink()
    return Assembled(
        kernel=kernel_file,
        initramfs=initramfs,
        rootfs=spool if on_disk and not plan.from_image else None,
        packages=packages if on_disk and fetched else None,
    )


def resume(plan: Plan, arch: Arch, inputs: Inputs, work: Path) -> Assembled:
    """The same for a disk that begins with a layer, whose kernel and initramfs are in *work*.

    :raises HostError: a host program is missing, or the disk is full.
    """
    initramfs = work / "initramfs"
    # The room may be needed for what comes.
    (work / "rootfs.tar").unlink(missing_ok=True)
    append_files(initramfs, tuple(_own_files(plan, arch, inputs, work)))
    return Assembled(kernel=work / "kernel", initramfs=initramfs, rootfs=None, packages=None)


def _own_files(
    plan: Plan, arch: Arch, inputs: Inputs, work: Path, arranged: Arranged | None = None
) -> Iterator[ExtraFile]:
    """What every build has of its own."""
    yield from _rendered(plan, arch, arranged)
    for path, (content, program) in profile_files(plan, arch, inputs.profiles).items():
        yield ExtraFile(f"selfinstall/{path}", 0o755 if program else 0o644, content)
    if not plan.from_image:
        label = make_label(plan.disk, work)
        yield ExtraFile("selfinstall/label.head", 0o644, label.head)
        yield ExtraFile("selfinstall/label.tail", 0o644, label.tail)
    yield from _inputs(plan, inputs)


def profile_files(
    plan: Plan, arch: Arch, profiles: Iterable[Profile]
) -> dict[str, tuple[bytes, bool]]:
    """What *profiles* bring, by the path under ``/selfinstall``, and whether it is a program."""
    found: dict[str, tuple[bytes, bool]] = {}
    for profile in profiles:
        if not profile.acts:
            continue
        folder = f"profiles/{profile.name}"
        settings = {
            **profile.settings,
            f"{RESERVED}PROFILE": profile.name,
            f"{RESERVED}ARCH": arch.name,
            f"{RESERVED}INIT": plan.init,
            f"{RESERVED}CONSOLE": arch.console,
            f"{RESERVED}SECOND_SERIAL": arch.second_serial or "",
        }
        text = render("settings.j2", settings=settings)
        found[f"{folder}/settings"] = text.encode(), False
        if profile.hook:
            found[f"{folder}/hook"] = profile.hook, True
        for path, file in profile.files.items():
            found[f"{folder}/files/{path}"] = file
    return found


def files_before_layers(
    plan: Plan, arch: Arch, esp: bytes, profiles: Iterable[Profile] = ()
) -> dict[str, bytes]:
    """What the hooks find that are no settings and of no build alone, by their path."""
    brought = profile_files(plan, arch, profiles).items()
    texts = {name: text.encode() for name, text in rendered(plan, arch).items()}
    del texts["settings"]
    shipped = ("init", "lib.sh", *(f"files/{name}" for name in IMAGE_FILES))
    return {
        **texts,
        **{name: static(name) for name in shipped},
        **{path: (b"x" if program else b"-") + content for path, (content, program) in brought},
        "esp.head": esp,
    }


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
    kernel_file.write_bytes(zboot.unpacked(read_kernel(image, kernel.image), kernel.image))
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


def static(name: str) -> bytes:
    """The content of a shipped file below ``hooks/``."""
    return (resources("selfinstall") / "hooks" / name).read_bytes()


def _rendered(plan: Plan, arch: Arch, arranged: Arranged | None) -> Iterator[ExtraFile]:
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


def esp_content(plan: Plan, work: Path) -> bytes:
    """The empty EFI partition without the zeros at its end; nothing where there is none.

    :raises HostError: mkfs.vfat is missing or fails.
    """
    esp = plan.disk.partition("esp")
    return b"" if esp is None else make_esp(esp.size, plan.esp_id, work)


def _inputs(plan: Plan, inputs: Inputs) -> Iterator[ExtraFile]:
    for name, content in inputs.secrets.items():
        yield ExtraFile(f"selfinstall/secrets/{name}", 0o600, content)
    for name, (_, content) in zip(plan.customize_hooks, inputs.customize, strict=True):
        yield ExtraFile(f"selfinstall/customize/{name}", 0o755, content)
    yield ExtraFile("selfinstall/customize-environment", 0o600, inputs.environment)


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
    log: Path,
    head: bytes,
    layers: Layers,
    fresh: Callable[[], None],
    on_event: OnEvent,
) -> GuestReport:
    """Boot the assembled guest and wait for its verdict.

    :param log: where the console goes.
    :param head: what the log begins with.
    :param layers: whose disk the guest gets.
    :param fresh: makes that disk what the guest shall find.
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
        on_ask=functools.partial(layers.take, plan),
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
