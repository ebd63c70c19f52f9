"""s390x: the virtio flavour of the mainframe, zipl."""

from selfinstall.arch import Arch, Calls, Elf, Firmware, LoaderUse, Qemu

ARCH = Arch(
    name="s390x",
    multiarch="s390x-linux-gnu",
    elf=Elf(machine="EM_S390", bits=64, little_endian=False),
    calls=Calls(fsync=118, fdatasync=148, prctl=172),
    qemu=Qemu(
        program="qemu-system-s390x",
        # In a package of its own from trixie on.
        packages=("qemu-system-s390x", "qemu-system-misc"),
        machine="s390-ccw-virtio",
        cpu_tcg="max",
        cpu_kvm="host",
        kvm_hosts=("s390x",),
        transport="ccw",
        # Under qemu 7.2 Linux 7.2.13 (sid) oopses when ext4 uses per-CPU data; 10.0.2 runs it, and
        # both run 6.12 (trixie).  Versions between these were not tried.
        for_kernels=(((7, 0), (10, 0)),),
        libvirt="s390x",
        acpi="never",
    ),
    root_type="5EEAD9A9-FE09-4A1E-A1D7-520D00531306",
    console="ttysclp0",
    baud=None,
    screen=None,
    kernel_packages=("linux-image-s390x",),
    # To restart, Linux has the disk loaded with memory left as it is (diagnose 308, subcode
    # 4).  KVM does that; without KVM qemu has only the load that clears memory (subcode 3;
    # target/s390x/diag.c of 7.2, 10.0 and newer), and the machine stopped in place of restarting.
    boot_writes=(("/sys/firmware/reipl/ccw/clear", "1"),),
    firmwares=(Firmware(name="ccw", title="s390-ccw"),),
    loaders=(LoaderUse(loader="zipl", firmwares=("ccw",)),),
)
