"""mips64el: the Malta board, whose firmware boots no disk: the kernel lies beside the image."""

from selfinstall.arch import Arch, Calls, Elf, Qemu

ARCH = Arch(
    name="mips64el",
    multiarch="mips64el-linux-gnuabi64",
    elf=Elf(machine="EM_MIPS", bits=64, little_endian=True),
    calls=Calls(fsync=5072, fdatasync=5073, prctl=5153),
    qemu=Qemu(
        program="qemu-system-mips64el",
        packages=("qemu-system-mips",),
        machine="malta",
        cpu_tcg="5KEc",
        cpu_kvm="host",
        kvm_hosts=("mips64",),
        transport="pci",
        libvirt="mips64el",
        acpi="never",
    ),
    root_type="700BDA43-7A34-4507-B179-EEB93D7A7CA3",
    console="ttyS0",
    baud=115200,
    screen=None,
    kernel_packages=("linux-image-5kc-malta",),
    firmwares=(),
    loaders=(),
)
