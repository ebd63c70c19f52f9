"""Tarballs that cannot be used: each has an error of its own, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import io
import lzma
import random
import resource
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from tar_helpers import (
    COMPRESS,
    elf_header,
    folder,
    hardlink,
    inspect_bytes,
    member,
    rootfs,
    stanza,
    tar,
)

from selfinstall import arch
from selfinstall.errors import HostError, InputError
from selfinstall.events import Event
from selfinstall.request import STDIN
from selfinstall.rootfs import decompress, findings
from selfinstall.rootfs.facts import Compression
from selfinstall.rootfs.inspect import inspect


def error_of(data: bytes, tmp_path: Path) -> InputError:
    """The error that *data* gives; no spool may be left."""
    with pytest.raises(InputError) as caught:
        inspect_bytes(data, tmp_path, spool=True)
    assert not (tmp_path / "spool").exists()
    assert caught.value.exit_status == 3
    assert caught.value.message.isprintable()
    return caught.value


def test_missing_unreadable_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        inspect(tmp_path / "none", spool=tmp_path / "spool")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match=r"cannot read .*loop"):
        inspect(loop)
    with pytest.raises(InputError, match="is a directory") as caught:
        inspect(tmp_path)
    assert "tar -C" in (caught.value.hint or "")
    assert not (tmp_path / "spool").exists()


def test_odd_file_names_stay_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        inspect(tmp_path / "a\nb")
    assert "\n" not in caught.value.message


def test_terminal_as_input() -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(InputError, match="is a terminal"):
        inspect(STDIN, stdin=Terminal())


def test_reading_fails_midway() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match="cannot read standard input: Input/output error"):
        inspect(STDIN, stdin=Broken())


def test_empty(tmp_path: Path) -> None:
    assert "is empty" in error_of(b"", tmp_path).message


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"QFI\xfb" + bytes(1000), "a qcow2 image"),
        (bytes(32769) + b"CD001" + bytes(3000), "an ISO image"),
        (b"PK\x03\x04" + bytes(1000), "a zip archive"),
        (bytes(1080) + b"\x53\xef" + bytes(1000), "an ext4 file system"),
        (b"!<arch>\ndebian-binary   ", "a Debian package"),
        (b"070701" + b"0" * 600, "a cpio archive"),
        (b"\x04\x22\x4d\x18" + bytes(1000), "packed with lz4"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
        (b"just some words\n", "a text file"),
        (b"\x7fELF" + bytes(1000), "a program"),
    ],
)
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_something_else(tmp_path: Path, data: bytes, what: str, compression: Compression) -> None:
    error = error_of(COMPRESS[compression](data), tmp_path)
    assert f"is {what}, not a tarball" in error.message
    assert error.hint


def test_packed_twice(tmp_path: Path) -> None:
    data = COMPRESS["gzip"](COMPRESS["xz"](tar(rootfs())))
    assert "packed with xz twice" in error_of(data, tmp_path).message


def test_noise_and_zeros(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(5000)
    assert "is not a tarball" in error_of(noise, tmp_path).message
    assert "without members" in error_of(bytes(10240), tmp_path).message
    assert "truncated" in error_of(noise[:100], tmp_path).message


@pytest.mark.parametrize("compression", [name for name in COMPRESS if name != "none"])
def test_truncated_compressed_stream(tmp_path: Path, compression: Compression) -> None:
    data = COMPRESS[compression](tar(rootfs()))
    for size in (len(data) // 2, len(data) - 1):
        error = error_of(data[:size], tmp_path)
        assert f"is truncated: its {compression} data ends early" in error.message


@pytest.mark.parametrize("compression", [name for name in COMPRESS if name != "none"])
def test_more_behind_the_compressed_stream(tmp_path: Path, compression: Compression) -> None:
    data = COMPRESS[compression](tar(rootfs()))
    error = error_of(data + b"something else", tmp_path)
    assert f"bad {compression} data" in error.message
    assert error.hint


@pytest.mark.parametrize("compression", [name for name in COMPRESS if name != "none"])
def test_damaged_check_sum(tmp_path: Path, compression: Compression) -> None:
    data = bytearray(COMPRESS[compression](tar(rootfs([member("x", b"ab" * 4000)]))))
    place = {"gzip": -6, "zstd": -2, "bzip2": 12, "xz": len(data) // 2}[compression]
    data[place] ^= 1
    assert "is damaged" in error_of(bytes(data), tmp_path).message


def test_truncated_archive(tmp_path: Path) -> None:
    members = rootfs([member("./usr/share/last", b"x" * 2000)])
    plain = tar(members)
    end = len(plain.rstrip(b"\0")) // 512 * 512 + 512
    for size in (end, end - 512, end - 1000, end + 100):
        error = error_of(plain[:size], tmp_path)
        assert "is truncated: the archive ends early" in error.message, size
    # One block of the end marker is enough: every member is there.
    inspect_bytes(plain[: end + 512], tmp_path)


def test_damaged_header_names_the_place(tmp_path: Path) -> None:
    plain = bytearray(tar(rootfs()))
    place = plain.rindex(b"./usr/lib/os-release")
    plain[place + 3] ^= 1
    error = error_of(bytes(plain), tmp_path)
    assert "checksum of a header is wrong" in error.message
    assert "after 'etc/apt/sources.list'" in error.message


@pytest.mark.parametrize(
    "entry",
    [
        member("./a/../../etc/passwd", b"x"),
        member("../x", b"x"),
        folder("./usr/.."),
        hardlink("./etc/x", "../../etc/shadow"),
        hardlink("./etc/x", "/a/../b"),
    ],
    ids=lambda entry: entry[0].name,
)
def test_climbing(tmp_path: Path, entry: tuple[tarfile.TarInfo, bytes]) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        error = error_of(tar(rootfs([entry]), form), tmp_path)
        assert "climbs out of the rootfs" in error.message
        assert ".." in error.message


def test_names_with_dots_do_not_climb(tmp_path: Path) -> None:
    extra = [member("./usr/share/..x/a..", b"x"), member("/abs/file", b"x")]
    assert inspect_bytes(tar(rootfs(extra)), tmp_path).facts.members == 16


def test_no_dpkg_database(tmp_path: Path) -> None:
    error = error_of(tar(rootfs(without={"./var/lib/dpkg/status"})), tmp_path)
    assert "no dpkg database" in error.message
    assert "--variant=extract" in (error.hint or "")


def test_other_distribution(tmp_path: Path) -> None:
    release = 'ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n'
    made = rootfs([member("./usr/lib/os-release", release)], without={"./var/lib/dpkg/status"})
    error = error_of(tar(made), tmp_path)
    assert "'Alpine Linux v3.20', not a Debian system" in error.message


def test_rootfs_in_a_folder(tmp_path: Path) -> None:
    members = rootfs()
    for info, _ in members:
        info.name = info.name.replace("./", "chroot/", 1)
    error = error_of(tar(members), tmp_path)
    assert "below the folder 'chroot'" in error.message


def test_first_stage_only(tmp_path: Path) -> None:
    error = error_of(tar(rootfs([member("./debootstrap/debootstrap")], status="")), tmp_path)
    assert "debootstrap --foreign" in error.message
    error = error_of(tar(rootfs(status=stanza("x"))), tmp_path)
    assert "does not list dpkg" in error.message


def test_database_beyond_sense(tmp_path: Path) -> None:
    info = tarfile.TarInfo("./var/lib/dpkg/status")
    info.size = 65 << 20
    assert "beyond all sense" in error_of(info.tobuf() + bytes(1024), tmp_path).message


def test_architecture_mismatch(tmp_path: Path) -> None:
    for header, title in (
        (elf_header(183), "64-bit little-endian AArch64"),
        (elf_header(40, 32), "32-bit little-endian ARM"),
        (elf_header(22, 64, ">"), "64-bit big-endian"),
        (elf_header(60000), "machine 60000"),
    ):
        error = error_of(tar(rootfs(program=header)), tmp_path)
        assert "says amd64" in error.message
        assert title in error.message
        assert "/usr/bin/dpkg" in error.message


def test_mismatch_names_the_known_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    amd64 = arch.get("amd64")
    elf = arch.Elf(machine="EM_AARCH64", bits=64, little_endian=True)
    other = dataclasses.replace(amd64, name="other", elf=elf)
    monkeypatch.setattr(findings, "all_arches", lambda: {"amd64": amd64, "other": other})
    assert "(other)" in error_of(tar(rootfs(program=elf_header(183))), tmp_path).message


def test_no_program(tmp_path: Path) -> None:
    assert "no ELF program" in error_of(tar(rootfs(program=b"#!/bin/sh\n")), tmp_path).message
    assert "no ELF program" in error_of(tar(rootfs(program=elf_header()[:30])), tmp_path).message
    error = error_of(tar(rootfs(without={"./usr/bin/dpkg"})), tmp_path)
    assert "neither dpkg nor a shell" in error.message


def test_unsupported_architecture_is_for_the_plan_to_refuse(tmp_path: Path) -> None:
    made = rootfs(status=stanza("dpkg", arch="pdp11"), program=elf_header(2, 32))
    assert inspect_bytes(tar(made), tmp_path).facts.architecture == "pdp11"


def test_zstd_window_too_large(tmp_path: Path) -> None:
    frame = decompress.ZSTD_MAGIC + bytes((0, (28 - 10) << 3)) + b"\x09\0\0x"
    error = error_of(frame, tmp_path)
    assert "more than 128 MiB of memory" in error.message
    assert "--long=27" in (error.hint or "")


def test_xz_dictionary_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "XZ_MEMORY", 1 << 20)
    error = error_of(lzma.compress(tar(rootfs())), tmp_path)
    assert "more than 1 MiB of memory" in error.message


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Writing more than 64 KiB to a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk(tmp_path: Path, small_files_only: None) -> None:
    data = COMPRESS["zstd"](tar(rootfs([member("x", b"x" * 200000)])))
    with pytest.raises(HostError) as caught:
        inspect_bytes(data, tmp_path, spool=True)
    assert str(tmp_path) in caught.value.message
    assert any(part.isdigit() and int(part) > 200000 for part in caught.value.message.split())
    assert not (tmp_path / "spool").exists()


def test_spool_in_no_folder(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(tar(rootfs()))
    with pytest.raises(HostError, match="cannot write in"):
        inspect(tmp_path / "t", spool=tmp_path / "none" / "spool")


def test_interruption_leaves_no_spool(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if event.event == "progress":
            raise KeyboardInterrupt

    (tmp_path / "t").write_bytes(tar(rootfs()))
    with pytest.raises(KeyboardInterrupt):
        inspect(tmp_path / "t", spool=tmp_path / "spool", on_event=interrupt)
    assert not (tmp_path / "spool").exists()


def _inspect_anyhow(data: bytes) -> bool:
    """Whether *data* is a good tarball; any other exception than InputError goes through."""
    try:
        inspect(STDIN, stdin=io.BytesIO(data))
    except InputError as error:
        assert error.message.isprintable()
        return False
    return True


RICH = [
    member("./usr/share/" + "long/" * 60 + "name", b"x"),
    hardlink("./usr/bin/sh", "./usr/bin/dpkg"),
    member("./etc/apt/sources.list.d/x.sources", "Types: deb\nSuites: x\nComponents: main\n"),
    member("./boot/vmlinuz-6.1", b"k"),
]


@pytest.mark.parametrize("compression", COMPRESS)
def test_truncated_anywhere(compression: Compression) -> None:
    plain = tar(rootfs(RICH), tarfile.PAX_FORMAT)
    data = COMPRESS[compression](plain)
    # Behind the first block of the end marker there is only padding.
    last = len(plain.rstrip(b"\0")) // 512 * 512 + 1023 if compression == "none" else len(data) - 1
    sizes = {*range(0, last, max(1, last // 150)), *range(last - 20, last + 1)}
    assert not any(_inspect_anyhow(data[:size]) for size in sizes)


@pytest.mark.parametrize("compression", COMPRESS)
def test_damaged_anywhere(compression: Compression) -> None:
    dice = random.Random(2)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = COMPRESS[compression](tar(rootfs(RICH), form))
        good = 0
        for _ in range(200):
            damaged = bytearray(data)
            for _ in range(dice.choice((1, 1, 5))):
                damaged[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            good += _inspect_anyhow(bytes(damaged))
        # Tar itself has check sums for headers only, compressed streams for all.
        assert good < 200 if compression == "none" else good < 10


def _fixed(block: bytearray) -> bytes:
    """*block* with the checksum that it should have."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_headers_with_good_checksum_and_bad_content() -> None:
    dice = random.Random(3)
    data = tar(rootfs(RICH), tarfile.PAX_FORMAT)
    places = [n for n in range(0, len(data), 512) if data[n + 257 : n + 262] == b"ustar"]
    for _ in range(300):
        damaged = bytearray(data)
        place = dice.choice(places)
        field = dice.choice((0, 100, 124, 125, 135, 156, 157, 257, 345, 386, 482, 483))
        damaged[place + field] = dice.choice((0, 0x80, 0xFF, *b"079SLKxgVMD1", 0x2F))
        damaged[place : place + 512] = _fixed(damaged[place : place + 512])
        _inspect_anyhow(bytes(damaged))


def test_pax_records_with_bad_content() -> None:
    dice = random.Random(4)
    values = ("", "-1", "x", "9" * 30, "1,2,3", "0,5", "1", "/", "a\n", "..", "7\0")
    keys = ("path", "linkpath", "size", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major")
    keys += ("GNU.sparse.realsize", "GNU.sparse.offset", "GNU.sparse.numbytes", "GNU.sparse.name")
    for _ in range(200):
        info, content = member("./etc/hostname", b"5\n0\n3\n" + bytes(600))
        info.pax_headers = {dice.choice(keys): dice.choice(values) for _ in range(4)}
        _inspect_anyhow(tar(rootfs([(info, content)]), tarfile.PAX_FORMAT))


def test_zstd_frames_with_bad_structure() -> None:
    dice = random.Random(5)
    data = zstandard.ZstdCompressor().compress(tar(rootfs()))
    for _ in range(300):
        damaged = data[: dice.randrange(4, 12)] + dice.randbytes(dice.randrange(1, 40))
        _inspect_anyhow(damaged + struct.pack("<I", dice.getrandbits(32)))
