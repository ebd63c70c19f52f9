"""The plan: everything decided before anything runs.  Pure: values in, values out."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from selfinstall import arch as arches
from selfinstall import loader as loaders
from selfinstall import profiles as profiling
from selfinstall.arch import DIRECT, Arch, LoaderUse
from selfinstall.errors import InputError, UsageError
from selfinstall.identity import derived_uuid, fat_id
from selfinstall.layout import ALIGNMENT, MIB, SECTOR, Disk, Partition, PlacedPartition
from selfinstall.packages.resolution import Package, Resolution, Step
from selfinstall.profiles import Profile
from selfinstall.request import STDIN, SUFFIXES, Format, Request, Unpack
from selfinstall.rootfs.facts import Init, RootfsFacts

#: Without ``--size``.  The image is sparse, so room costs nothing until it is used.
DEFAULT_SIZE = 10 << 30
#: GPT keeps its backup in the last 33 sectors (UEFI 2.10, 5.3.1); a MiB keeps the end aligned.
LABEL_TAIL_SECTORS = 33

#: Block size of the root file system, and what its size is rounded up to, bytes.
ROOT_BLOCK = 4096
ROOT_STEP = 64 * MIB
#: How the names of the hooks begin that make the boot menu, last of all loaders' hooks.
MENU = "68-"

#: What an image needs whatever its boot loader: to make and check its file
#: system, to load drivers, to log in.  Some minbase tarballs lack some of these.
BASE_PACKAGES = ("e2fsprogs", "kmod", "login", "mount", "passwd", "udev")
#: What an image is better with; left out where the suite has no such package
#: or where nothing else must be fetched.  fdisk: the root can grow.  zstd: the
#: distribution's own choice for its initramfs.
USEFUL_PACKAGES = ("fdisk", "zstd")
#: What makes an initramfs, the default first: its package, and what packages call to have it done.
GENERATORS = {"initramfs-tools": "update-initramfs", "dracut": "dracut"}
#: ``--bootloader`` for kernel and initramfs beside the image.
NO_LOADER = "none"
#: The packages of each init system, and what lets it find its network.
INIT_SYSTEMS: dict[Init, tuple[str, ...]] = {
    "systemd": ("systemd-sysv",),
    "sysvinit": ("sysvinit-core",),
    # Debian's openrc is started by sysvinit's init.
    "openrc": ("openrc", "sysvinit-core"),
}
INIT_PACKAGES: dict[Init, tuple[str, ...]] = {
    # resolved was part of systemd itself before bookworm; dbus: without it logind fails.
    "systemd": ("systemd-resolved", "dbus"),
    "sysvinit": ("ifupdown", "dhcpcd-base"),
    "openrc": ("ifupdown", "dhcpcd-base"),
}

NO_NAME_SERVER = "no name server will be set by DHCP: systemd-resolved is not installed"

#: The installer's kernel alone gets these (docs/performance.md).  Address
#: randomisation makes qemu 7.2 translate all code again at each exec; the
#: mitigations and the zeroing of pages protect nobody in a machine without
#: secrets that lives for a minute.
INSTALLER_ARGS = (
    "rdinit=/init",
    # tmpfs would hold half of the memory at most.
    "rootfstype=ramfs",
    "panic=-1",
    "loglevel=5",
    "mitigations=off",
    "norandmaps",
    "nokaslr",
    "init_on_alloc=0",
    "random.trust_cpu=on",
    # Accounting and security modules are in the way of every system call and page fault.
    "lsm=",
    "audit=0",
    "psi=0",
    "cgroup_disable=memory",
)

#: Drivers in the image's first initramfs: the disks, buses and keyboards of
#: qemu, KVM, Xen, Hyper-V, VMware, VirtualBox and z/VM, whichever of them the kernel has.
INITRAMFS_MODULES = (
    "ext4 virtio_pci virtio_mmio virtio_blk virtio_scsi virtio_console virtio_rng "
    "nvme ahci ata_piix ata_generic sd_mod sr_mod mptspi mptsas megaraid_sas sym53c8xx "
    "vmw_pvscsi xen_blkfront xen_scsifront hv_vmbus hv_storvsc hyperv_keyboard "
    "dasd_eckd_mod dasd_fba_mod zfcp ibmvscsi "
    "xhci_pci ehci_pci uhci_hcd usb_storage uas usbhid hid_generic atkbd i8042 "
    "crc32c crc32c_generic nls_ascii nls_cp437 vfat"
)

#: MiB of the installer's memory that its system leaves to a payload.  More memory is not
#: faster: a payload on a disk of its own takes as long as one in memory.
PAYLOAD_MEMORY = 128
#: Guest CPUs without ``--smp``.  More are not safe under TCG: with two, qemu 7.2 and 10.0 let
#: one CPU run into the breakpoint that the kernel sets while it patches its own code ("Oops:
#: int3" in sched_clock_cpu; one boot of three to one of thirty, as the host is loaded).
DEFAULT_SMP = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """Names of packages that a tarball lacks.

    :param wanted: without these no image; apt must find them.
    :param useful: taken when apt is asked anyway and knows them.
    :param kernels: of these the first that apt knows; empty when a kernel is there or wanted.
    """

    wanted: tuple[str, ...]
    useful: tuple[str, ...]
    kernels: tuple[str, ...] = ()

    @property
    def foreign_architectures(self) -> tuple[str, ...]:
        """Those that a wanted package or kernel names (``NAME:ARCH``)."""
        return _architectures((*self.wanted, *self.kernels))

    @property
    def nothing(self) -> bool:
        """Whether apt need not be asked at all."""
        return not self.wanted and not self.kernels


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What will be done.  Sizes in bytes but for *memory_mib*.

    *firmwares* has a row for each boot of the verification: of the names in it, the
    first that the host has.
    :param tarball: its name, or that of the suite or of the image that is adapted.
    :param base: packages of a system that is only extracted, to install first and by force.
    :param unconfigured: how many packages of the tarball dpkg has not finished with.
    """

    tarball: str
    from_suite: bool
    arch: str
    system: str
    suite: str | None
    output: Path
    format: Format
    hostname: str
    distributor: str
    init: Init
    seed: str
    disk: Disk
    root_bytes: int
    root_uuid: str
    root_hash_seed: str
    esp_id: str
    loaders: tuple[LoaderUse, ...]
    firmwares: tuple[tuple[str, ...], ...]
    base: tuple[Package, ...]
    unconfigured: int
    resolution: Resolution
    kernel: str
    payload: Literal["initramfs", "disk"]
    unpack: Unpack
    memory_mib: int
    smp: int
    profiles: tuple[profiling.Used, ...]
    hooks: tuple[str, ...]
    settings: dict[str, str]
    installer_args: tuple[str, ...]
    image_args: tuple[str, ...]
    customize_hooks: tuple[str, ...]
    customize_files: tuple[Path, ...]
    network: bool
    verify: bool
    allow_unsigned: bool
    warnings: tuple[str, ...]
    from_image: bool = False

    @property
    def packages(self) -> tuple[Package, ...]:
        """All packages that the guest installs."""
        return (*self.base, *self.resolution.packages)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What dpkg does in the guest, before it configures whatever is left."""
        first = [Step("base", tuple(p.filename for p in self.base))] if self.base else []
        begun = [Step("pending")] if self.unconfigured else []
        return (*begun, *first, *self.resolution.steps)

    def to_json(self) -> str:
        """The whole plan as one JSON object."""
        return json.dumps(dataclasses.asdict(self), default=str, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """The plan for people."""
        return _describe(self)


def needs(
    request: Request, facts: RootfsFacts, arch: Arch, profiles: tuple[Profile, ...] = ()
) -> Needs:
    """What must be added to the rootfs that *facts* describe.

    :raises UsageError: the request names a boot loader or firmware that the architecture has
        not, or a profile that is not for the init system.
    """
    wanted = [*BASE_PACKAGES]
    init = chosen_init(request, facts)
    profiling.check_init(profiles, init)
    if facts.init is None:
        wanted += INIT_SYSTEMS[init]
    kernels: tuple[str, ...] = ()
    if request.kernel is not None:
        wanted.append(request.kernel)
    elif not facts.kernels and not _holds_any(facts, arch.kernel_packages):
        kernels = arch.kernel_packages
    if not any(kernel.initrd for kernel in facts.kernels) and not _has_generator(request, facts):
        wanted.append(next(iter(GENERATORS)))
    for use in chosen_loaders(request, arch):
        wanted += [use.package] if use.package else []
        wanted += loaders.all_loaders()[use.loader].packages
    if request.ssh_key is not None:
        wanted.append("openssh-server")
    useful = [*USEFUL_PACKAGES, *INIT_PACKAGES[init]]
    for profile in profiles:
        wanted += profile.wanted(init)
        useful += profile.wished(init)
    if _network(request):
        wanted.append("iproute2")

    def lacking(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for n in names if n not in facts.packages))

    return Needs(
        wanted=(*lacking(wanted), *request.include), useful=lacking(useful), kernels=kernels
    )


def _has_generator(request: Request, facts: RootfsFacts) -> bool:
    return not GENERATORS.keys().isdisjoint({*facts.packages, *_included(request)})


def _included(request: Request) -> set[str]:
    """Names of the packages that the request adds, without architecture and version."""
    return {name.partition(":")[0].partition("=")[0] for name in request.include}


def _network(request: Request) -> bool:
    """Whether the guest has a network card."""
    return request.customize_network and bool(request.customize_hooks)


def _holds_any(facts: RootfsFacts, names: Iterable[str]) -> bool:
    """Whether one of the packages is among those that wait for the second stage."""
    return bool(facts.held) and any(name in facts.packages for name in names)


def _architectures(names: Iterable[str]) -> tuple[str, ...]:
    """Architectures that names of packages end in (``NAME:ARCH=VERSION``)."""
    found = (name.partition("=")[0].partition(":")[2] for name in names)
    return tuple(dict.fromkeys(filter(None, found)))


def chosen_loaders(request: Request, arch: Arch) -> tuple[LoaderUse, ...]:
    """The boot loaders to install: the architecture's usual ones, or as the request narrows them.

    None at all when kernel and initramfs shall lie beside the image.

    :raises UsageError: nothing is left, or a name is unknown.
    """
    if request.bootloader == NO_LOADER:
        return ()
    descriptors = loaders.all_loaders()
    families = list(dict.fromkeys(descriptors[use.loader].family for use in arch.loaders))
    if request.bootloader not in ("auto", *families):
        raise UsageError(
            f"{arch.name} has no boot loader {request.bootloader!r}",
            f"it has: auto, {', '.join([*families, NO_LOADER])}",
        )
    if request.firmware != "both":
        arch.firmware(request.firmware)
    family = tuple(
        use
        for use in arch.loaders
        if (use.auto if request.bootloader == "auto" else _family(use) == request.bootloader)
    )
    chosen = tuple(use for use in family if request.firmware in ("both", *use.firmwares))
    if family and not chosen:
        raise UsageError(
            f"the boot loader {request.bootloader} of {arch.name} is not for the firmware "
            f"{request.firmware}",
            f"it is for: {', '.join(dict.fromkeys(f for use in family for f in use.firmwares))}",
        )
    return chosen


def _family(use: LoaderUse) -> str:
    return loaders.all_loaders()[use.loader].family


def chosen_init(request: Request, facts: RootfsFacts | None) -> Init:
    """The init system that the image will have: the rootfs's, an included one, or systemd."""
    if facts is not None and facts.init is not None:
        return facts.init
    included = _included(request)
    # openrc needs sysvinit's packages, so it is asked first.
    by_package: tuple[tuple[str, Init], ...] = (
        ("openrc", "openrc"),
        ("sysvinit-core", "sysvinit"),
    )
    return next((init for package, init in by_package if package in included), "systemd")


