"""GRUB under a PC BIOS: code in the first sector, core image in a partition of its own."""

from selfinstall.layout import BIOS_BOOT, Partition
from selfinstall.loader import Loader

LOADER = Loader(
    name="grub-pc",
    family="grub",
    partitions=(Partition(role="bios_grub", type=BIOS_BOOT, size=1 << 20),),
    packages=("grub2-common",),
    hooks=("65-grub-pc", "68-grub-config"),
    menu_programs=("update-grub",),
    menu_inputs=("etc/default", "etc/grub.d"),
    target_setting="GRUB_PC_TARGETS",
    # The jump in boot.img (grub-core/boot/i386/pc/boot.S); the core is in the gap behind it.
    dos_magic=b"\xebc\x90",
)
