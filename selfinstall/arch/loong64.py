"""loong64: qemu's virt board with EDK2, GRUB."""

from selfinstall.arch import Arch, Calls, Elf, Firmware, FirmwareFiles, LoaderUse, Qemu

ARCH = Arch(
    name="loong64",
    multiarch="loongarch64-linux-gnu",
    elf=Elf(machine="EM_LOONGARCH", bits=64, little_endian=True),
    calls=Calls(fsync=82, fdatasync=83, prctl=167),
    qemu=Qemu(
        program="qemu-system-loongarch64",
        packages=("qemu-system-misc",),
        machine="virt",
        cpu_tcg="la464",
        cpu_kvm="host",
        kvm_hosts=("loongarch64",),
        transport="pci",
        libvirt="loongarch64",
        acpi="uefi",
        # Older ones lack what today's kernels and EDK2 look for; 10.0 was seen to work.
        minimum=(10, 0),
        # Without its tables the kernel dies in i8042_init.
        installer_firmware="efi",
    ),
    root_type="77055800-792C-4F94-B39A-98C91B762BB6",
    console="ttyS0",
    baud=115200,
    screen="tty0",
    kernel_packages=("linux-image-loong64",),
    firmwares=(
        Firmware(
            name="efi",
            title="EDK2",
            # From trixie on.
            package="qemu-efi-loongarch64",
            since="trixie",
            files=(
                FirmwareFiles(code="/usr/share/qemu-efi-loongarch64/QEMU_EFI.fd", attach="bios"),
            ),
        ),
    ),
    loaders=(
        LoaderUse(
            loader="grub-efi",
            firmwares=("efi",),
            target="loongarch64-efi",
            package="grub-efi-loong64-bin",
        ),
    ),
)
