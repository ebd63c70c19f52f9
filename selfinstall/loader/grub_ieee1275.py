"""GRUB under Open Firmware: its core image is the whole PReP partition."""

from selfinstall.layout import PREP, Partition
from selfinstall.loader import Loader

LOADER = Loader(
    name="grub-ieee1275",
    family="grub",
    # The core image takes half a MiB; grub-install refuses partitions over 10 MiB (SLOF).
    partitions=(Partition(role="prep", type=PREP, size=8 << 20),),
    packages=("grub2-common",),
    hooks=("65-grub-ieee1275", "68-grub-config"),
    menu_programs=("update-grub",),
    menu_inputs=("etc/default", "etc/grub.d"),
    target_setting="GRUB_IEEE1275_TARGETS",
)
