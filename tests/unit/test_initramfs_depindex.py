"""The index of modules: what kmod's own reader finds in it."""

from __future__ import annotations

import random
import string
import struct

import pytest

from selfinstall.initramfs.depindex import dependency_index


def found(index: bytes, name: str) -> str | None:
    """Walk the tree as ``index_file_search`` of kmod does."""
    magic, version, place = struct.unpack_from(">III", index)
    assert (magic, version) == (0xB007F457, 0x00020001)
    rest = name.encode()
    while place:
        kind, place = place & 0xF0000000, place & 0x0FFFFFFF
        if kind & 0x80000000:
            end = index.index(b"\0", place)
            prefix, place = index[place:end], end + 1
            if not rest.startswith(prefix):
                return None
            rest = rest[len(prefix) :]
        children: dict[int, int] = {}
        if kind & 0x20000000:
            first, last = index[place], index[place + 1]
            count = last - first + 1
            numbers = struct.unpack_from(f">{count}I", index, place + 2)
            children = dict(zip(range(first, last + 1), numbers, strict=True))
            place += 2 + 4 * count
        if not rest:
            if not kind & 0x40000000:
                return None
            count, _priority = struct.unpack_from(">II", index, place)
            assert count == 1
            return index[place + 8 : index.index(b"\0", place + 8)].decode()
        place = children.get(rest[0], 0)
        rest = rest[1:]
    return None


@pytest.mark.parametrize(
    "names",
    [
        ("ext4",),
        ("virtio", "virtio_blk", "virtio_mmio", "virtio_pci", "vfat"),
        ("a", "ab", "abc", "b"),
        ("crc16", "crc32c_generic", "libcrc32c", "jbd2", "mbcache", "ext4", "fat", "nls_utf8"),
    ],
    ids=",".join,
)
def test_each_name_leads_to_its_line(names: tuple[str, ...]) -> None:
    lines = {name: f"/modules/{number:02}-{name}.ko:" for number, name in enumerate(names)}
    index = dependency_index(lines)
    assert {name: found(index, name) for name in names} == lines
    for name in names:
        for other in (name[:-1], f"{name}x", f"x{name}", ""):
            assert found(index, other) == lines.get(other)


def test_any_names() -> None:
    chance = random.Random(4)
    letters = string.ascii_lowercase[:4] + "_"
    for _ in range(50):
        names = {"".join(chance.choices(letters, k=chance.randint(1, 6))) for _ in range(40)}
        lines = {name: f"/{name}:" for name in names}
        index = dependency_index(lines)
        assert {name: found(index, name) for name in names} == lines
