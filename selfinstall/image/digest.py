"""Whether an image is still the one that was made: a digest of its content, and the file's traits.

The digest passes over holes and zeros, so that a disk of which a tenth is in use takes a
tenth of the time, and a copy with other holes has the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selfinstall.errors import HostError, InputError
from selfinstall.layers import sparse
from selfinstall.rootfs.source import label


@dataclasses.dataclass(frozen=True, slots=True)
class Digest:
    """An image's content.

    :param size: of the file, bytes; holes count.
    :param pieces_sha256: of each piece of 256 KiB that is not all zeros, in order: its offset
        as eight bytes, most significant first, and its content.
    """

    size: int
    pieces_sha256: str


def digest(path: Path, go_on: Callable[[], bool] = lambda: True) -> Digest:
    """The digest of the file at *path*.

    :param go_on: called for each piece; when it says no, the rest is left out.
    :raises InputError: it cannot be read.
    """
    hashed = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            for place, piece in sparse.pieces(stream, size):
                if not go_on():
                    break
                hashed.update(place.to_bytes(8))
                hashed.update(piece)
    except OSError as error:
        raise InputError(f"cannot read {label(path)}: {error.strerror}") from error
    return Digest(size, hashed.hexdigest())


@contextlib.contextmanager
def digesting(path: Path) -> Iterator[Callable[[], Digest]]:
    """Compute the digest beside what is done inside; the function gives it, once that is over."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(digest, path, lambda: not stop.is_set())
        try:
            yield future.result
        finally:
            stop.set()


@contextlib.contextmanager
def untouched(path: Path) -> Iterator[None]:
    """Nobody writes to the file at *path* while this lasts.

    :raises HostError: somebody did.
    """
    before = _traits(path)
    yield
    if _traits(path) != before:
        raise HostError(
            "the image changed while it was boot-tested, and not by this build",
            "does another program write to it?",
        )


def _traits(path: Path) -> tuple[int, ...]:
    """What changes with every write; nobody can set a ctime."""
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
