"""armhf: qemu's virt board with 32-bit AAVMF, GRUB; or U-Boot."""

from selfinstall.arch import Arch, Calls, Elf, Firmware, FirmwareFiles, LoaderUse, Qemu

ARCH = Arch(
    name="armhf",
    multiarch="arm-linux-gnueabihf",
    elf=Elf(machine="EM_ARM", bits=32, little_endian=True),
    calls=Calls(fsync=118, fdatasync=148, prctl=172),
    qemu=Qemu(
        program="qemu-system-arm",
        packages=("qemu-system-arm",),
        machine="virt",
        cpu_tcg="cortex-a15",
        cpu_kvm="host",
        kvm_hosts=("armv7l", "armv8l"),
        # The board's PCI window lies above 4 GiB, out of reach of kernels without LPAE.
        transport="mmio",
        libvirt="armv7l",
        acpi="uefi",
    ),
    root_type="69DAD710-2CE4-4E3C-B16C-21A1D49ABED3",
    console="ttyAMA0",
    baud=115200,
    screen="tty0",
    kernel_packages=("linux-image-armmp-lpae", "linux-image-armmp"),
    firmwares=(
        Firmware(
            name="efi",
            title="AAVMF32",
            # Not built after trixie.
            package="qemu-efi-arm",
            files=(
                FirmwareFiles(
                    code="/usr/share/AAVMF/AAVMF32_CODE.fd",
                    vars="/usr/share/AAVMF/AAVMF32_VARS.fd",
                ),
            ),
        ),
        Firmware(
            name="u-boot",
            title="U-Boot",
            package="u-boot-qemu",
            files=(FirmwareFiles(code="/usr/lib/u-boot/qemu_arm/u-boot.bin", attach="bios"),),
        ),
    ),
    loaders=(
        LoaderUse(
            loader="grub-efi",
            firmwares=("efi", "u-boot"),
            target="arm-efi",
            package="grub-efi-arm-bin",
        ),
        LoaderUse(loader="extlinux", firmwares=("u-boot",), auto=False),
    ),
)
