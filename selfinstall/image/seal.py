"""The image's name: the file is complete under it, or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from selfinstall.errors import HostError, InputError


@contextlib.contextmanager
def unfinished(output: Path, *, private: bool) -> Iterator[Path]:
    """A name beside *output* for an unfinished image; gone afterwards unless published.

    :param private: the image holds secrets; nobody but the owner may read it.
    :raises HostError: the folder cannot be written.
    """
    if output.is_dir():
        raise InputError(f"{output} is a folder, not a name for an image")
    path = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(
            path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666
        )
    except OSError as error:
        raise HostError(
            f"cannot write into {output.parent}: {error.strerror}", "choose another place with -o"
        ) from None
    os.close(descriptor)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def publish(path: Path, output: Path) -> None:
    """Give the finished image its name; an older file of that name is replaced in one step.

    :raises HostError: the disk could not take the last bytes.
    """
    try:
        path.replace(output)
    except OSError as error:
        raise HostError(f"cannot name the image {output}: {error.strerror}") from None
