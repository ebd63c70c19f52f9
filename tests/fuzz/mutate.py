"""Mutations of bytes and of text.  All randomness comes from the dice that is handed in."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

#: Longer inputs only make findings larger; what size alone does is tested by hand-made inputs.
LONGEST = 64 << 10
#: Where numbers tend to be taken for others.
BOUNDS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 511, 512, 4095, 65535, 1 << 16, (1 << 31) - 1)
BOUNDS += (1 << 31, (1 << 32) - 1, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_NUMBER = re.compile(rb"\d+")
_WORDS = (b"", b"-1", b"0", b"00", b"1e99", b"9" * 19, b"9" * 30, b"9" * 5000, b"0x10", b" 7")
_ODD = ("\0", "\n", "\n\n", " ", "\t", "\r", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ud800", "=")
_ODD += (":", ",", "/", "../", "./", "//", "-", "#", '"', "'", "\\", "%", "[", "]", "{", "(", "|")
_ODD_BYTES = (*(text.encode("utf-8", "surrogatepass") for text in _ODD), b"\xff", b"\xc3")

Mutation = Callable[[random.Random, bytearray], None]


def _place(dice: random.Random, data: bytearray, size: int = 1) -> int:
    return dice.randrange(max(1, len(data) - size + 1))


def flip(dice: random.Random, data: bytearray) -> None:
    if data:
        data[_place(dice, data)] ^= 1 << dice.randrange(8)


def overwrite(dice: random.Random, data: bytearray) -> None:
    if data:
        data[_place(dice, data)] = dice.choice(
            (0, 1, 0x20, 0x2F, 0x7F, 0x80, 0xFF, dice.getrandbits(8))
        )


def integer(dice: random.Random, data: bytearray) -> None:
    size = dice.choice((2, 4, 8))
    if len(data) >= size:
        value = dice.choice((*BOUNDS, len(data), len(data) - 1)) & ((1 << 8 * size) - 1)
        place = _place(dice, data, size)
        data[place : place + size] = value.to_bytes(size, dice.choice(("little", "big")))


def decimal(dice: random.Random, data: bytearray) -> None:
    """Another number in place of one that is written in digits."""
    found = list(_NUMBER.finditer(data))
    if found:
        match = dice.choice(found)
        new = dice.choice((*_WORDS, *(str(n).encode() for n in BOUNDS)))
        if dice.random() < 0.5:  # fields of fixed width keep theirs
            new = new[: len(match[0])].rjust(len(match[0]), b"0")
        data[match.start() : match.end()] = new


def insert(dice: random.Random, data: bytearray) -> None:
    place = _place(dice, data)
    data[place:place] = dice.choice(_ODD_BYTES) * dice.choice((1, 1, 1, 2, 300))


def remove(dice: random.Random, data: bytearray) -> None:
    place = _place(dice, data)
    del data[place : place + dice.choice((1, 2, 8, 60, 512, len(data)))]


def repeat(dice: random.Random, data: bytearray) -> None:
    place = _place(dice, data)
    piece = data[place : place + dice.choice((1, 2, 8, 60, 512))]
    data[place:place] = piece * dice.choice((1, 1, 2, 10, 1000))


def move(dice: random.Random, data: bytearray) -> None:
    size = dice.choice((1, 8, 60, 512))
    source, target = _place(dice, data, size), _place(dice, data, size)
    data[target : target + size] = data[source : source + size]


def lines(dice: random.Random, data: bytearray) -> None:
    """Lines in another order, some twice, some not at all."""
    parts = bytes(data).split(b"\n")
    data[:] = b"\n".join(dice.choices(parts, k=dice.randrange(1, 2 * len(parts) + 1)))


MUTATIONS: Sequence[Mutation] = (
    flip, overwrite, integer, decimal, insert, remove, repeat, move, lines,
)  # fmt: skip


def mutated(dice: random.Random, seed: bytes, others: Sequence[bytes] = ()) -> bytes:
    """*seed* after a few mutations, sometimes with another seed's end."""
    data = bytearray(seed)
    if others and dice.random() < 0.1:
        other = dice.choice(others)
        data[_place(dice, data) :] = other[dice.randrange(max(1, len(other))) :]
    for _ in range(dice.choice((1, 1, 2, 3, 5, 9))):
        dice.choice(MUTATIONS)(dice, data)
    return bytes(data[:LONGEST])


def checksummed(data: bytes) -> bytes:
    """*data* with right checksums in all that looks like headers of tar."""
    out = bytearray(data)
    for start in range(0, len(out) - 511, 512):
        if out[start + 257 : start + 262] == b"ustar":
            out[start + 148 : start + 156] = b" " * 8
            out[start + 148 : start + 156] = b"%06o\0 " % sum(out[start : start + 512])
    return bytes(out)
