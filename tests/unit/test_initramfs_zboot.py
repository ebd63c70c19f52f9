"""EFI zboot kernels."""

from __future__ import annotations

import gzip
import lzma
import struct

import pytest
import zstandard

from selfinstall.errors import InputError
from selfinstall.initramfs.zboot import unpacked

KERNEL = b"\x7fELF or Image, whatever it is" * 1000


def zboot(payload: bytes, how: str, *, offset: int = 64, size: int | None = None) -> bytes:
    size = len(payload) if size is None else size
    header = struct.pack("<4s4sII8x", b"MZ", b"zimg", offset, size) + how.encode()
    # What follows the payload (the sections of the PE program) is none of the kernel's.
    return header.ljust(offset, b"\0") + payload + b"rest of the program"


@pytest.mark.parametrize(
    ("payload", "how"),
    [
        (gzip.compress(KERNEL), "gzip"),
        (zstandard.ZstdCompressor().compress(KERNEL), "zstd22"),
        (lzma.compress(KERNEL), "xzkern"),
    ],
)
@pytest.mark.parametrize("offset", [64, 4096])
def test_the_kernel_inside(payload: bytes, how: str, offset: int) -> None:
    assert unpacked(zboot(payload, how, offset=offset), "boot/vmlinuz") == KERNEL


@pytest.mark.parametrize(
    "image",
    [b"", b"MZ", b"MZ\0\0PE..", b"\x7fELF" + bytes(100), gzip.compress(KERNEL), b"XX\0\0zimg" * 9],
)
def test_other_kernels_stay_as_they_are(image: bytes) -> None:
    assert unpacked(image, "boot/vmlinuz") is image


@pytest.mark.parametrize(
    "image",
    [
        zboot(gzip.compress(KERNEL)[:-40], "gzip"),
        zboot(gzip.compress(KERNEL), "gzip", size=1 << 30),
        zboot(gzip.compress(KERNEL), "gzip")[:200],
        zboot(zstandard.ZstdCompressor().compress(KERNEL)[:-9], "zstd22"),
        zboot(b"\x1f\x8bnothing of gzip's", "gzip"),
        zboot(b"", "gzip"),
        b"MZ\0\0zimg",
        b"MZ\0\0zimg" + b"\xff" * 5,
    ],
)
def test_damaged(image: bytes) -> None:
    with pytest.raises(InputError, match=r"kernel boot/vmlinuz is damaged"):
        unpacked(image, "boot/vmlinuz")


@pytest.mark.parametrize("how", ["lzma", "lzo", "\x00"])
def test_packed_in_an_unknown_way(how: str) -> None:
    with pytest.raises(InputError, match=f"boot/vmlinuz is packed in an unknown way: {how}"[:-1]):
        unpacked(zboot(b"something else", how), "boot/vmlinuz")
