"""The image's name: the file is complete under it, or not there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from selfinstall.errors import HostError, InputError
from selfinstall.scratch import is_at, lock


@contextlib.contextmanager
def unfinished(output: Path, *, private: bool) -> Iterator[Path]:
    """A name beside *output* for an unfinished image; gone afterwards unless published.

    Meanwhile no other build makes an image of that name.  What killed builds of it left goes.

    :param private: the image holds secrets; nobody but the owner may read it.
    :raises HostError: the folder cannot be written, or another build is making that image.
    """
    if output.is_dir():
        raise InputError(f"{output} is a folder, not a name for an image")
    path = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_claimed(output))
            stack.callback(path.unlink, missing_ok=True)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(path, flags, 0o600 if private else 0o666))
        except OSError as error:
            raise HostError(
                f"cannot write into {output.parent}: {error.strerror}",
                "choose another place with -o",
            ) from None
        yield path


@contextlib.contextmanager
def _claimed(output: Path) -> Iterator[None]:
    """Keep others from making *output*, by a lock on a file beside it.

    The image itself cannot be locked: on some network file systems that would lock qemu out.
    """
    path = output.with_name(f".{output.name}.lock")
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        try:
            locked = lock(descriptor)
            if locked is False:
                raise HostError(
                    f"another build is making {output}",
                    "wait until it ends, or choose another name with -o",
                )
            if not is_at(descriptor, path):
                continue  # its last owner has just removed it
            if locked:
                _sweep(output)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _sweep(output: Path) -> None:
    """Remove what killed builds of *output* left."""
    pattern = re.compile(rf"\.{re.escape(output.name)}\.[0-9a-f]{{8}}\.part")
    with contextlib.suppress(OSError):
        for path in output.parent.iterdir():
            if pattern.fullmatch(path.name):
                path.unlink(missing_ok=True)


def publish(path: Path, output: Path) -> None:
    """Give the finished image its name; an older file of that name is replaced in one step.

    :raises HostError: the disk could not take the last bytes.
    """
    try:
        path.replace(output)
    except OSError as error:
        raise HostError(f"cannot name the image {output}: {error.strerror}") from None
