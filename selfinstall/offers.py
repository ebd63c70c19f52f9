"""What the host's apt could install, and so what to tell those whose host lacks something."""

from __future__ import annotations

import dataclasses
import platform
import re
import subprocess

from selfinstall.host import find_program

#: apt takes packages of such a suite, and what they depend on, only when told to.
_RELUCTANT = "-backports"
#: In every suite of Debian; where apt does not know it, it has no lists and knows nothing.
_ALWAYS = "dpkg"
_UPSTREAM = re.compile(r"(?:\d+:)?(\d+)\.(\d+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """A version of a package in a suite; both empty where apt has no lists."""

    package: str
    version: str = ""
    suite: str = ""

    @property
    def reluctant(self) -> bool:
        """Whether apt must be told to look there."""
        return self.suite.endswith(_RELUCTANT)

    @property
    def command(self) -> str:
        """What installs it."""
        where = f"-t {self.suite} " if self.reluctant else ""
        return f"sudo apt install {where}{self.package}"


def best(packages: tuple[str, ...], minimum: tuple[int, int] | None = None) -> Offer | None:
    """Where to get one of *packages* from; names of packages change with releases.

    :param minimum: of its version, None for any.
    :returns: the first that apt would take by itself, else from backports, else None.
    """
    offers = _madison(packages) if packages else ()
    if offers is None:
        return Offer(packages[0]) if packages else None
    # Stable: of equals the first package, and of that the version that madison tells first.
    ranked = sorted(offers, key=lambda offer: (offer.reluctant, packages.index(offer.package)))
    return next((offer for offer in ranked if _new_enough(offer.version, minimum)), None)


def hint(
    packages: tuple[str, ...], minimum: tuple[int, int] | None = None, since: str | None = None
) -> str:
    """One line that says how to get one of *packages*; as :func:`best`.

    :param since: the first release of Debian that has it, None for every release.
    """
    offer = best(packages, minimum)
    if offer is not None:
        return offer.command
    version = "" if minimum is None else f" {minimum[0]}.{minimum[1]} or newer"
    unknown = f"apt here knows no {packages[0]}{version}"
    if since is not None:
        return f"{unknown}: Debian has it from {since} on; install the .deb of {since}"
    if minimum is None:
        return f"{unknown}: are the distribution's main sources among apt's?"
    backports = _backports()
    if backports is None:
        return f"{unknown}: install it from a newer release"
    return (
        f"{unknown}: add {backports} to apt's sources, then "
        f"{Offer(packages[0], suite=backports).command}"
    )


def _backports() -> str | None:
    """The suite of backports for this host; None where it is no release of Debian."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return None
    name = release.get("VERSION_CODENAME")
    return f"{name}{_RELUCTANT}" if name and release.get("ID") == "debian" else None


def _madison(packages: tuple[str, ...]) -> tuple[Offer, ...] | None:
    """Every version that apt knows of; None when it has no lists."""
    apt = find_program("apt-cache")
    if apt is None:
        return None
    done = subprocess.run(
        [apt, "madison", _ALWAYS, *packages],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    # "PACKAGE | VERSION | URI SUITE/COMPONENT ARCHITECTURE Packages"
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()]
    found = [
        Offer(row[0], row[1], row[2].split()[1].partition("/")[0])
        for row in rows
        if len(row) == 3 and row[2].endswith(" Packages")
    ]
    if not found:
        return None
    return tuple(offer for offer in found if offer.package in packages)


def _new_enough(version: str, minimum: tuple[int, int] | None) -> bool:
    match = _UPSTREAM.match(version)
    return minimum is None or (match is not None and (int(match[1]), int(match[2])) >= minimum)
