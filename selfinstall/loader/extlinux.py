"""extlinux.conf: the menu that U-Boot itself reads from the root file system."""

from selfinstall.loader import Loader

LOADER = Loader(
    name="extlinux",
    family="extlinux",
    partitions=(),
    packages=("u-boot-menu",),
    hooks=("65-extlinux", "68-extlinux-menu"),
    menu_programs=("u-boot-update",),
    menu_inputs=("etc/default", "etc/u-boot-menu"),
    # U-Boot looks at bootable partitions; without any, at the first only (doc/develop/distro.rst).
    root_attributes="LegacyBIOSBootable",
)
