"""What the guest runs and reads: its hooks and their settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from selfinstall import loader as loaders
from selfinstall import profiles as profiling
from selfinstall.arch import Arch, LoaderUse
from selfinstall.layout import SECTOR
from selfinstall.plan.kernel import foreign
from selfinstall.plan.lacking import GENERATORS
from selfinstall.plan.model import Plan
from selfinstall.plan.seccomp import without_fsync_setting
from selfinstall.profiles import Profile
from selfinstall.request import Request, Unpack
from selfinstall.rootfs.facts import RootfsFacts

#: GPT keeps its backup in the last 33 sectors (UEFI 2.10, 5.3.1); a MiB keeps the end aligned.
LABEL_TAIL_SECTORS = 33
#: Block size of the root file system, bytes.
ROOT_BLOCK = 4096
#: How the names of the hooks begin that make the boot menu, last of all loaders' hooks.
MENU = "68-"
#: The hook that waits for the root that the host makes.
ROOT_HOOK = "34-root"
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


def guest_hooks(
    uses: tuple[LoaderUse, ...], *, second_stage: bool, profiles: bool, unpack: Unpack
) -> tuple[str, ...]:
    """The guest's hooks in their order, which is that of their names.

    :param unpack: who makes the root and unpacks the rootfs.
    """
    common = {
        "10-modules",
        "20-partition",
        "35-mount",
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
    common |= {"30-format", "40-unpack"} if unpack == "guest" else {ROOT_HOOK}
    if second_stage:
        common.add("42-second-stage")
    if profiles:
        common.add("58-profiles")
    descriptors = loaders.all_loaders()
    return tuple(sorted(common.union(*(descriptors[use.loader].hooks for use in uses))))


def guest_settings(
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
        "WITHOUT_FSYNC": without_fsync_setting(arch),
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
