"""amd64: PC with SeaBIOS or OVMF, GRUB for both in one image."""

from selfinstall.arch import Arch, Calls, Elf, Firmware, FirmwareFiles, LoaderUse, Qemu

ARCH = Arch(
    name="amd64",
    multiarch="x86_64-linux-gnu",
    elf=Elf(machine="EM_X86_64", bits=64, little_endian=True),
    calls=Calls(fsync=74, fdatasync=75, prctl=157),
    qemu=Qemu(
        program="qemu-system-x86_64",
        packages=("qemu-system-x86",),
        machine="q35",
        # What is fast in silicon and slow in TCG (bench/micro): string instructions (erms,
        # fsrm), which kernel and libc copy with when the CPU calls them fast, and which TCG
        # runs byte by byte.  Page tables of five levels and SMAP cost a little each.
        cpu_tcg="max,la57=off,erms=off,fsrm=off,smap=off",
        cpu_kvm="host",
        kvm_hosts=("x86_64",),
        transport="pci",
        libvirt="x86_64",
        acpi="always",
        # For each device the initramfs and the system look for a module, and load it: libata and
        # the SCSI layer for a controller without disks, psmouse.  The disk is a virtio one.
        frugal="sata=off,smbus=off,i8042=off",
        # KVM, and ciphers that test themselves against each other, some forty modprobes.
        frugal_cpu="svm=off,aes=off,vaes=off,pclmulqdq=off",
        cpus=2,
        credentials=True,
    ),
    root_type="4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    console="ttyS0",
    second_serial="ttyS1",
    baud=115200,
    screen="tty0",
    grub_terminal="console serial",
    grub_serial="serial --unit=0 --speed=115200",
    kernel_packages=("linux-image-amd64",),
    # On a loaded emulating host the timer check misses its ticks and panics:
    # "IO-APIC + timer doesn't work!"
    installer_args=("no_timer_check",),
    firmwares=(
        Firmware(name="bios", title="SeaBIOS"),
        Firmware(
            name="efi",
            title="OVMF",
            package="ovmf",
            files=(
                FirmwareFiles(
                    code="/usr/share/OVMF/OVMF_CODE_4M.fd", vars="/usr/share/OVMF/OVMF_VARS_4M.fd"
                ),
                # ovmf before bookworm
                FirmwareFiles(
                    code="/usr/share/OVMF/OVMF_CODE.fd", vars="/usr/share/OVMF/OVMF_VARS.fd"
                ),
            ),
        ),
    ),
    loaders=(
        LoaderUse(loader="grub-pc", firmwares=("bios",), target="i386-pc", package="grub-pc-bin"),
        LoaderUse(
            loader="grub-efi",
            firmwares=("efi",),
            target="x86_64-efi",
            package="grub-efi-amd64-bin",
        ),
    ),
)
