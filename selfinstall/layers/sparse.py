"""Copies of disks: holes stay holes, and a checksum of what was copied."""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

#: Bytes that are read at a time; a piece of zeros takes no room in the copy.
PIECE = 256 << 10
_ZEROS = bytes(PIECE)
#: Bytes of content after which :func:`copy` tells that it goes on.
STRIDE = 64 << 20


class Unreadable(OSError):
    """The source of a copy cannot be read."""


class Stopped(Exception):
    """A copy was given up half-way because nobody wants it any more."""


def copy(
    source: BinaryIO, target: BinaryIO, size: int, go_on: Callable[[], bool] = lambda: True
) -> int:
    """Copy the first *size* bytes of *source* into the empty file *target*.

    :param go_on: called now and then; when it says no, the copy ends.
    :returns: a CRC-32 of the content and its places, whatever is a hole and what zeros.
    :raises Unreadable: *source* fails.
    :raises OSError: *target* fails.
    :raises Stopped: *go_on* said no.
    """
    go_to = target.fileno()
    checksum = done = 0
    for place, piece in pieces(source, size):
        checksum = zlib.crc32(piece, zlib.crc32(place.to_bytes(8), checksum))
        _write(go_to, piece, place)
        done += len(piece)
        if done >= STRIDE:
            done = 0
            if not go_on():
                raise Stopped
    os.ftruncate(go_to, size)
    return checksum


def pieces(source: BinaryIO | io.FileIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Place and content of each :data:`PIECE` of the first *size* bytes that is not all zeros.

    :raises Unreadable: *source* fails.
    """
    come_from = source.fileno()
    place = _data(come_from, 0, size)
    while place < size:
        piece = _read(come_from, min(PIECE, size - place), place)
        if not piece:
            return
        if piece != _ZEROS[: len(piece)]:
            yield place, piece
        place = _data(come_from, place + PIECE, size)


def _read(descriptor: int, size: int, place: int) -> bytes:
    try:
        return os.pread(descriptor, size, place)
    except OSError as error:
        raise Unreadable(error.errno, error.strerror) from error


def _write(descriptor: int, data: bytes, place: int) -> None:
    written = os.pwrite(descriptor, data, place)
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], place + written)


def _data(descriptor: int, place: int, size: int) -> int:
    """The first piece from *place* on that holds data; *size* when there is none."""
    if place >= size:
        return size
    try:
        return os.lseek(descriptor, place, os.SEEK_DATA) // PIECE * PIECE
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        if error.errno == errno.EINVAL:
            return place  # a file system that does not tell holes
        raise
