"""The table of architectures: what each boots by, and what this host has for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from selfinstall.arch import Arch
from selfinstall.cli import doctor
from selfinstall.plan import NO_LOADER


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One architecture.

    :param arch: Debian's name.
    :param firmware: what starts its loaders, as ``--firmware`` and people call them.
    :param loaders: its boot loaders.
    :param qemu: the system emulator and machine.
    :param console: the serial device that holds the console.
    :param ready: whether this host has all that is particular to it.
    :param lacks: the Debian packages that bring the rest, as apt here has them.
    """

    arch: str
    firmware: tuple[str, ...]
    loaders: tuple[str, ...]
    qemu: str
    console: str
    ready: bool
    lacks: tuple[str, ...]


def rows(arches: Sequence[Arch]) -> list[Row]:
    """What there is to tell about each on this host."""
    return doctor.side_by_side(row, arches)


def row(arch: Arch) -> Row:
    """What there is to tell about *arch* on this host."""
    found = doctor.architecture(arch)
    lacking = doctor.lacking(found)
    return Row(
        arch=arch.name,
        firmware=tuple(f"{firmware.name} ({firmware.title})" for firmware in arch.firmwares),
        loaders=tuple(dict.fromkeys(use.loader for use in arch.loaders)) or (NO_LOADER,),
        qemu=f"{arch.qemu.program} -machine {arch.qemu.machine.partition(',')[0]}",
        console=arch.console,
        ready=not lacking,
        lacks=tuple(
            dict.fromkeys(
                f"{f.package}/{f.suite}" if f.suite else f.package or f.name for f in lacking
            )
        ),
    )


def _cells(row: Row) -> tuple[str, ...]:
    host = "ready" if row.ready else f"lacks {' '.join(row.lacks)}"
    firmware = ", ".join(row.firmware) or "none"
    return (row.arch, firmware, ", ".join(row.loaders), row.qemu, row.console, host)


def to_text(rows: Iterable[Row]) -> str:
    """The rows as an aligned table with a heading."""
    heading = ("ARCH", "FIRMWARE", "LOADERS", "QEMU", "CONSOLE", "THIS HOST")
    return table([heading, *(_cells(row) for row in rows)])


def table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