def check_source(request: Request) -> None:
    """:raises UsageError: the request does not name one thing to make the image of."""
    if request.tarball is None and request.suite is None and request.from_image is None:
        raise UsageError(
            "no tarball and no suite given",
            "selfinstall --tarball rootfs.tar.zst -o disk.img, or selfinstall --suite trixie",
        )
    if request.tarball is not None and request.suite is not None:
        raise UsageError(
            "--suite makes a rootfs and --tarball brings one",
            "give either; --sources FILE gives the tarball other packages",
        )
    if request.suite is None and request.variant != "minbase":
        raise UsageError(
            "--variant chooses packages of a suite, and a tarball has its own",
            "add packages to the tarball with --include, or give --suite in place of it",
        )


def output_path(request: Request) -> Path:
    """Where the image goes: as asked, or the tarball's name with the format's suffix.

    :raises UsageError: standard input has no name to go by.
    """
    if request.output is not None:
        return request.output
    if request.tarball is None:
        return Path(f"{request.suite}-{request.arch}{SUFFIXES[request.format]}")
    if request.tarball == STDIN:
        raise UsageError("standard input gives the image no name", "name it with -o")
    name = request.tarball.name
    stem = name.partition(".tar")[0] if ".tar" in name else request.tarball.stem
    return Path(stem + SUFFIXES[request.format])


