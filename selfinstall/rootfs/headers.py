"""Tar headers, field by field: v7, ustar, pax, GNU and star.  Pure.

Python's own tarfile is not used because it stops silently at damage, reads
headers of any size into memory and takes five times as long.
"""

from __future__ import annotations

import dataclasses
import re
from typing import NoReturn

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
#: Linux takes paths of 4095 bytes at a time; tar can go deeper step by step.
MAXIMUM_PATH = 16 << 10
#: Extended attributes and sparse maps go here; Linux allows attributes of 64 KiB each.
MAXIMUM_PAX = 16 << 20
#: Records of one pax header; a file has a dozen attributes.
MAXIMUM_RECORDS = 1 << 10
#: Bytes and records that hold for all members; each member's lookup pays for them.
MAXIMUM_GLOBAL, MAXIMUM_GLOBAL_RECORDS = 1 << 20, 1 << 8
#: Headers before one member; tar writes three at most.
MAXIMUM_HEADERS = 16
#: Pieces of one sparse file; more than any file of a rootfs has, and 30 MB of memory.
MAXIMUM_PIECES = 1 << 18
#: A size beyond that is no file of this world, but damage.
_MAXIMUM_SIZE = 1 << 62

#: Where a sparse file's data goes: (offset in the file, bytes), in the archive one after the other.
SparseMap = tuple[tuple[int, int], ...]
PaxRecords = dict[str, bytes]

_OCTAL = re.compile(rb"[0-7]+")
_RECORD = re.compile(rb"(\d{1,20}) ([^=]+)=")


class TarDamageError(Exception):
    """A header that makes no sense; the message completes "is damaged: "."""


class TarTruncatedError(Exception):
    """The archive ends where more must follow."""


def damage(why: str) -> NoReturn:
    raise TarDamageError(why)


def text(raw: bytes) -> str:
    """A path as Python's os functions would give it: any bytes survive."""
    return raw.decode("utf-8", "surrogateescape")


def field(block: bytes, start: int, size: int) -> bytes:
    """The bytes of a field up to its first NUL."""
    return block[start : start + size].partition(b"\0")[0]


def number(block: bytes, start: int, size: int) -> int:
    """A number in octal digits, or in base 256 when the first bit is set (GNU, star)."""
    raw = block[start : start + size]
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ~(0x80 << 8 * (size - 1))
        if raw[0] & 0x40 or value > _MAXIMUM_SIZE:
            damage("a number in a header is out of range")
        return value
    digits = raw.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not _OCTAL.fullmatch(digits):
        damage("a header holds no number where one belongs")
    return int(digits, 8)


def checksum_fits(block: bytes) -> bool:
    """Whether a header's checksum is that of its bytes (old tars summed them as signed)."""
    digits = block[148:156].strip(b"\0 ")
    if not _OCTAL.fullmatch(digits):
        return False
    wanted = int(digits, 8)
    total = sum(block) - sum(block[148:156]) + 8 * 32
    if wanted == total:
        return True
    negative = sum(1 for byte in block[:148] + block[156:] if byte > 127)
    return wanted == total - 256 * negative


@dataclasses.dataclass(slots=True)
class Header:
    """The fields of one header *block* that selfinstall needs."""

    block: bytes
    name: bytes
    type: bytes
    mode: int
    size: int
    target: bytes


def parse(block: bytes) -> Header:
    """:raises TarDamageError: the checksum or a number is wrong."""
    if not checksum_fits(block):
        damage("the checksum of a header is wrong")
    name = field(block, 0, 100)
    if block[257:263] == b"ustar\0" and block[345]:
        # star keeps times in the last bytes of the prefix.
        prefix = field(block, 345, 131 if block[508:512] == b"tar\0" else 155)
        name = prefix + b"/" + name
    return Header(
        block,
        name,
        block[156:157],
        number(block, 100, 8) & 0o7777,
        number(block, 124, 12),
        field(block, 157, 100),
    )


def pax_records(data: bytes) -> tuple[PaxRecords, SparseMap]:
    """The records of a pax header, and the sparse map of GNU's format 0.0, whose keys repeat."""
    records: PaxRecords = {}
    pieces: list[tuple[int, int]] = []
    position = 0
    while position < len(data) and data[position]:
        match = _RECORD.match(data, position)
        end = position + int(match[1]) if match else 0
        if match is None or end > len(data) or end <= match.end() or data[end - 1] != 0x0A:
            damage("a pax header makes no sense")
        value = data[match.end() : end - 1]
        if match[2] == b"GNU.sparse.offset":
            pieces.append((decimal(value), 0))
        elif match[2] == b"GNU.sparse.numbytes" and pieces:
            pieces[-1] = (pieces[-1][0], decimal(value))
        else:
            records[text(match[2])] = value
        if len(records) > MAXIMUM_RECORDS or len(pieces) > MAXIMUM_PIECES:
            damage("a pax header has more records than any file can have attributes")
        position = end
    return records, tuple(pieces)


def decimal(value: bytes) -> int:
    """A number as pax headers and sparse maps write it."""
    if not value.isdigit() or len(value) > 19 or int(value) > _MAXIMUM_SIZE:
        damage("a pax header holds no number where one belongs")
    return int(value)
