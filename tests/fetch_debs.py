#!/usr/bin/env python3
"""Download packages of another suite by the host's apt, signatures verified, without root.

    tests/fetch_debs.py SUITE FOLDER PACKAGE…

The matrix of boot tests needs a newer qemu, and firmware that Debian 12 has not.  Nothing is
installed, and the host's own apt configuration only tells the mirror.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from selfinstall.errors import SelfinstallError
from selfinstall.packages import debian
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.cache import Cache
from selfinstall.packages.hostapt import native_architecture
from selfinstall.packages.target import AptInput


def fetch(suite: str, folder: Path, names: list[str]) -> None:
    """Put the .debs of *names* in *folder*."""
    mirrors = debian.mirrors(debian.host_files())
    text = debian.suite_sources(suite, mirrors, mirror=mirrors.main, keyring=debian.KEYRING)
    asked = AptInput(
        architecture=native_architecture(), dpkg_status=b"", sources=(("x.sources", text),)
    )
    with (
        tempfile.TemporaryDirectory(prefix="fetch-debs-") as work,
        AptRoot(asked, Path(work), Cache(Path(work) / "cache")) as root,
    ):
        root.refresh()
        done = root.run("apt-get", "download", *names)
        if done.status != 0:
            sys.exit(done.text)
        for path in root.folder.glob("*.deb"):
            shutil.copy(path, folder / path.name)


if __name__ == "__main__":
    try:
        fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
    except SelfinstallError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
