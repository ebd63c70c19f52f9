"""GRUB under UEFI, at the removable path, because NVRAM does not travel with an image."""

from selfinstall.layout import ESP, Partition
from selfinstall.loader import Loader

LOADER = Loader(
    name="grub-efi",
    family="grub",
    # FAT32 needs 65525 clusters of at least one sector; 128 MiB leaves room
    # for a fallback loader and firmware capsules beside GRUB's 1 to 4 MiB.
    partitions=(Partition(role="esp", type=ESP, size=128 << 20),),
    packages=("grub2-common",),
    hooks=("32-esp", "65-grub-efi", "68-grub-config"),
    menu_programs=("update-grub",),
    menu_inputs=("etc/default", "etc/grub.d"),
    target_setting="GRUB_EFI_TARGETS",
)
