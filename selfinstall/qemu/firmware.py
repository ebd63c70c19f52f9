"""Firmware for the guest: found on the host by the architecture's data, its variables private."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from selfinstall.arch import Firmware, FirmwareFiles
from selfinstall.errors import HostError


def find(firmware: Firmware) -> FirmwareFiles | None:
    """The first of the firmware's builds that is there; None when qemu brings it.

    :raises HostError: none is there.
    """
    if not firmware.files:
        return None
    for files in firmware.files:
        if all(Path(path).is_file() for path in (files.code, files.vars) if path):
            return files
    raise HostError(
        f"{firmware.title} firmware is missing ({firmware.files[0].code})",
        f"sudo apt install {firmware.package}" if firmware.package else None,
    )


@contextlib.contextmanager
def private(firmware: Firmware, folder: Path) -> Iterator[FirmwareFiles | None]:
    """The firmware's files with a writable copy of its fresh variable store in *folder*.

    :raises HostError: as :func:`find`, or the copy cannot be made.
    """
    files = find(firmware)
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
