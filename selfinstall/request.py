"""What the user asked for, before anything was looked at."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

Format = Literal["raw", "qcow2", "vmdk", "vhdx", "vdi"]
PayloadMode = Literal["auto", "initramfs", "disk"]
Accel = Literal["auto", "kvm", "tcg"]
Variant = Literal["minbase", "important", "standard"]
Unpack = Literal["host", "guest"]
#: How a boot is told to others: a line for a shell, or a libvirt domain.
Style = Literal["qemu", "libvirt"]

FORMATS: tuple[Format, ...] = ("raw", "qcow2", "vmdk", "vhdx", "vdi")
#: File name suffix of each format; raw disks are ``.img`` to the tools of the field.
SUFFIXES: dict[Format, str] = {
    "raw": ".img",
    "qcow2": ".qcow2",
    "vmdk": ".vmdk",
    "vhdx": ".vhdx",
    "vdi": ".vdi",
}
STDIN = Path("-")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One build, as asked for.  Holds no secrets, only the paths of files that do.

    :param tarball: the rootfs tarball, or :data:`STDIN`; None with *suite* or *from_image*.
    :param suite: the Debian suite to make the rootfs of; None with *tarball* or *from_image*.
    :param from_image: an image to adapt, which is only read; None with *tarball* or *suite*.
    :param variant: which of the suite's packages to install.
    :param output: the image to make; None for the tarball's name (or suite and
        architecture) with the format's suffix.
    :param arch: the Debian architecture that the tarball must have, None for any; or that
        of the suite's packages, None for the host's.
    :param format: the image's format.
    :param size: the virtual disk's size in bytes; None for the default.
    :param bootloader: ``auto``, a boot loader family of the architecture, or ``none``.
    :param firmware: ``both`` for all that the chosen boot loaders are for, or the one
        under which the image must boot.
    :param payload: how the rootfs reaches the guest.
    :param unpack: who unpacks packages where both can: ``host``, or ``guest`` to compare
        (slower; the same image).
    :param packages: a directory of .deb files that replaces the network.
    :param include: further packages to install.
    :param kernel: the kernel package; None for the architecture's default.
    :param mirror: an apt URI that replaces those of the tarball's sources.
    :param sources: a sources.list or .sources file that replaces the tarball's.
    :param keyring: an OpenPGP keyring that replaces the tarball's.
    :param profiles: what the image is made ready for: names of profiles, or paths of one's
        own, which have a slash.
    :param apt_proxy: the proxy of all downloads, or ``DIRECT`` for none; None for the one of
        the host's apt.
    :param image_apt_proxy: the proxy of the image's own apt: a URI, or ``host`` for that of the
        downloads.  One on the host's loopback is named as guests see it.  None for none.
    :param allow_unsigned: take packages from sources without a good signature too.
    :param hostname: the image's host name; None keeps the tarball's or ``debian``.
    :param root_password_file: holds root's password in its first line.
    :param ssh_key: holds public keys for root (and *user*).
    :param user: an ordinary user to make.
    :param user_password_file: holds that user's password in its first line.
    :param customize_hooks: scripts run in the image's root, natively, in order.
    :param customize_environment: names and values of further variables in their environment.
    :param customize_network: whether they reach the network (as user-mode qemu gives it).
    :param memory: the guest's memory in MiB; None to let the plan decide.
    :param smp: the guest's CPUs; None to let the plan decide.
    :param accel: the accelerator.
    :param qemu: a system emulator that replaces the architecture's.
    :param verify: boot the finished image before it gets its name.
    :param stall: seconds without a sign of life before the guest counts as hung;
        None for a limit that fits the accelerator.
    :param seed: what UUIDs and ids are derived from; None for the tarball's and
        the packages' hashes.
    :param source_date_epoch: the time (seconds since 1970) that the guest believes it
        to be; None for now.
    :param manifest: where to write the JSON manifest; None for nowhere.
    :param log: where to keep the guest's console; None for beside nothing, kept on failure.
    :param cache: the cache's folder; None for ``$XDG_CACHE_HOME/selfinstall``.
    :param use_cache: whether what other builds left there may be used, and anything be left.
    :param invocation: a line for a shell that asks for the same, for the log's head; None when
        there is none.
    :param cache_limit: bytes on disk that the cache may hold when the build ends; None for
        20 GiB, 0 for nothing.
    """

    tarball: Path | None = None
    suite: str | None = None
    from_image: Path | None = None
    variant: Variant = "minbase"
    output: Path | None = None
    arch: str | None = None
    format: Format = "raw"
    size: int | None = None
    bootloader: str = "auto"
    firmware: str = "both"
    payload: PayloadMode = "auto"
    unpack: Unpack = "host"
    packages: Path | None = None
    include: tuple[str, ...] = ()
    kernel: str | None = None
    mirror: str | None = None
    sources: Path | None = None
    keyring: Path | None = None
    profiles: tuple[str, ...] = ()
    apt_proxy: str | None = None
    image_apt_proxy: str | None = None
    allow_unsigned: bool = False
    hostname: str | None = None
    root_password_file: Path | None = None
    ssh_key: Path | None = None
    user: str | None = None
    user_password_file: Path | None = None
    customize_hooks: tuple[Path, ...] = ()
    customize_environment: tuple[tuple[str, str], ...] = ()
    customize_network: bool = False
    memory: int | None = None
    smp: int | None = None
    accel: Accel = "auto"
    qemu: Path | None = None
    verify: bool = True
    stall: float | None = None
    seed: str | None = None
    source_date_epoch: int | None = None
    manifest: Path | None = None
    log: Path | None = None
    cache: Path | None = None
    use_cache: bool = True
    cache_limit: int | None = None
    invocation: str | None = None
