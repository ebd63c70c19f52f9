"""arm64: qemu's virt board with AAVMF, GRUB; or U-Boot, by its own menu or through GRUB."""

from selfinstall.arch import Arch, Calls, Elf, Firmware, FirmwareFiles, LoaderUse, Qemu

ARCH = Arch(
    name="arm64",
    multiarch="aarch64-linux-gnu",
    elf=Elf(machine="EM_AARCH64", bits=64, little_endian=True),
    calls=Calls(fsync=82, fdatasync=83, prctl=167),
    qemu=Qemu(
        program="qemu-system-aarch64",
        packages=("qemu-system-arm",),
        machine="virt",
        # Pointer authentication, which "max" has, is slow to emulate.
        cpu_tcg="cortex-a57",
        cpu_kvm="host",
        kvm_hosts=("aarch64",),
        transport="pci",
        libvirt="aarch64",
        acpi="uefi",
    ),
    root_type="B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
    console="ttyAMA0",
    baud=115200,
    screen="tty0",
    kernel_packages=("linux-image-arm64",),
    firmwares=(
        Firmware(
            name="efi",
            title="AAVMF",
            package="qemu-efi-aarch64",
            files=(
                FirmwareFiles(
                    code="/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
                    vars="/usr/share/AAVMF/AAVMF_VARS.fd",
                ),
                # before trixie
                FirmwareFiles(
                    code="/usr/share/AAVMF/AAVMF_CODE.fd", vars="/usr/share/AAVMF/AAVMF_VARS.fd"
                ),
            ),
        ),
        Firmware(
            name="u-boot",
            title="U-Boot",
            package="u-boot-qemu",
            files=(FirmwareFiles(code="/usr/lib/u-boot/qemu_arm64/u-boot.bin", attach="bios"),),
        ),
    ),
    loaders=(
        LoaderUse(
            loader="grub-efi",
            firmwares=("efi", "u-boot"),
            target="arm64-efi",
            package="grub-efi-arm64-bin",
        ),
        LoaderUse(loader="extlinux", firmwares=("u-boot",), auto=False),
    ),
)
