"""Copies of disks: holes stay holes; and their checksum."""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

#: Bytes that are read at a time; a piece of zeros takes no room in the copy.
PIECE = 256 << 10
_ZEROS = bytes(PIECE)
#: Bytes of content after which it is asked whether to go on.
STRIDE = 64 << 20
#: Where it is, and its content.
Piece = tuple[int, bytes]


class Unreadable(OSError):
    """The source of a copy cannot be read."""


class Stopped(Exception):
    """A copy was given up half-way because nobody wants it any more."""


def copy(source: BinaryIO, target: BinaryIO, size: int) -> int:
    """Copy the first *size* bytes of *source* into the empty file *target*.

    :returns: their :func:`checksum`.
    :raises Unreadable: *source* fails.
    :raises OSError: *target* fails.
    """
    # Side by side, though the source is read twice then: summing takes as long as all else.
    with ThreadPoolExecutor(1) as pool:
        summing = pool.submit(_sum, pieces(source, size))
        _write_all(pieces(source, size), target, size)
        return summing.result()


def duplicate(
    source: BinaryIO, target: BinaryIO, size: int, go_on: Callable[[], bool] = lambda: True
) -> None:
    """The same as :func:`copy` without the checksum.

    :param go_on: called now and then; when it says no, the copy ends.
    :raises Stopped: *go_on* said no.
    """
    _write_all(_while(go_on, pieces(source, size)), target, size)


def checksum(source: BinaryIO, size: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """A CRC-32 of content and its places, whatever is a hole and what zeros.

    :param go_on: as :func:`duplicate` takes it.
    :raises Unreadable: *source* fails.
    :raises Stopped: *go_on* said no.
    """
    return _sum(_while(go_on, pieces(source, size)))


def _sum(passing: Iterable[Piece]) -> int:
    crc = 0
    for place, piece in passing:
        crc = zlib.crc32(piece, zlib.crc32(place.to_bytes(8), crc))
    return crc


def _while(go_on: Callable[[], bool], passing: Iterable[Piece]) -> Iterator[Piece]:
    done = 0
    for place, piece in passing:
        yield place, piece
        done += len(piece)
        if done >= STRIDE:
            done = 0
            if not go_on():
                raise Stopped


def _write_all(passing: Iterable[Piece], target: BinaryIO, size: int) -> None:
    go_to = target.fileno()
    for place, piece in passing:
        _write(go_to, piece, place)
    os.ftruncate(go_to, size)


def pieces(source: BinaryIO | io.FileIO, size: int) -> Iterator[Piece]:
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
