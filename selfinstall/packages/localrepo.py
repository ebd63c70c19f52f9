"""A directory of .debs as an apt repository."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from debian.deb822 import Deb822

from selfinstall.errors import InputError
from selfinstall.packages import deb
from selfinstall.packages.cache import sha256_of
from selfinstall.rootfs.facts import HeldDeb

HINT = "put the .debs of all lacking packages, for the target's architecture, into it"
#: More than all of a release's packages for one architecture.
MAXIMUM_DEBS = 200_000


def index(folder: Path, architectures: Sequence[str]) -> tuple[str, dict[str, Path]]:
    """The ``Packages`` index of *folder*, and where each .deb is, by its SHA-256.

    The index names files as ``SHA256.deb``; nobody fetches them by that name.

    :param architectures: the target's; with ``all``, what packages may have.
    :raises InputError: for an empty folder, a damaged .deb, or one of another architecture.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".deb")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}", HINT) from error
    if not paths:
        raise InputError(f"{folder}: there is no .deb in it", HINT)
    if len(paths) > MAXIMUM_DEBS:
        raise InputError(f"{folder}: more than {MAXIMUM_DEBS} packages")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        described = list(pool.map(_describe, paths))
    for path, fields in zip(paths, described, strict=True):
        if fields["Architecture"] not in (*architectures, "all"):
            raise InputError(
                f"{path}: its architecture is {fields['Architecture']}, "
                f"the target's is {architectures[0]}",
                HINT,
            )
    text = "\n".join(fields.dump() for fields in described)
    return text, {f["SHA256"]: p for f, p in zip(described, paths, strict=True)}


def describe_held(debs: Sequence[HeldDeb]) -> str:
    """The ``Packages`` index of packages that a tarball holds."""
    return "\n".join(
        f"{deb.control.strip()}\nFilename: ./{deb.sha256}.deb\n"
        f"Size: {deb.size}\nSHA256: {deb.sha256}\n"
        for deb in debs
    )


def _describe(path: Path) -> Deb822:
    """The control fields of one .deb with those that an index adds."""
    try:
        fields = deb.control(path)
        fields["SHA256"] = sha256_of(path)
        fields["Size"] = str(path.stat().st_size)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    fields["Filename"] = f"./{fields['SHA256']}.deb"
    return fields