def place(
    partitions: Iterable[Partition], root_type: str, size: int, seed: str, root_attributes: str = ""
) -> Disk:
    """The partitions one behind the other on a disk of *size* bytes, root last and with the rest.

    :param root_type: the root partition's GPT type.
    :param root_attributes: its GPT attributes, as sfdisk(8) names them.
    :raises UsageError: the disk is too small to hold them.
    """
    size = size // ALIGNMENT * ALIGNMENT
    start = ALIGNMENT
    placed: list[PlacedPartition] = []
    root = Partition(role="root", type=root_type, size=0)
    for number, part in enumerate([*partitions, root], 1):
        length = part.size or size - start - ALIGNMENT
        if length <= 0 or start + length > size - ALIGNMENT:
            raise UsageError(f"a disk of {size // MIB} MiB is too small for its partitions")
        placed.append(
            PlacedPartition(
                role=part.role,
                type=part.type,
                number=number,
                start=start,
                size=length,
                uuid=derived_uuid(seed, f"partition {part.role}"),
                name=part.name,
                attributes=root_attributes if part is root else "",
            )
        )
        start += length
    return Disk(size=size, uuid=derived_uuid(seed, "disk"), partitions=tuple(placed))


def _partitions(uses: tuple[LoaderUse, ...]) -> Iterator[Partition]:
    """Those of the boot loaders, in their order.

    A platform that depends on the kernel is told by the partition's name, so that
    one knows which firmware starts the image.
    """
    for name in dict.fromkeys(use.loader for use in uses):
        own = (use for use in uses if use.loader == name)
        mark = "-".join(use.target for use in own if use.kernel_architecture)
        for part in loaders.all_loaders()[name].partitions:
            yield dataclasses.replace(part, mark=mark)


