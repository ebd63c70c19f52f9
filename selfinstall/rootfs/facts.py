"""What a rootfs tarball holds.  Values only; :mod:`selfinstall.rootfs.inspect` finds them."""

from __future__ import annotations

import dataclasses
from typing import Literal

Init = Literal["systemd", "sysvinit", "openrc"]
Compression = Literal["none", "gzip", "xz", "zstd", "bzip2"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """A kernel in the tarball.

    :param version: as in ``/lib/modules/VERSION``.
    :param image: its path in the rootfs, without leading slash.
    :param initrd: the path of its initrd, None when there is none.
    :param architecture: that of its package, None when dpkg knows of none.
    """

    version: str
    image: str
    initrd: str | None
    architecture: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HeldDeb:
    """A .deb that a rootfs holds for its second stage, and that is not installed yet.

    :param control: its control paragraph.
    :param sha256: of the file.
    :param size: bytes of the file.
    :param path: in the rootfs, without leading slash.
    :param offset: where in the tar stream the file begins, bytes.
    """

    control: str
    sha256: str
    size: int
    path: str
    offset: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RootfsFacts:
    """Facts about one tarball.

    :param name: the file's name as given, ``-`` for standard input.
    :param sha256: of the file as given, compressed.
    :param compression: what it was packed with.
    :param compressed_bytes: the file's size.
    :param tar_bytes: the size of the tar stream in it.
    :param content_bytes: the sum of the regular files' sizes (holes count).
    :param members: number of archive members.
    :param architecture: Debian's name, from dpkg's database, agreeing with the ELF header.
    :param distribution: ``ID`` of os-release, for example ``debian``.
    :param suite: ``VERSION_CODENAME`` of os-release, None when it has none.
    :param pretty_name: ``PRETTY_NAME`` of os-release.
    :param init: the init system at ``/sbin/init``, None when there is none.
    :param merged_usr: whether ``/bin`` is a link into ``/usr``.
    :param hostname: content of ``/etc/hostname``, None when absent or empty.
    :param kernels: the kernels, newest first.
    :param packages: packages with their versions, by name: those that are installed, and
        those that the second stage will install or configure.
    :param unconfigured: names of packages unpacked but not configured.
    :param held: .debs that wait for the second stage of debootstrap --foreign.
    :param sources: apt's source files, as (path, text).
    :param keyrings: OpenPGP keyrings that apt could use, as (path, bytes).
    :param machine_id: whether ``/etc/machine-id`` holds an id.
    :param acl_texts: whether members have access control lists as text, which ``tar --acls``
        writes; else such lists are extended attributes, if there are any.
    """

    name: str
    sha256: str
    compression: Compression
    compressed_bytes: int
    tar_bytes: int
    content_bytes: int
    members: int
    architecture: str
    distribution: str
    suite: str | None
    pretty_name: str
    init: Init | None
    merged_usr: bool
    hostname: str | None
    kernels: tuple[Kernel, ...]
    packages: dict[str, str]
    unconfigured: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    keyrings: tuple[tuple[str, bytes], ...]
    machine_id: bool
    acl_texts: bool = False
    held: tuple[HeldDeb, ...] = ()
