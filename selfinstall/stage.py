"""The second stage: packages of a system that is only extracted, which the guest installs first.

Its base (what dpkg itself and maintainer scripts need) is installed by force,
as debootstrap and mmdebstrap do; all else in the order that apt gives for a
system that has this base.  Pure but for :func:`cut_out`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from selfinstall.packages import control
from selfinstall.packages.resolution import Package
from selfinstall.rootfs.dpkg import as_configured
from selfinstall.rootfs.facts import HeldDeb


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SecondStage:
    """What is to be installed before and beside what is lacking.

    :param status: the dpkg database that apt starts from: as it is when the base is
        installed and everything is configured.
    :param base: packages to install by force, in that order.
    :param rest: further packages that the tarball holds, for apt to order.
    :param wanted: what apt is asked for besides what is lacking.
    """

    status: bytes
    base: tuple[Package, ...] = ()
    rest: tuple[HeldDeb, ...] = ()
    wanted: tuple[str, ...] = ()


def of_tarball(status: bytes, held: Iterable[HeldDeb]) -> SecondStage:
    """The second stage of a tarball with this dpkg *status* and these packages."""
    by_name = {(c := control.parse(deb.control)).name: (c, deb) for deb in held}
    base = control.base(c for c, _ in by_name.values())
    names = {c.name for c in base}
    rest = {name: pair for name, pair in by_name.items() if name not in names}
    return SecondStage(
        status=as_configured(status) + b"\n" + control.installed(base),
        base=tuple(_package(c, by_name[c.name][1]) for c in base),
        rest=tuple(deb for _, deb in rest.values()),
        wanted=tuple(f"{name}={c.version}" for name, (c, _) in rest.items()),
    )


def of_packages(held: Iterable[HeldDeb], wanted: tuple[str, ...]) -> SecondStage:
    """The second stage of a suite, of which *held* are the base and *wanted* the variant's rest."""
    by_name = {(c := control.parse(deb.control)).name: (c, deb) for deb in held}
    base = control.base(c for c, _ in by_name.values())
    left = {c.name for c, _ in by_name.values()} - {c.name for c in base}
    base += tuple(by_name[name][0] for name in sorted(left))
    return SecondStage(
        status=control.installed(base),
        base=tuple(_package(c, by_name[c.name][1], automatic=not c.essential) for c in base),
        wanted=wanted,
    )


def _package(found: control.Control, deb: HeldDeb, *, automatic: bool = False) -> Package:
    return control.package(found, sha256=deb.sha256, size=deb.size, automatic=automatic)


def cut_out(held: Iterable[HeldDeb], spool: Path, folder: Path) -> dict[str, Path]:
    """Copy packages out of the decompressed tarball *spool* into *folder*; where, by SHA-256."""
    found: dict[str, Path] = {}
    with spool.open("rb") as stream:
        for deb in held:
            path = folder / f"{deb.sha256}.deb"
            stream.seek(deb.offset)
            left = deb.size
            with path.open("wb") as out:
                while left and (piece := stream.read(min(left, 1 << 20))):
                    out.write(piece)
                    left -= len(piece)
            found[deb.sha256] = path
    return found
