"""Firmware for the guest: found on the host by the architecture's data, its variables private."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from selfinstall.arch import Arch, Firmware, FirmwareFiles
from selfinstall.errors import HostError
from selfinstall.offers import hint as how_to_install
from selfinstall.qemu.emulator import Emulator


def present(firmware: Firmware) -> FirmwareFiles | None:
    """The first of the firmware's builds that is there."""
    for files in firmware.files:
        if all(Path(path).is_file() for path in (files.code, files.vars) if path):
            return files
    return None


def find(firmware: Firmware, emulator: Emulator | None = None) -> FirmwareFiles | None:
    """The first of the firmware's builds that is there; None when qemu brings it.

    :param emulator: what shall run it; None leaves its age aside.
    :raises HostError: none is there, or *emulator* is too old for it.
    """
    if not firmware.files:
        return None
    files = present(firmware)
    if files is None:
        package = firmware.package
        hint = how_to_install((package,), since=firmware.since) if package else None
        raise HostError(missing(firmware), hint)
    if not _runs(files, emulator):
        raise HostError(*_too_new(firmware, files, emulator))
    return files


def missing(firmware: Firmware) -> str:
    """The sentence for a firmware that is not there."""
    return f"{firmware.title} firmware is missing ({firmware.files[0].code})"


def _runs(files: FirmwareFiles, emulator: Emulator | None) -> bool:
    return emulator is None or files.minimum is None or emulator.number >= files.minimum


def _too_new(
    firmware: Firmware, files: FirmwareFiles, emulator: Emulator | None
) -> tuple[str, str]:
    assert emulator is not None and files.minimum is not None
    minimum = ".".join(map(str, files.minimum))
    get = f"{how_to_install(emulator.packages, files.minimum)}; or " if emulator.packages else ""
    return (
        f"{firmware.title} firmware needs qemu {minimum} or newer, "
        f"{emulator.program} is version {emulator.version}",
        f"{get}name another build by --qemu, or another --firmware",
    )


def for_installer(arch: Arch, emulator: Emulator) -> FirmwareFiles | None:
    """What the architecture's machine needs even under ``-kernel``; None when it needs nothing.

    :raises HostError: as :func:`find`.
    """
    name = arch.qemu.installer_firmware
    return None if name is None else find(arch.firmware(name), emulator)


def first_usable(arch: Arch, names: tuple[str, ...], emulator: Emulator) -> str:
    """The first firmware of *names* that the host has and *emulator* can run.

    :raises HostError: there is none; about the first.
    """
    for name in names:
        firmware = arch.firmware(name)
        files = present(firmware)
        if not firmware.files or (files is not None and _runs(files, emulator)):
            return name
    find(arch.firmware(names[0]), emulator)
    raise AssertionError("a firmware that cannot be used was found")


@contextlib.contextmanager
def private(
    firmware: Firmware, folder: Path, emulator: Emulator | None = None
) -> Iterator[FirmwareFiles | None]:
    """The firmware's files with a writable copy of its fresh variable store in *folder*.

    :raises HostError: as :func:`find`, or the copy cannot be made.
    """
    files = find(firmware, emulator)
    if files is None or files.vars is None:
        yield files
        return
    copy = folder / f"{firmware.name}-vars.fd"
    try:
        shutil.copyfile(files.vars, copy)
    except OSError as error:
        raise HostError(f"cannot copy {files.vars} to {folder}: {error.strerror}") from error
    try:
        yield dataclasses.replace(files, vars=str(copy))
    finally:
        copy.unlink(missing_ok=True)
