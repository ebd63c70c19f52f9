"""i386: PC with SeaBIOS or 32-bit OVMF; a 64-bit kernel where Debian has no other.

Debian builds no i386 kernel from trixie on.  There linux-image-amd64 runs the
32-bit system, by itself from UEFI of either width (EFI_MIXED).
"""

from selfinstall.arch import Arch, Calls, Elf, Firmware, FirmwareFiles, LoaderUse, Qemu

ARCH = Arch(
    name="i386",
    multiarch="i386-linux-gnu",
    elf=Elf(machine="EM_386", bits=32, little_endian=True),
    calls=Calls(fsync=118, fdatasync=148, prctl=172),
    qemu=Qemu(
        # The emulator of the 64-bit machine runs kernels of both kinds.
        program="qemu-system-x86_64",
        packages=("qemu-system-x86",),
        machine="q35",
        # As for amd64.
        cpu_tcg="max,la57=off,erms=off,fsrm=off,smap=off",
        cpu_kvm="host",
        kvm_hosts=("x86_64", "i686"),
        transport="pci",
        libvirt="x86_64",
        acpi="always",
        frugal="sata=off,smbus=off,i8042=off",
        frugal_cpu="svm=off,aes=off,vaes=off,pclmulqdq=off",
        credentials=True,
    ),
    root_type="44479540-F297-41B2-9AF7-D131D5F0458A",
    console="ttyS0",
    second_serial="ttyS1",
    baud=115200,
    screen="tty0",
    grub_terminal="console serial",
    grub_serial="serial --unit=0 --speed=115200",
    kernel_packages=("linux-image-686-pae", "linux-image-amd64:amd64"),
    installer_args=("no_timer_check",),
    firmwares=(
        Firmware(name="bios", title="SeaBIOS"),
        Firmware(
            name="efi32",
            title="OVMF32",
            package="ovmf-ia32",
            files=(
                # The only build for 32 bits; without Secure Boot's keys it starts anything.
                FirmwareFiles(
                    code="/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd",
                    vars="/usr/share/OVMF/OVMF32_VARS_4M.fd",
                ),
            ),
        ),
        Firmware(
            name="efi",
            title="OVMF",
            package="ovmf",
            files=(
                FirmwareFiles(
                    code="/usr/share/OVMF/OVMF_CODE_4M.fd", vars="/usr/share/OVMF/OVMF_VARS_4M.fd"
                ),
            ),
        ),
    ),
    loaders=(
        LoaderUse(loader="grub-pc", firmwares=("bios",), target="i386-pc", package="grub-pc-bin"),
        LoaderUse(
            loader="grub-efi", firmwares=("efi32",), target="i386-efi", package="grub-efi-ia32-bin"
        ),
        LoaderUse(
            loader="grub-efi",
            firmwares=("efi",),
            target="x86_64-efi",
            package="grub-efi-amd64-bin",
            # UEFI of 64 bits cannot start a kernel of 32.
            kernel_architecture="amd64",
        ),
    ),
)
