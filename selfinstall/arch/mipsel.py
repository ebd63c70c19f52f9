"""mipsel: the Malta board, whose firmware boots no disk: the kernel lies beside the image."""

from selfinstall.arch import Arch, Calls, Elf, Qemu

ARCH = Arch(
    name="mipsel",
    multiarch="mipsel-linux-gnu",
    elf=Elf(machine="EM_MIPS", bits=32, little_endian=True),
    calls=Calls(fsync=4118, fdatasync=4152, prctl=4192),
    qemu=Qemu(
        program="qemu-system-mipsel",
        packages=("qemu-system-mips",),
        machine="malta",
        cpu_tcg="24Kf",
        cpu_kvm="host",
        kvm_hosts=("mips64",),
        transport="pci",
        libvirt="mipsel",
        acpi="never",
    ),
    root_type="37C58C8A-D913-4156-A25F-48B1B64E07F0",
    console="ttyS0",
    baud=115200,
    screen=None,
    kernel_packages=("linux-image-4kc-malta",),
    firmwares=(),
    loaders=(),
)
