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


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A call of dpkg: unpack .debs (:attr:`Package.filename`) or configure ``NAME:ARCH`` …"""

    action: Literal["unpack", "configure"]
    packages: tuple[str, ...]


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