def needed_root_bytes(facts: RootfsFacts, packages: Iterable[Package]) -> int:
    """The root file system's size before it grows: on the safe side of what it must hold.

    A file takes its size rounded up to blocks of 4 KiB and an inode of 256
    bytes, packages may lie there packed and unpacked; ext4 keeps 5 % back
    and a journal of 64 MiB; the first initramfs and the boot loader take less
    than 96 MiB.  Depends on what goes in and on nothing else.
    """
    files = facts.content_bytes + facts.members * (2048 + 256)
    added = 2 * sum(p.installed_size for p in packages)
    needed = math.ceil((files + added) * 1.07) + 160 * MIB
    return math.ceil(needed / ROOT_STEP) * ROOT_STEP


def content_seed(request: Request, facts: RootfsFacts, packages: Iterable[Package]) -> str:
    """What ids are derived from by default: equal tarballs and packages have equal ids."""
    rootfs = facts.sha256 if request.suite is None else request.suite
    hashes = (rootfs, *sorted(p.sha256 for p in packages))
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def make(
    request: Request,
    facts: RootfsFacts,
    arch: Arch,
    resolution: Resolution,
    *,
    base: tuple[Package, ...] = (),
    profiles: tuple[Profile, ...] = (),
    seed: str,
) -> Plan:
    """Decide everything.

    :param base: what the second stage installs before all others.
    :param profiles: those of the request, read.
    :param seed: what ids are derived from; the request's, or :func:`content_seed`.
    :raises UsageError: options that do not fit; a disk that is too small.
    :raises InputError: the tarball is not of the architecture that was asked for.
    """
    check_arch(request, facts)
    uses = _fitting(request, facts, resolution, arch)
    descriptors = {use.loader: loaders.all_loaders()[use.loader] for use in uses}.values()
    wanted_size = request.size or DEFAULT_SIZE
    packages = (*base, *resolution.packages)
    required = needed_root_bytes(facts, packages)
    if request.size is None:
        wanted_size = max(wanted_size, 2 * required)
    attributes = ",".join(filter(None, (d.root_attributes for d in descriptors)))
    disk = place(_partitions(uses), arch.root_type, wanted_size, seed, attributes)
    if disk.root.size < required:
        total = math.ceil((required + disk.size - disk.root.size) / MIB)
        raise UsageError(
            f"a disk of {disk.size // MIB} MiB is too small for {facts.name}",
            f"--size {total}M is the least",
        )
    payload, memory = _payload(request, facts, arch, packages)
    customize = tuple(
        # Numbers, not the files' own names: those can hold anything.
        f"{number:02d}"
        for number, _ in enumerate(request.customize_hooks, 1)
    )
    init = chosen_init(request, facts)
    kernel = request.kernel or (
        facts.kernels[0].version if facts.kernels else _kernel(arch, resolution)
    )
    plan = Plan(
        tarball=facts.name,
        from_suite=request.suite is not None,
        arch=arch.name,
        system=facts.pretty_name,
        suite=facts.suite,
        output=output_path(request),
        format=request.format,
        hostname=request.hostname or facts.hostname or facts.distribution,
        distributor=facts.distribution.capitalize(),
        init=init,
        seed=seed,
        disk=disk,
        root_bytes=required,
        root_uuid=derived_uuid(seed, "root file system"),
        root_hash_seed=derived_uuid(seed, "root directory hash"),
        esp_id=fat_id(seed, "ESP"),
        loaders=uses,
        firmwares=_firmwares(request, uses),
        base=base,
        unconfigured=len(facts.unconfigured),
        resolution=resolution,
        kernel=kernel,
        payload=payload,
        unpack=request.unpack,
        memory_mib=memory,
        smp=request.smp or DEFAULT_SMP,
        profiles=tuple(profiling.Used(p.name, p.source, p.sha256) for p in profiles),
        hooks=_hooks(uses, second_stage=bool(base), profiles=any(p.acts for p in profiles)),
        settings={},
        installer_args=(_console(arch), *INSTALLER_ARGS, *arch.installer_args),
        image_args=(
            *kernel_arguments(arch, init),
            *dict.fromkeys(argument for p in profiles for argument in p.kernel_args),
        ),
        customize_hooks=customize,
        customize_files=request.customize_hooks,
        network=_network(request),
        verify=request.verify,
        allow_unsigned=request.allow_unsigned,
        warnings=(
            *_warnings(facts, packages, init, unsigned=request.allow_unsigned),
            *profiling.missed(profiles, request),
            *profiling.without_modules(profiles, kernel),
        ),
    )
    return dataclasses.replace(plan, settings=_settings(plan, request, arch, facts, profiles))


