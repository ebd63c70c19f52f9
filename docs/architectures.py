#!/usr/bin/env python3
"""Writes architectures.md out of selfinstall/arch/*.py and the results in architectures.json.

    python3 docs/architectures.py

The results are those of the last run of the matrix of boot tests: an object with one member,
``cells``, a list of objects with the members of :class:`Cell`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from selfinstall.arch import Arch, Firmware, Qemu, all_arches

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "architectures.json"
PAGE = FOLDER / "architectures.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One image that was built and booted, or not.

    :param source: what it was built from: ``suite`` or ``first-stage``.
    :param build: seconds from the command to the finished image, the boot test left out.
    :param login: seconds from the machine's start to its prompt, None when it did not come.
    :param qemu: its version.
    :param date: of the run, as ``2026-01-31``.
    :param problem: what went wrong, None when nothing did.
    """

    suite: str
    arch: str
    loader: str
    firmware: str
    source: str = "suite"
    build: float | None
    login: float | None
    qemu: str
    date: str
    problem: str | None = None


def read_results(path: Path = RESULTS) -> tuple[Cell, ...]:
    """The cells of the last run."""
    return tuple(Cell(**row) for row in json.loads(path.read_text(encoding="utf-8"))["cells"])


def page(arches: Iterable[Arch], cells: Sequence[Cell]) -> str:
    """The whole page."""
    arches = sorted(arches, key=lambda arch: arch.name)
    return "\n".join(
        [
            "# Architectures",
            "",
            "Made by `docs/architectures.py` from `selfinstall/arch/` and",
            "`docs/architectures.json`; changes here are lost.",
            "",
            "## What each is built with",
            "",
            *_table(
                ("architecture", "kernel", "boot loader", "firmware", "qemu"),
                map(_about, arches),
            ),
            "",
            "A boot loader in brackets is installed when `--bootloader` names it. Of several",
            "firmwares in one line the first that the host has is tested. `none`: kernel and",
            "initramfs lie beside the image, which works for every architecture.",
            "",
            "## Where the firmware comes from",
            "",
            *_table(("architecture", "firmware", "package", "file"), _sources(arches)),
            "",
            "## What was built and booted",
            "",
            *_results(cells),
            "",
        ]
    )


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heading, ["---"] * len(heading), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines]


def _about(arch: Arch) -> tuple[str, ...]:
    firmware, loaders = [], []
    for use in arch.loaders:
        name = use.loader + (f" ({use.target})" if use.target else "")
        if use.kernel_architecture:
            name += f" with a kernel of {use.kernel_architecture}"
        loaders.append(name if use.auto else f"[{name}]")
        firmware.append(" or ".join(arch.firmware(name).title for name in use.firmwares))
    return (
        arch.name,
        " or ".join(f"`{name}`" for name in arch.kernel_packages),
        "<br>".join(loaders) or "none",
        "<br>".join(firmware) or "none",
        f"`{arch.qemu.program}` {_versions(arch.qemu)}",
    )


def _versions(qemu: Qemu) -> str:
    said = f"{qemu.minimum[0]}.{qemu.minimum[1]} or newer"
    for kernel, needed in qemu.for_kernels:
        said += f"<br>{needed[0]}.{needed[1]} or newer for Linux {kernel[0]}.{kernel[1]} and newer"
    return said


def _sources(arches: Iterable[Arch]) -> Iterable[tuple[str, ...]]:
    for arch in arches:
        for firmware in arch.firmwares:
            package = f"`{firmware.package}`" if firmware.package else "comes with qemu"
            yield arch.name, f"{firmware.title} (`{firmware.name}`)", package, _files(firmware)


def _files(firmware: Firmware) -> str:
    told = []
    for files in firmware.files:
        newer = ".".join(map(str, files.minimum)) if files.minimum else ""
        told.append(f"`{files.code}`" + (f" (qemu {newer} or newer)" if newer else ""))
    return "<br>".join(told)


#: How what an image was built from is told.
_SOURCES = {"suite": "`--suite`", "first-stage": "`debootstrap --foreign`"}


def _results(cells: Sequence[Cell]) -> list[str]:
    if not cells:
        return ["The whole matrix has not run yet."]
    dates = sorted({cell.date for cell in cells})
    good = sum(cell.problem is None for cell in cells)
    when = dates[0] if len(dates) == 1 else f"between {dates[0]} and {dates[-1]}"
    rows = [
        (
            *(cell.arch, cell.suite, _SOURCES[cell.source], cell.loader, cell.firmware),
            *map(_seconds, (cell.build, cell.login)),
            *(cell.qemu, cell.date, cell.problem or "ok"),
        )
        for cell in sorted(cells, key=lambda c: (c.arch, c.suite, c.source, c.loader, c.firmware))
    ]
    heading = (
        *("architecture", "suite", "from", "boot loader", "firmware"),
        *("build, s", "login, s", "qemu", "date", "result"),
    )
    return [f"Last run {when}: {good} of {len(cells)} good.", "", *_table(heading, rows)]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    PAGE.write_text(page(all_arches().values(), read_results()), encoding="utf-8")
