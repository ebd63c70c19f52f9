from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import pytest
from initramfs_helpers import read_cpio

from selfinstall.errors import InputError
from selfinstall.initramfs import cpio
from selfinstall.initramfs.cpio import CpioEntry, Region


def packed(entries: list[CpioEntry]) -> bytes:
    stream = io.BytesIO()
    assert cpio.write_cpio(stream, entries) == len(stream.getvalue())
    return stream.getvalue()


def everything(blob: Path) -> list[CpioEntry]:
    blob.write_bytes(b"0123456789")
    return [
        cpio.regular("usr/bin/x", b"abc", 0o755, mtime=7),
        cpio.regular("payload", Region(blob, 3, 5), mtime=7),
        cpio.symlink("bin", "usr/bin", mtime=7),
        cpio.char_device("dev/console", 5, 1, 0o600, mtime=7),
        cpio.directory("tmp", 0o1777, mtime=7),
    ]


def test_each_kind_reads_back(tmp_path: Path) -> None:
    found = read_cpio(packed(everything(tmp_path / "blob")))
    assert list(found) == [
        "bin",
        *("dev", "dev/console"),
        "payload",
        "tmp",
        *("usr", "usr/bin", "usr/bin/x"),
    ]
    modes = {path: stat.filemode(entry.mode) for path, entry in found.items()}
    assert modes["usr/bin/x"] == "-rwxr-xr-x"
    assert modes["bin"] == "lrwxrwxrwx"
    assert modes["dev/console"] == "crw-------"
    assert modes["tmp"] == "drwxrwxrwt"
    assert modes["usr/bin"] == "drwxr-xr-x"
    assert found["payload"].content == b"34567"
    assert found["bin"].content == b"usr/bin"
    # Of the file's device nothing, of the node its number.
    assert found["dev/console"].devices == (0, 0, 5, 1)
    assert {entry.owner for entry in found.values()} == {(0, 0)}
    assert {entry.mtime for entry in found.values()} == {7}
    assert [entry.inode for entry in found.values()] == list(range(1, 9))
    assert {entry.links for entry in found.values() if stat.S_ISREG(entry.mode)} == {1}


def test_order_of_entries_does_not_matter(tmp_path: Path) -> None:
    entries = everything(tmp_path / "blob")
    assert packed(entries) == packed(entries[::-1])


def test_file_and_memory_get_the_same_bytes(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(os.urandom(3 * cpio.CHUNK + 17))
    entries = [
        cpio.regular(f"r{size}", Region(blob, 5, size)) for size in (0, 1, 4096, 3 * cpio.CHUNK)
    ]
    with (tmp_path / "out").open("wb") as stream:
        size = cpio.write_cpio(stream, entries)
    written = (tmp_path / "out").read_bytes()
    assert written == packed(entries)
    assert size == len(written) == cpio.archive_size(entries)


def test_works_where_the_kernel_does_not_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> int:
        raise OSError(errno.EXDEV, "other file system")

    entries = everything(tmp_path / "blob")
    monkeypatch.setattr(os, "copy_file_range", refuse)
    with (tmp_path / "out").open("wb") as stream:
        cpio.write_cpio(stream, entries)
    assert (tmp_path / "out").read_bytes() == packed(entries)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_region_beyond_its_file_is_an_error(tmp_path: Path, in_memory: bool) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"short")
    entries = [cpio.regular("x", Region(blob, 2, 9))]
    with (
        io.BytesIO() if in_memory else (tmp_path / "out").open("wb") as stream,
        pytest.raises(InputError, match=r"blob ends 6 bytes too early"),
    ):
        cpio.write_cpio(stream, entries)


def test_four_gib_is_the_limit() -> None:
    below = Region(Path("payload"), 0, (4 << 30) - 1)
    assert cpio.regular("payload", below).size == (4 << 30) - 1
    with pytest.raises(ValueError, match="below 4 GiB"):
        cpio.regular("payload", Region(Path("payload"), 0, 4 << 30))


@pytest.mark.parametrize(
    "path", ["", "/init", "a//b", "../x", "a/./b", "a\0b", "a/", "TRAILER!!!", "n" * 4096]
)
def test_impossible_names(path: str) -> None:
    with pytest.raises(ValueError):
        cpio.directory(path)


def test_impossible_numbers() -> None:
    with pytest.raises(ValueError, match="time"):
        cpio.directory("x", mtime=-1)
    with pytest.raises(ValueError, match="time"):
        cpio.directory("x", mtime=1 << 32)
    with pytest.raises(ValueError, match="mode"):
        cpio.directory("x", 0o40755)


def test_same_entry_twice_is_one_and_different_ones_an_error() -> None:
    once = cpio.regular("x", b"1")
    assert cpio.complete([once, once]) == (once,)
    with pytest.raises(ValueError, match="two different"):
        cpio.complete([once, cpio.regular("x", b"2")])


def test_a_parent_must_be_a_directory() -> None:
    with pytest.raises(ValueError, match="no directory"):
        cpio.complete([cpio.symlink("bin", "usr/bin"), cpio.regular("bin/sh", b"")])


def test_folders_come_before_their_content() -> None:
    paths = [entry.path for entry in cpio.complete([cpio.regular(p, b"") for p in ("a/b", "a-b")])]
    assert paths == ["a", "a-b", "a/b"]


def test_listing(tmp_path: Path) -> None:
    entries = [*everything(tmp_path / "blob"), cpio.regular("odd\nname", b"")]
    assert cpio.listing(entries) == (
        "lrwxrwxrwx          7 bin -> usr/bin\n"
        "drwxr-xr-x          0 dev\n"
        "crw-------        5,1 dev/console\n"
        "-rw-r--r--          0 odd\\nname\n"
        "-rw-r--r--          5 payload\n"
        "drwxrwxrwt          0 tmp\n"
        "drwxr-xr-x          0 usr\n"
        "drwxr-xr-x          0 usr/bin\n"
        "-rwxr-xr-x          3 usr/bin/x\n"
    )