def _fitting(
    request: Request, facts: RootfsFacts, resolution: Resolution, arch: Arch
) -> tuple[LoaderUse, ...]:
    """Those of the chosen loaders that can start a kernel that is there or comes."""
    uses = chosen_loaders(request, arch)
    there = {arch.name, *foreign(resolution, arch), *(k.architecture for k in facts.kernels)}
    fitting = tuple(use for use in uses if use.kernel_architecture in (None, *there))
    if uses and not fitting:
        raise UsageError(
            f"the firmware {request.firmware} cannot start a kernel of {arch.name}",
            f"name one of {uses[0].kernel_architecture} with --kernel, or leave out --firmware",
        )
    return fitting


def foreign(resolution: Resolution, arch: Arch) -> tuple[str, ...]:
    """Architectures of new packages that are not the target's own."""
    found = {p.architecture for p in resolution.packages} - {arch.name, "all"}
    return tuple(sorted(found))


def _kernel(arch: Arch, resolution: Resolution) -> str:
    names = {name for p in resolution.packages for name in (p.name, f"{p.name}:{p.architecture}")}
    return next((k for k in arch.kernel_packages if k in names), arch.kernel_packages[0])


def _firmwares(request: Request, uses: tuple[LoaderUse, ...]) -> tuple[tuple[str, ...], ...]:
    if not uses:
        return ((DIRECT.name,),)
    if request.firmware != "both":
        return ((request.firmware,),)
    return tuple(dict.fromkeys(use.firmwares for use in uses))


def check_arch(request: Request, facts: RootfsFacts) -> None:
    """:raises InputError: the tarball is not of the architecture that was asked for."""
    if request.arch is not None and request.arch != facts.architecture:
        raise InputError(
            f"{facts.name} is {facts.architecture}, not {request.arch}",
            "leave out --arch, or give the tarball or image of that architecture",
        )


