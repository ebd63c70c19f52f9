"""Sparse files in tar archives: the maps of GNU's formats old, 0.0, 0.1 and 1.0."""

from __future__ import annotations

from selfinstall.rootfs.headers import (
    BLOCK,
    MAXIMUM_PIECES,
    PaxRecords,
    SparseMap,
    TarTruncatedError,
    damage,
    decimal,
    number,
)
from selfinstall.rootfs.readers import Reader

#: Where an old header and its extensions keep pairs of 12 digits, and the flag that more follow.
_IN_HEADER, _IN_EXTENSION = (386, 4, 482), (0, 21, 504)
_REAL_SIZE = (483, 12)


def is_sparse(pax: PaxRecords) -> bool:
    """Whether pax records say that the member is sparse."""
    return "GNU.sparse.major" in pax or "GNU.sparse.size" in pax


def read_old(block: bytes, reader: Reader) -> tuple[SparseMap, int]:
    """Map and size of the file whose header is *block*; its extensions are read from *reader*."""
    size = number(block, *_REAL_SIZE)
    pieces: list[tuple[int, int]] = []
    start, count, more = _IN_HEADER
    while True:
        for place in range(start, start + 24 * count, 24):
            if block[place]:
                pieces.append((number(block, place, 12), number(block, place + 12, 12)))
        _check_count(len(pieces))
        if not block[more]:
            return tuple(pieces), size
        block = _block(reader)
        start, count, more = _IN_EXTENSION


def read_pax(
    pax: PaxRecords, repeated: SparseMap, reader: Reader, stored: int
) -> tuple[SparseMap, int]:
    """Map and size of a file that pax records describe.

    :param repeated: the map that format 0.0 spreads over records.
    :param reader: format 1.0 puts the map before the data.
    :param stored: bytes of data in the archive, with such a map.
    """
    if pax.get("GNU.sparse.major") == b"1":
        return _read_1_0(reader, stored), decimal(pax.get("GNU.sparse.realsize", b""))
    size = decimal(pax.get("GNU.sparse.size", b""))
    if "GNU.sparse.map" not in pax:
        return repeated, size
    parts = pax["GNU.sparse.map"].split(b",")
    _check_count(len(parts) // 2)
    return _pairs([decimal(part) for part in parts if part]), size


def _read_1_0(reader: Reader, stored: int) -> SparseMap:
    numbers: list[int] = []
    wanted = 1
    rest = b""
    while len(numbers) < wanted:
        stored -= BLOCK
        if stored < 0 or len(rest) > BLOCK:
            damage("a sparse map makes no sense")
        *lines, rest = (rest + _block(reader)).split(b"\n")
        numbers += map(decimal, lines)
        if numbers and wanted == 1:
            _check_count(numbers[0])
            wanted += 2 * numbers[0]
    return _pairs(numbers[1:wanted])


def check(pieces: SparseMap, size: int, stored: int) -> SparseMap:
    """*pieces* if they lie in order in *size* bytes and need no more than *stored* bytes."""
    end = 0
    for offset, length in pieces:
        if offset < end or offset + length > size:
            damage("a sparse map makes no sense")
        end = offset + length
    if sum(length for _, length in pieces) > stored:
        damage("a sparse map makes no sense")
    return pieces


def _check_count(count: int) -> None:
    if count > MAXIMUM_PIECES:
        damage(f"a sparse file of {count} pieces is beyond all sense")


def _block(reader: Reader) -> bytes:
    block = reader.read(BLOCK)
    if len(block) < BLOCK:
        raise TarTruncatedError
    return block


def _pairs(numbers: list[int]) -> SparseMap:
    if len(numbers) % 2:
        damage("a sparse map makes no sense")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
