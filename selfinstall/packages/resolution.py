"""What apt decided, as values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One package to install.

    :param name: without architecture.
    :param version: Debian version.
    :param architecture: ``amd64``, ``all`` …
    :param filename: its .deb's name in the cache, ``NAME_VERSION_ARCH.deb``, no colon.
    :param sha256: of the .deb as downloaded.
    :param size: bytes of the .deb as downloaded.
    :param installed_size: bytes on disk by its control file's estimate.
    :param automatic: whether it came only as a dependency.
    """

    name: str
    version: str
    architecture: str
    filename: str
    sha256: str
    size: int
    installed_size: int
    automatic: bool


def deb_filename(name: str, version: str, architecture: str) -> str:
    """``NAME_VERSION_ARCH.deb`` as apt escapes it; an epoch's colon is special to many programs."""
    return f"{name}_{version}_{architecture}.deb".replace(":", "%3a")


def installed_bytes(field: str) -> int:
    """``Installed-Size`` in bytes: it counts in KiB (Debian policy 5.6.20); 0 when it is none."""
    return int(field) * 1024 if field.isdecimal() and len(field) < 16 else 0


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A call of dpkg.

    :param action: ``base`` installs .debs of a system that is only extracted so far,
        whatever they depend on; ``unpack`` takes .debs too (:attr:`Package.filename`),
        ``configure`` ``NAME:ARCH`` …; ``pending`` configures whatever is unpacked.
    """

    action: Literal["base", "unpack", "configure", "pending"]
    packages: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """What to install and in which order dpkg must do it; empty when nothing is lacking."""

    packages: tuple[Package, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A package's .deb with both members decompressed (dpkg reads such as any other).

    :param package: which one.
    :param path: the repacked .deb.
    :param data_offset: where in it the uncompressed ``data.tar`` begins, bytes.
    :param data_size: that member's size, bytes.
    """

    package: Package
    path: Path
    data_offset: int
    data_size: int
