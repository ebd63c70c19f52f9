"""The reader of ext file systems against those that mke2fs makes."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapt_helpers import MISSING, debugfs, ext

from selfinstall.adapt.ext import ROOT_INODE, Ext, read_volume
from selfinstall.errors import InputError

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}")

MIB = 1 << 20
#: Block maps and extents; with blocks of 1 KiB, indirect ones of both kinds.
KINDS = [("ext3", 1024), ("ext4", 4096)]
FILES = {
    "empty": b"",
    "short": b"one block\n",
    # Through the double indirect blocks of a file system with blocks of 1 KiB.
    "long": b"".join(struct.pack("<I", n) for n in range(200_000)),
    "sparse": b"begin" + bytes(300_000) + b"middle" + bytes(100_000),
    "folder/below/name with \n and ü": b"odd",
    "fast": b"->short",
    "slow": b"->" + b"x" * 200,
    "broken": b"->/nowhere/at/all",
    # More than a block of names: an index.
    **{f"many/{number:04d}-{'y' * 100}": b"" for number in range(150)},
}
SIZE, START = 8 * MIB, 1 * MIB


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Disks, made once."""
    found = {}
    for kind, block in KINDS:
        disk = tmp_path_factory.mktemp(kind) / "disk"
        with disk.open("wb") as stream:
            stream.truncate(START + SIZE)
        ext(FILES, kind, block=block)(disk, START, SIZE)
        found[kind] = disk.read_bytes()
    return found


@pytest.fixture
def disk(tmp_path: Path, made: dict[str, bytes]) -> Path:
    """A disk with ext4."""
    path = tmp_path / "disk"
    path.write_bytes(made["ext4"])
    return path


def files(system: Ext, number: int = ROOT_INODE, path: str = "") -> Iterator[tuple[str, bytes]]:
    for name, child in system.entries(system.inode(number)):
        inode, here = system.inode(child), f"{path}{os.fsdecode(name)}"
        if stat.S_ISDIR(inode.mode):
            yield from files(system, child, f"{here}/")
        elif stat.S_ISLNK(inode.mode):
            yield here, b"->" + system.target(inode)
        else:
            yield here, b"".join(system.content(inode))


@pytest.mark.parametrize(("kind", "block"), KINDS)
def test_every_file_as_it_is(tmp_path: Path, made: dict[str, bytes], kind: str, block: int) -> None:
    path = tmp_path / "disk"
    path.write_bytes(made[kind])
    with path.open("rb") as stream:
        system = Ext(stream, START, "x")
        assert dict(files(system)) == FILES
        assert (system.volume.block, system.volume.size) == (block, SIZE)
        assert 0 < system.volume.free < SIZE
        assert system.volume.clean


def test_a_hole_is_not_read(disk: Path) -> None:
    debugfs(disk, START, "set_inode_field short size 1000000000000")
    with disk.open("rb") as stream:
        system = Ext(stream, START, "x")
        inode = system.find("short")
        assert inode is not None and inode.size == 10**12
        assert sum(size for _, size, _ in system.runs(inode)) == 4096
        assert system.read("short", 1 << 20) is None


def test_find_and_read(disk: Path) -> None:
    with disk.open("rb") as stream:
        system = Ext(stream, START, "x")
        assert system.read("/short", 100) == b"one block\n"
        assert system.read("short", 3) is None
        assert system.read("fast", 100) is None
        assert system.find("short/below") is None
        assert system.find("folder/nothing") is None


def test_no_file_system(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(8192))
    with (tmp_path / "disk").open("rb") as stream, pytest.raises(InputError, match="no ext"):
        Ext(stream, 0, "x")
    assert read_volume(b"") is None


@pytest.mark.parametrize(
    ("order", "path", "words"),
    [
        ("set_inode_field long block[0] 7", "long", "make no sense"),
        ("set_inode_field long flags 0x80800", "long", "encrypted"),
        ("set_inode_field short block[5] 99999999", "short", "no block"),
        ("set_inode_field folder block[0] 0", "folder/below", "make no sense"),
        ("set_inode_field folder size 99999999999", "folder/below", "bytes large"),
        ("set_inode_field many size 8000000", "many/z", "makes no sense"),
    ],
)
def test_damage_is_an_error(disk: Path, order: str, path: str, words: str) -> None:
    debugfs(disk, START, order)
    with disk.open("rb") as stream, pytest.raises(InputError, match=words):
        system = Ext(stream, START, "x")
        inode = system.find(path)
        assert inode is not None
        b"".join(system.content(inode))


def test_whatever_is_damaged_is_an_error_or_passes(disk: Path, made: dict[str, bytes]) -> None:
    """Bytes of the metadata changed one by one: never anything but an InputError."""
    offsets = (*range(1024, 1400, 7), *range(4096, 4160, 3), *range(1 << 16, 1 << 18, 9973))
    for offset in offsets:
        spoilt = bytearray(made["ext4"])
        spoilt[START + offset] ^= 0xFF
        with disk.open("r+b") as stream:
            stream.seek(START + offset)
            stream.write(spoilt[START + offset :][:1])
            stream.flush()
            with contextlib.suppress(InputError):
                system = Ext(stream, START, "x")
                system.find("folder/below/x")
                system.read("long", 1 << 20)
            stream.seek(START + offset)
            stream.write(made["ext4"][START + offset :][:1])


def test_unknown_features_are_told(made: dict[str, bytes]) -> None:
    data = bytearray(made["ext4"][START + 1024 : START + 2048])
    struct.pack_into("<I", data, 0x60, 0x10)
    with pytest.raises(InputError, match="features"):
        read_volume(bytes(data))


def test_not_unmounted(made: dict[str, bytes]) -> None:
    data = bytearray(made["ext4"][START + 1024 : START + 2048])
    data[0x60] |= 4
    volume = read_volume(bytes(data))
    assert volume is not None and not volume.clean
