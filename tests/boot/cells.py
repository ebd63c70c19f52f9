"""The matrix: every system that is built and booted, as data."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One image and the firmwares under which it must boot.

    :param loader: ``--bootloader``.
    :param firmwares: as ``--firmware`` names them.
    :param ci: built and booted in each run of CI, not only in the whole matrix.
    :param source: what it is built from: ``suite``, nothing but ``--suite``; or
        ``first-stage``, a tarball of ``debootstrap --foreign``.
    """

    suite: str
    arch: str
    loader: str
    firmwares: tuple[str, ...]
    ci: bool = False
    source: str = "suite"

    def __str__(self) -> str:
        name = f"{self.suite}-{self.arch}-{self.loader}"
        return name if self.source == "suite" else f"{name}-{self.source}"


#: ``uname -m`` of a guest.
MACHINES = {
    "amd64": ("x86_64",),
    "arm64": ("aarch64",),
    "armel": ("armv7l",),
    "armhf": ("armv7l",),
    # 64 bits with linux-image-amd64, which is the only kernel from trixie on
    "i386": ("i686", "x86_64"),
    "loong64": ("loongarch64",),
    "mips64el": ("mips64",),
    "mipsel": ("mips",),
    "ppc64el": ("ppc64le",),
    "riscv64": ("riscv64",),
    "s390x": ("s390x",),
}

_PC = ("bios", "efi")
_PC32 = ("bios", "efi32")
_PC32_64 = ("bios", "efi32", "efi")

CELLS = (
    *(Cell(suite, "amd64", "grub", _PC) for suite in ("bookworm", "trixie", "forky", "sid")),
    Cell("bookworm", "i386", "grub", _PC32, ci=True),
    *(Cell(suite, "i386", "grub", _PC32_64) for suite in ("trixie", "forky", "sid")),
    *(Cell(suite, "arm64", "grub", ("efi", "u-boot")) for suite in ("bookworm", "trixie", "sid")),
    Cell("trixie", "arm64", "extlinux", ("u-boot",)),
    *(Cell(suite, "armhf", "grub", ("efi", "u-boot")) for suite in ("bookworm", "trixie", "sid")),
    Cell("bookworm", "armhf", "extlinux", ("u-boot",)),
    *(Cell(suite, "armel", "grub", ("efi", "u-boot")) for suite in ("bookworm", "trixie")),
    *(Cell(suite, "ppc64el", "grub", ("slof",)) for suite in ("bookworm", "trixie", "sid")),
    Cell("bookworm", "s390x", "zipl", ("ccw",), ci=True),
    *(Cell(suite, "s390x", "zipl", ("ccw",)) for suite in ("trixie", "sid")),
    *(Cell(suite, "riscv64", "grub", ("efi", "u-boot")) for suite in ("trixie", "forky", "sid")),
    Cell("sid", "riscv64", "extlinux", ("u-boot",)),
    *(Cell(suite, "loong64", "grub", ("efi",)) for suite in ("forky", "sid")),
    *(Cell("bookworm", arch, "none", ("direct",)) for arch in ("mips64el", "mipsel")),
    Cell("bookworm", "arm64", "grub", ("efi",), source="first-stage"),
    Cell("bookworm", "ppc64el", "grub", ("slof",), source="first-stage"),
    Cell("sid", "riscv64", "grub", ("u-boot",), source="first-stage"),
    Cell("bookworm", "s390x", "zipl", ("ccw",), source="first-stage"),
)
