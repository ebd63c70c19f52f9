"""ppc64el: pSeries with SLOF, GRUB in a PReP partition."""

from selfinstall.arch import Arch, Calls, Elf, Firmware, LoaderUse, Qemu

ARCH = Arch(
    name="ppc64el",
    multiarch="powerpc64le-linux-gnu",
    elf=Elf(machine="EM_PPC64", bits=64, little_endian=True),
    calls=Calls(fsync=118, fdatasync=148, prctl=171),
    qemu=Qemu(
        program="qemu-system-ppc64",
        packages=("qemu-system-ppc",),
        # TCG has none of these mitigations of speculation and says so unless told not to.
        machine="pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken",
        cpu_tcg="power9",
        cpu_kvm="host",
        kvm_hosts=("ppc64le", "ppc64"),
        transport="pci",
        libvirt="ppc64le",
        acpi="never",
        # qemu's own few calls of Open Firmware, in place of SLOF, which looks at each device
        # before it starts the kernel that is there already: 6 s emulated.
        direct="x-vof=on",
        # Pages of 64 KiB: each small file in memory takes one.
        memory=1024,
    ),
    root_type="C31C45E6-3F39-412E-80FB-4809C4980599",
    console="hvc0",
    baud=None,
    screen="tty0",
    kernel_packages=("linux-image-powerpc64le",),
    firmwares=(Firmware(name="slof", title="SLOF"),),
    loaders=(
        LoaderUse(
            loader="grub-ieee1275",
            firmwares=("slof",),
            target="powerpc-ieee1275",
            package="grub-ieee1275-bin",
        ),
    ),
)
