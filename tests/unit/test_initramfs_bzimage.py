"""Kernels inside a PC's bzImage."""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Callable

import pytest
import zstandard

from selfinstall.initramfs.bzimage import unpacked

PVH = struct.pack("<III", 4, 4, 18) + b"Xen\0" + b"\0\0\0\1"
OTHER = struct.pack("<III", 6, 5, 257) + b"Linux\0\0\0" + b"6.12\0\0\0\0"


def program(notes: bytes) -> bytes:
    """An ELF program of 64 bits that has notes and nothing else."""
    names = b"\0.notes\0.shstrtab\0"
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\2\1\1",
        *(2, 62, 1, 0, 0, 64 + len(notes) + len(names), 0, 64, 56, 0, 64, 3, 2),
    )
    rows = [(0, 0, 0, 0), (1, 7, 64, len(notes)), (8, 3, 64 + len(notes), len(names))]
    sections = (struct.pack("<IIQQQQIIQQ", n, k, 0, 0, o, s, 0, 0, 1, 0) for n, k, o, s in rows)
    return header + notes + names + b"".join(sections)


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content)


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content) + struct.pack("<I", len(content))


def xz(content: bytes) -> bytes:
    packed = lzma.compress(content, check=lzma.CHECK_CRC32)
    return packed + struct.pack("<I", len(content))


def bzimage(payload: bytes, *, setup: int = 3, version: int = 0x20F, offset: int = 100) -> bytes:
    sectors = setup or 4
    made = bytearray((1 + sectors) * 512 + offset)
    made[0x1F1], made[0x202:0x206] = setup, b"HdrS"
    struct.pack_into("<H", made, 0x206, version)
    struct.pack_into("<II", made, 0x248, offset, len(payload))
    return bytes(made) + payload + b"what comes behind it"


@pytest.mark.parametrize("pack", [gzipped, zstd, xz])
@pytest.mark.parametrize("setup", [0, 27])
@pytest.mark.parametrize("notes", [PVH, OTHER + PVH + OTHER])
def test_the_program_inside(pack: Callable[[bytes], bytes], setup: int, notes: bytes) -> None:
    kernel = program(notes)
    assert unpacked(bzimage(pack(kernel), setup=setup)) == kernel


@pytest.mark.parametrize(
    "image",
    [
        b"",
        program(PVH),
        bzimage(zstd(program(OTHER))),
        bzimage(zstd(program(b""))),
        # A note of the same type, somebody else's.
        bzimage(zstd(program(PVH.replace(b"Xen", b"GNU")))),
        bzimage(zstd(program(PVH)), version=0x207),
        bzimage(zstd(program(PVH))[:-30]),
        bzimage(zstd(b"no program" * 99)),
        bzimage(program(PVH)),
        bzimage(b""),
        bzimage(b"\x02\x21LZ4 or another that is not known here"),
        bzimage(zstd(program(PVH)))[:0x24C],
        bzimage(zstd(program(PVH))[:40]),
    ],
)
def test_others_stay_as_they_are(image: bytes) -> None:
    assert unpacked(image) is image
