"""The decompressed tarball on the host's disk, with holes where it is all zeros."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from selfinstall.errors import HostError
from selfinstall.host import NO_ROOM
from selfinstall.rootfs.source import label

_ZEROS = bytes(1 << 20)
#: Shorter runs of zeros are not worth a hole.
_HOLE = 64 << 10

Write = Callable[[bytes], None]


def _failure(path: Path, written: int, error: OSError) -> HostError:
    folder = label(path.parent)
    if error.errno in NO_ROOM:
        return HostError(
            f"no space left in {folder}, which must hold more than {written} bytes for a time",
            "make room there, or set TMPDIR to a folder that has it",
        )
    return HostError(f"cannot write in {folder}: {error.strerror or error}")


class _Spool:
    def __init__(self, path: Path, stream: io.FileIO) -> None:
        self._path = path
        self._stream = stream
        self._written = 0

    def write(self, data: bytes) -> None:
        try:
            if _HOLE <= len(data) <= len(_ZEROS) and data == _ZEROS[: len(data)]:
                self._stream.seek(len(data), os.SEEK_CUR)
            else:
                view = memoryview(data)
                while view:
                    view = view[self._stream.write(view) :]
        except OSError as error:
            raise _failure(self._path, self._written + len(data), error) from error
        self._written += len(data)

    def finish(self) -> None:
        """Give the file its size when it ends in a hole."""
        try:
            self._stream.truncate(self._written)
        except OSError as error:
            raise _failure(self._path, self._written, error) from error


def discard(data: bytes) -> None:
    """A spool that keeps nothing."""


@contextlib.contextmanager
def spooling(path: Path | None) -> Iterator[Write]:
    """A function that appends to *path*, which is deleted again when anything goes wrong.

    :param path: None to keep nothing.
    :raises HostError: the disk is full or the file cannot be made.
    """
    if path is None:
        yield discard
        return
    try:
        stream = path.open("wb", buffering=0)
    except OSError as error:
        raise _failure(path, 0, error) from error
    with contextlib.ExitStack() as on_error:
        on_error.callback(path.unlink, missing_ok=True)
        with stream:
            spool = _Spool(path, stream)
            yield spool.write
            spool.finish()
        on_error.pop_all()
