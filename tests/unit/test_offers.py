"""What the host's apt could install, by a made-up apt-cache."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from test_host import make_program

from selfinstall import host, offers
from selfinstall.offers import Offer

ROWS = """\
      dpkg | 1.21.22 | http://deb.example.org/debian bookworm/main amd64 Packages
qemu-system-misc | 1:10.0.2+ds-2~bpo12+1 | http://deb.example.org/debian bookworm-backports/main amd64 Packages
qemu-system-misc | 1:7.2+dfsg-7 | http://deb.example.org/debian bookworm/main amd64 Packages
qemu-system-misc | 1:7.2+dfsg-7 | http://deb.example.org/debian bookworm/main Sources
qemu-system-riscv | 1:10.0.2+ds-2~bpo12+1 | http://deb.example.org/debian bookworm-backports/main amd64 Packages
"""  # noqa: E501
RISCV = ("qemu-system-riscv", "qemu-system-misc")


def apt(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None = ROWS) -> None:
    """A host whose apt-cache says *answer*; None for one without apt."""
    monkeypatch.setattr(host, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(folder / "bin"))
    if answer is not None:
        text = answer.replace("\n", "\\n")
        make_program(folder / "bin" / "apt-cache", f"#!/bin/sh\nprintf '{text}'\n")


@pytest.mark.parametrize(
    ("packages", "minimum", "command"),
    [
        # A name that only backports has is not what apt installs by itself.
        (RISCV, None, "sudo apt install qemu-system-misc"),
        (RISCV, (7, 2), "sudo apt install qemu-system-misc"),
        (RISCV, (8, 1), "sudo apt install -t bookworm-backports qemu-system-riscv"),
        (RISCV[1:], (10, 0), "sudo apt install -t bookworm-backports qemu-system-misc"),
        (("dpkg",), None, "sudo apt install dpkg"),
    ],
)
def test_best_offer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packages: tuple[str, ...],
    minimum: tuple[int, int] | None,
    command: str,
) -> None:
    apt(tmp_path, monkeypatch)
    assert offers.hint(packages, minimum) == command


@pytest.mark.parametrize(
    ("packages", "minimum", "since", "release", "words"),
    [
        (
            *(("qemu-efi-riscv64",), None, "trixie", {}),
            "no qemu-efi-riscv64: Debian has it from trixie on; install the .deb of trixie",
        ),
        (
            *(RISCV, (11, 0), None, {"ID": "debian", "VERSION_CODENAME": "bookworm"}),
            "no qemu-system-riscv 11.0 or newer: add bookworm-backports to apt's sources, then "
            "sudo apt install -t bookworm-backports qemu-system-riscv",
        ),
        (RISCV, (11, 0), None, {"ID": "other", "VERSION_CODENAME": "x"}, "from a newer release"),
        # testing and sid have no backports.
        (RISCV, (11, 0), None, {"ID": "debian"}, "from a newer release"),
        (RISCV, (11, 0), None, None, "from a newer release"),
        (("ovmf",), None, None, None, "no ovmf: are the distribution's main sources among apt's?"),
    ],
)
def test_nothing_fits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packages: tuple[str, ...],
    minimum: tuple[int, int] | None,
    since: str | None,
    release: dict[str, str] | None,
    words: str,
) -> None:
    def os_release() -> dict[str, str]:
        if release is None:
            raise FileNotFoundError
        return release

    apt(tmp_path, monkeypatch)
    monkeypatch.setattr(platform, "freedesktop_os_release", os_release)
    assert offers.best(packages, minimum) is None
    assert offers.best((), minimum) is None
    assert words in offers.hint(packages, minimum, since)


@pytest.mark.parametrize("answer", [None, "", "N: Unable to locate package x\\n"])
def test_without_lists_the_first_name_is_as_good_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    apt(tmp_path, monkeypatch, answer)
    assert offers.best(RISCV, (99, 0)) == Offer("qemu-system-riscv")