def _payload(
    request: Request, facts: RootfsFacts, arch: Arch, packages: Iterable[Package]
) -> tuple[Literal["initramfs", "disk"], int]:
    """How the rootfs travels, and the guest's memory in MiB.

    While the kernel unpacks an initramfs, memory holds it twice.  Packages
    grow when their members are decompressed; their size on disk says by how much.
    """
    carried = facts.tar_bytes + sum(p.installed_size for p in packages)
    least = arch.qemu.memory
    in_memory = least - PAYLOAD_MEMORY + 2 * math.ceil(carried / MIB)
    if request.payload == "initramfs":
        memory = request.memory or max(least, in_memory)
        if memory < in_memory:
            raise UsageError(
                f"{memory} MiB of memory do not hold this payload in the initramfs",
                f"--memory {in_memory}, or --payload disk",
            )
        return "initramfs", memory
    memory = request.memory or least
    if request.payload == "auto" and in_memory <= memory:
        return "initramfs", memory
    return "disk", memory


def _hooks(uses: tuple[LoaderUse, ...], *, second_stage: bool, profiles: bool) -> tuple[str, ...]:
    """The guest's hooks in their order, which is that of their names."""
    common = {
        "10-modules",
        "20-partition",
        "30-format",
        "35-mount",
        "40-unpack",
        "45-chroot",
        "50-configure",
        "55-machine",
        "60-initramfs",
        "70-grow",
        "72-system",
        "75-customize",
        "80-refresh",
        "90-seal",
    }
    if second_stage:
        common.add("42-second-stage")
    if profiles:
        common.add("58-profiles")
    descriptors = loaders.all_loaders()
    return tuple(sorted(common.union(*(descriptors[use.loader].hooks for use in uses))))


def _console(arch: Arch) -> str:
    return f"console={arch.console}" + (f",{arch.baud}" if arch.baud else "")


def kernel_arguments(arch: Arch, init: Init) -> tuple[str, ...]:
    """What the image's kernel is told beside its root: the consoles, names of network cards."""
    screen = (f"console={arch.screen}",) if arch.screen else ()
    # Without systemd's and networkd's matching, the first card must keep its kernel name.
    names = () if init == "systemd" else ("net.ifnames=0",)
    return (*screen, _console(arch), *names)


def _warnings(
    facts: RootfsFacts, packages: Iterable[Package], init: Init, *, unsigned: bool
) -> tuple[str, ...]:
    there = {*facts.packages, *(p.name for p in packages)}
    found = []
    if unsigned:
        found.append(
            "--allow-unsigned: packages are taken whoever made them; "
            "the image is as trustworthy as the network on the way to the mirror"
        )
    if "fdisk" not in there:
        found.append("the root will not grow with the disk: the package fdisk is not installed")
    if init == "systemd" and "systemd-resolved" not in there:
        found.append(NO_NAME_SERVER)
    return tuple(found)


