"""The bytes of a tarball as given: hashed, counted and reported while they are read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from selfinstall.errors import InputError
from selfinstall.events import Event, OnEvent
from selfinstall.request import STDIN

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STEP = "inspect"
#: Large reads keep the share of the interpreter small; the same size holds a look ahead.
BUFFER = 1 << 20
#: Seconds between two progress events.
PROGRESS_INTERVAL = 0.1
MAKE_AGAIN = "copy or make it again, and compare its checksum with the original's"


def shown(path: str) -> str:
    """*path* for a message: one printable line of bounded length, in quotes."""
    short = path if len(path) <= 120 else f"{path[:60]}…{path[-50:]}"
    return ascii(short) if not short.isprintable() else f"'{short}'"


def label(path: Path | str) -> str:
    """What messages call *path*: one printable line."""
    name = str(path)
    return name if name.isprintable() else ascii(name)


class Source(io.RawIOBase):
    """A raw stream over *stream* that keeps the hash and count of what went through.

    :param stream: where the bytes come from.
    :param name: what messages call it.
    :param total: its size in bytes, None when that is not known.
    :param on_event: hears of progress.
    """

    def __init__(
        self, stream: BinaryIO | io.RawIOBase, name: str, total: int | None, on_event: OnEvent
    ) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._on_event = on_event
        self._next_report = 0.0
        self.name = name
        self.total = total
        self.count = 0

    @property
    def sha256(self) -> str:
        """The hash of what was read so far, in hexadecimal."""
        return self._hash.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill *buffer* as far as the source goes, so that a pipe's short reads do not show."""
        view = memoryview(buffer)
        filled = 0
        while filled < len(view):
            try:
                data = self._stream.read(len(view) - filled)
            except OSError as error:
                raise InputError(f"cannot read {self.name}: {error.strerror or error}") from error
            if not data:
                break
            view[filled : filled + len(data)] = data
            filled += len(data)
        self._hash.update(view[:filled])
        self.count += filled
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + PROGRESS_INTERVAL
            self.report()
        return filled

    def report(self) -> None:
        """Say how far it is."""
        self._on_event(Event("progress", STEP, done=self.count, total=self.total, unit="bytes"))


def _open_file(path: Path) -> tuple[io.FileIO, int | None]:
    """The open file and its size, None when it is a pipe or a device."""
    try:
        stream = path.open("rb", buffering=0)
    except IsADirectoryError as error:
        raise InputError(
            f"{label(path)} is a directory, not a tarball",
            f"pack it: tar -C {label(path)} --numeric-owner --xattrs --acls -caf rootfs.tar.zst .",
        ) from error
    except OSError as error:
        hint = {
            errno.ENOENT: "check the name; - reads the tarball from standard input",
            errno.EACCES: "give this user the right to read it",
        }.get(error.errno or 0)
        raise InputError(f"cannot read {label(path)}: {error.strerror}", hint) from error
    status = os.fstat(stream.fileno())
    return stream, status.st_size if stat.S_ISREG(status.st_mode) else None


@contextlib.contextmanager
def open_source(path: Path, stdin: BinaryIO | None, on_event: OnEvent) -> Iterator[Source]:
    """Open *path*, or *stdin* when it is :data:`selfinstall.request.STDIN`.

    :raises InputError: it is missing, unreadable or a directory.
    """
    if path != STDIN:
        stream, total = _open_file(path)
        with stream:
            yield Source(stream, label(path), total, on_event)
        return
    given = sys.stdin.buffer if stdin is None else stdin
    if given.isatty():
        raise InputError(
            "standard input is a terminal, not a tarball",
            "pipe one in: mmdebstrap trixie - | selfinstall --tarball - -o trixie.img",
        )
    yield Source(given, "standard input", None, on_event)
