"""What a file is when it is no tarball.  Pure."""

from __future__ import annotations

#: (offset, magic, what it is), the surest first.
_MAGICS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"QFI\xfb", "a qcow2 image"),
    (0, b"KDMV", "a VMDK image"),
    (0, b"vhdxfile", "a VHDX image"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image"),
    (32769, b"CD001", "an ISO image"),
    (512, b"EFI PART", "a disk image"),
    (1080, b"\x53\xef", "an ext4 file system"),
    (65600, b"_BHRfS_M", "a btrfs file system"),
    (0, b"XFSB", "an XFS file system"),
    (0, b"hsqs", "a squashfs file system"),
    (0, b"\x7fELF", "a program"),
    (0, b"!<arch>\ndebian-binary", "a Debian package"),
    (0, b"!<arch>\n", "an ar archive"),
    (0, b"070701", "a cpio archive"),
    (0, b"070702", "a cpio archive"),
    (0, b"070707", "a cpio archive"),
    (0, b"\xed\xab\xee\xdb", "an RPM package"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x04\x22\x4d\x18", "packed with lz4"),
    (0, b"LZIP", "packed with lzip"),
    (0, b"\x89LZO", "packed with lzop"),
    (0, b"\x1f\x9d", "packed with compress"),
    (0, b"\x5d\x00\x00", "packed with lzma"),
    (0, b"\x1f\x8b", "packed with gzip twice"),
    (0, b"\xfd7zXZ\x00", "packed with xz twice"),
    (0, b"\x28\xb5\x2f\xfd", "packed with zstd twice"),
    (0, b"BZh", "packed with bzip2 twice"),
    (0, b"%PDF", "a PDF document"),
    (510, b"\x55\xaa", "a disk image"),
)
#: How much of a file's begin :func:`looks_like` can use.
HEAD = 65608


def looks_like(head: bytes) -> str | None:
    """What a file that begins with *head* seems to be, None when there is no telling."""
    for offset, magic, what in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return what
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start and not any(byte < 9 or 13 < byte < 32 for byte in head[:512]):
        return "a text file"
    return None
