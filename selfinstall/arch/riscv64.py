"""riscv64: qemu's virt board; EDK2 or U-Boot start GRUB, U-Boot also its own menu."""

from selfinstall.arch import Arch, Calls, Elf, Firmware, FirmwareFiles, LoaderUse, Qemu

ARCH = Arch(
    name="riscv64",
    multiarch="riscv64-linux-gnu",
    elf=Elf(machine="EM_RISCV", bits=64, little_endian=True),
    calls=Calls(fsync=82, fdatasync=83, prctl=167),
    qemu=Qemu(
        program="qemu-system-riscv64",
        # In a package of its own from trixie on.
        packages=("qemu-system-riscv", "qemu-system-misc"),
        machine="virt",
        cpu_tcg="rv64",
        cpu_kvm="host",
        kvm_hosts=("riscv64",),
        transport="pci",
        libvirt="riscv64",
        acpi="never",
    ),
    root_type="72EC70A6-CF74-40E6-BD49-4BDA08E8F224",
    console="ttyS0",
    baud=115200,
    screen="tty0",
    kernel_packages=("linux-image-riscv64",),
    firmwares=(
        Firmware(
            name="efi",
            title="EDK2",
            # From trixie on.
            package="qemu-efi-riscv64",
            since="trixie",
            files=(
                FirmwareFiles(
                    code="/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd",
                    vars="/usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd",
                    machine="acpi=off",
                    # Under 7.2 it prints nothing.
                    minimum=(8, 1),
                ),
            ),
        ),
        Firmware(
            name="u-boot",
            title="U-Boot",
            package="u-boot-qemu",
            files=(
                # OpenSBI, which qemu brings, starts it in supervisor mode.
                FirmwareFiles(
                    code="/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin", attach="kernel"
                ),
            ),
        ),
    ),
    loaders=(
        LoaderUse(
            loader="grub-efi",
            firmwares=("efi", "u-boot"),
            target="riscv64-efi",
            package="grub-efi-riscv64-bin",
        ),
        LoaderUse(loader="extlinux", firmwares=("u-boot",), auto=False),
    ),
)