def _settings(
    plan: Plan, request: Request, arch: Arch, facts: RootfsFacts, profiles: tuple[Profile, ...]
) -> dict[str, str]:
    """What the hooks read, as their headers declare it."""
    esp = plan.disk.partition("esp")
    prep = plan.disk.partition("prep")
    return {
        "HOOKS": " ".join(plan.hooks),
        "DISK_SERIAL": "selfinstall-disk",
        "PAYLOAD_SERIAL": "selfinstall-rootfs",
        "PACKAGES_SERIAL": "selfinstall-debs",
        "PAYLOAD": plan.payload,
        "ROOTFS_BYTES": str(facts.tar_bytes),
        "ACLS": "text" if facts.acl_texts else "attributes",
        "PACKAGES_TOTAL": str(len(plan.packages)),
        "UNCONFIGURED": str(plan.unconfigured),
        "DPKG_VERSION": facts.packages.get("dpkg", ""),
        "LABEL_TAIL_SECTOR": str(plan.disk.size // SECTOR - LABEL_TAIL_SECTORS),
        "ROOT_PARTITION": str(plan.disk.root.number),
        "ROOT_BLOCKS": str(plan.root_bytes // ROOT_BLOCK),
        "ROOT_UUID": plan.root_uuid,
        "ROOT_HASH_SEED": plan.root_hash_seed,
        "ESP_PARTITION": str(esp.number) if esp else "",
        "ESP_UUID": plan.esp_id,
        "ESP_MOUNT": "/boot/efi",
        "HOST_NAME": plan.hostname,
        "CONSOLE": arch.console,
        "BAUD": str(arch.baud or ""),
        "INIT": plan.init,
        "BOOT_WRITES": " ".join(f"{path}={word}" for path, word in arch.boot_writes),
        "USER_NAME": profiling.user(profiles, request),
        "PROFILES": " ".join(p.name for p in profiles if p.acts),
        "SOURCE_DATE_EPOCH": str(request.source_date_epoch or ""),
        "CUSTOMIZE_HOOKS": " ".join(plan.customize_hooks),
        "CUSTOMIZE_NETWORK": "yes" if plan.network else "",
        "INITRAMFS_MODULES": INITRAMFS_MODULES,
        "PREP_PARTITION": str(prep.number) if prep else "",
        "KERNEL_ARGS": " ".join(plan.image_args),
        "FOREIGN_ARCHITECTURES": " ".join(foreign(plan.resolution, arch)),
        "INITRAMFS_PROGRAMS": " ".join(GENERATORS.values()),
        "TARBALL_INITRDS": " ".join(k.version for k in facts.kernels if k.initrd),
        "MENU_HOOKS": " ".join(hook for hook in plan.hooks if hook.startswith(MENU)),
        # Of all: another loader's packages may be there too, and would make a menu of their own.
        "MENU_PROGRAMS": _joined(d.menu_programs for d in loaders.all_loaders().values()),
        "MENU_INPUTS": _joined(loaders.all_loaders()[u.loader].menu_inputs for u in plan.loaders),
        # Of images that are adapted (selfinstall.adapt.planning).
        "ADAPT": "",
        "MOUNTS": "",
        "BARE_KERNELS": "",
        **_targets(plan.loaders),
    }


def _joined(rows: Iterable[tuple[str, ...]]) -> str:
    """All words of all rows once."""
    return " ".join(dict.fromkeys(itertools.chain.from_iterable(rows)))


def _targets(uses: tuple[LoaderUse, ...]) -> dict[str, str]:
    """The platforms of each loader, in the setting that its hook reads."""
    found: dict[str, str] = {}
    for use in uses:
        setting = loaders.all_loaders()[use.loader].target_setting
        if setting is not None:
            found[setting] = f"{found.get(setting, '')} {use.target}".strip()
    return found


def _describe(plan: Plan) -> str:
    def size(number: int) -> str:
        return f"{number / MIB:,.0f} MiB"

    rows: list[tuple[str, str]] = [
        (
            "suite" if plan.from_suite else "from" if plan.from_image else "tarball",
            f"{plan.tarball} ({plan.system}, {plan.arch})",
        ),
        ("image", f"{plan.output} ({plan.format}, {size(plan.disk.size)})"),
        ("host name", plan.hostname or "none"),
        *(("profile", f"{used.name} ({used.source})") for used in plan.profiles),
        ("kernel", plan.kernel),
        *(
            (f"partition {p.number}", f"{p.role}, {size(p.size)} at {size(p.start)}, {p.uuid}")
            for p in plan.disk.partitions
        ),
        ("root", f"ext4, UUID {plan.root_uuid}"),
        *(
            ("boot loader", use.loader + (f" ({use.target})" if use.target else ""))
            for use in plan.loaders
        ),
        ("payload", f"in the {plan.payload}" if plan.payload == "initramfs" else "second disk"),
        ("guest", f"{plan.memory_mib} MiB, {plan.smp} CPU{'s' if plan.smp > 1 else ''}"),
        ("hooks", " ".join(plan.hooks)),
        *(("customize", str(path)) for path in plan.customize_files),
        *((("network", "for the customize hooks"),) if plan.network else ()),
        ("kernel args", " ".join(plan.image_args)),
        *((("to finish", f"{plan.unconfigured} packages"),) if plan.unconfigured else ()),
        *((("base", f"{len(plan.base)} packages to install first"),) if plan.base else ()),
        *(("", f"{p.name} {p.version} ({p.architecture})") for p in plan.base),
        ("packages", f"{len(plan.resolution.packages)} to install"),
        *(("", f"{p.name} {p.version} ({p.architecture})") for p in plan.resolution.packages),
        ("verify", ", ".join(map(" or ".join, plan.firmwares)) if plan.verify else "no"),
        ("seed", plan.seed),
        *(("warning", text) for text in plan.warnings),
    ]
    return "".join(f"{key + ':' if key else '':14}{value}\n" for key, value in rows)


def arch_of(facts: RootfsFacts) -> Arch:
    """The data of the tarball's architecture; :class:`InputError` when there is none yet."""
    try:
        return arches.get(facts.architecture)
    except UsageError as error:
        raise InputError(f"{facts.name}: {error.message}", error.hint) from None
