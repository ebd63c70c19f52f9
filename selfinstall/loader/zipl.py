"""zipl: writes where kernel and initramfs lie into the disk's first sector, for s390-ccw."""

from selfinstall.loader import Loader

LOADER = Loader(
    name="zipl",
    family="zipl",
    partitions=(),
    packages=("s390-tools",),
    hooks=("65-zipl", "68-zipl-map"),
    menu_inputs=("etc/zipl.conf",),
    # qemu, pc-bios/s390-ccw/bootmap.h: ZIPL_MAGIC
    magic=b"zIPL",
)
