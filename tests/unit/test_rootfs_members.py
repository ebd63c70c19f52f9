"""Tar in all its dialects."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from tar_helpers import COMPRESS, folder, hardlink, member, symlink, tar

from selfinstall.errors import InputError
from selfinstall.rootfs import decompress, headers, sparse
from selfinstall.rootfs.inspect import index_tar
from selfinstall.rootfs.members import Member, Members
from selfinstall.rootfs.readers import ChunkReader, RegionReader
from selfinstall.rootfs.spool import discard
from selfinstall.rootfs.tree import Entry, Tree


def read(data: bytes, chunk: int = 1000) -> list[Member]:
    """The members of *data*, given in pieces of *chunk* bytes."""
    chunks = (data[n : n + chunk] for n in range(0, len(data), chunk))
    return list(Members(ChunkReader(chunks, discard), "it"))


def everything(path: str) -> bool:
    return True


ODD_NAMES = [
    "new\nline",
    "-rf",
    "x" * 255,
    "größe/日本",
    "\udcff\udcfe",
    "/".join(["d" * 200] * 19),
    "a b\tc",
    "=",
]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("chunk", [1, 511, 4096, 1 << 20])
def test_members_as_tarfile_sees_them(form: int, chunk: int) -> None:
    dice = random.Random(6)
    made = [folder("./"), member("/absolute/x", b"1")]
    for number, name in enumerate(ODD_NAMES):
        made += [
            member(f"./{name}", dice.randbytes(dice.choice((0, 1, 511, 512, 513, 3000)))),
            symlink(f"s{number}", f"../..//{name}"),
            hardlink(f"h{number}", f"./{name}"),
        ]
    fifo, device = member("fifo", type=tarfile.FIFOTYPE), member("null", type=tarfile.CHRTYPE)
    late = member("after", b"z")
    late[0].uid = 1 << 30
    late[0].mtime = -(1 << 33)
    data = tar([*made, fifo, device, late], form)
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        theirs = archive.getmembers()
    ours = read(data, chunk)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.path == other.name.removeprefix(".").lstrip("/")
        assert mine.mode == other.mode
        if other.isreg():
            assert (mine.type, mine.size, mine.offset) == ("file", other.size, other.offset_data)
        if other.issym():
            assert (mine.type, mine.target) == ("symlink", other.linkname)
        if other.islnk():
            assert (mine.type, mine.target) == ("link", other.linkname.removeprefix("./"))
    assert [m.type for m in ours[-3:-1]] == ["other", "other"]


def as_v7(data: bytes) -> bytes:
    """*data*, one header of ustar, as a tar of 1979 would have written it."""
    block = bytearray(data)
    block[257:512] = bytes(255)
    if block[156:157] == b"0":
        block[156] = 0
    block[148:156] = b" " * 8
    block[148:156] = b"%6o\0 " % sum(block)
    return bytes(block)


def test_v7() -> None:
    infos = [tarfile.TarInfo("dir/"), tarfile.TarInfo("dir/file")]
    infos[1].size = 3
    blocks = [as_v7(info.tobuf(tarfile.USTAR_FORMAT)) for info in infos]
    found = read(b"".join(blocks) + b"abc".ljust(512, b"\0") + bytes(1024))
    assert [(m.path, m.type, m.size) for m in found] == [("dir", "dir", 0), ("dir/file", "file", 3)]


def test_checksum_summed_as_signed() -> None:
    info = tarfile.TarInfo("gr\udcfc\udcdfe")
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape"))
    total = sum(block) - sum(block[148:156]) + 256
    block[148:156] = b"%06o\0 " % (total - 512)
    assert [m.path for m in read(bytes(block) + bytes(1024))] == ["gr\udcfc\udcdfe"]


def test_large_sizes_in_base_256() -> None:
    info = tarfile.TarInfo("large")
    info.size = 20 << 30
    reader = ChunkReader(iter([info.tobuf(tarfile.GNU_FORMAT)]), discard)
    assert next(iter(Members(reader, "it"))).size == 20 << 30


def test_global_pax_header_holds_for_all() -> None:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x", "path": "p"}
    ) as archive:
        archive.addfile(tarfile.TarInfo("one"))
    assert [m.path for m in read(out.getvalue())] == ["p"]


def test_header_of_absurd_size() -> None:
    for kind, what in ((b"L", "path"), (b"K", "path"), (b"x", "pax header")):
        info = tarfile.TarInfo("x")
        info.type = kind
        info.size = 1 << 30
        with pytest.raises(InputError, match=f"a {what} of .* beyond all sense"):
            read(info.tobuf() + bytes(1024))


def test_multi_volume() -> None:
    info = tarfile.TarInfo("x")
    info.type = b"M"
    with pytest.raises(InputError, match="another volume"):
        read(info.tobuf() + bytes(1024))


def write_with_holes(path: Path, pieces: int) -> bytes:
    """Make a file of *pieces* pieces of data, with holes around them; return its content."""
    step = 16 << 10
    content = bytearray(step * (pieces + 1))
    with path.open("wb") as stream:
        for number in range(pieces):
            place = step * number + step // 2
            content[place : place + 4096] = bytes([number % 255 + 1]) * 4096
            stream.seek(place)
            stream.write(content[place : place + 4096])
        stream.truncate(len(content))
    return bytes(content)


SPARSE = {
    "oldgnu": ["--format=oldgnu"],
    "gnu": ["--format=gnu"],
    "pax 0.0": ["--format=pax", "--sparse-version=0.0"],
    "pax 0.1": ["--format=pax", "--sparse-version=0.1"],
    "pax 1.0": ["--format=pax", "--sparse-version=1.0"],
}


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize("pieces", [0, 3, 30, 200])
@pytest.mark.parametrize("form", SPARSE)
def test_sparse_files(tmp_path: Path, form: str, pieces: int) -> None:
    content = write_with_holes(tmp_path / "sparse", pieces)
    (tmp_path / "z-after").write_bytes(b"after")
    command = ["tar", "-cSf", "x.tar", "--hole-detection=raw", *SPARSE[form], "sparse", "z-after"]
    subprocess.run(command, cwd=tmp_path, check=True)
    archive = tmp_path / "x.tar"
    index = index_tar(archive, 0, archive.stat().st_size, everything)
    assert index.keys() == {"sparse", "z-after"}
    assert index["sparse"].pieces is not None
    assert index["sparse"].size == len(content)
    assert index["sparse"].read() == content
    assert index["z-after"].read() == b"after"


def test_sparse_map_beyond_the_file() -> None:
    with pytest.raises(headers.TarDamageError):
        sparse.check(((0, 10), (5, 10)), 100, 100)
    with pytest.raises(headers.TarDamageError):
        sparse.check(((0, 101),), 100, 200)
    with pytest.raises(headers.TarDamageError):
        sparse.check(((0, 100),), 100, 99)


def test_region_of_a_file(tmp_path: Path) -> None:
    inner = tar(
        [
            hardlink("./usr/bin/link", "./usr/share/content"),
            member("./usr/bin/x", b"program"),
            folder("./usr/bin/"),
            member("./usr/share/content", b"content"),
            symlink("./usr/bin/s", "x"),
        ]
    )
    package = tmp_path / "x.deb"
    package.write_bytes(b"!<arch>\n" * 9 + inner + b"more")
    index = index_tar(package, 72, len(inner), lambda path: path.startswith("usr/bin"))
    assert index.keys() == {"usr/bin", "usr/bin/x", "usr/bin/s", "usr/bin/link"}
    assert index["usr/bin/x"].read() == b"program"
    assert index["usr/bin/x"].archive == package
    assert index["usr/bin/link"].read() == b"content"
    assert index["usr/bin"].type == "dir"


def test_region_without_end_marker(tmp_path: Path) -> None:
    inner = tar([member("x", b"y" * 600)])[: 512 + 1024]
    archive = tmp_path / "x"
    archive.write_bytes(inner + b"!")
    assert index_tar(archive, 0, len(inner), everything)["x"].size == 600
    with pytest.raises(InputError, match="truncated"):
        index_tar(archive, 0, len(inner) - 1, everything)
    with archive.open("rb") as stream, pytest.raises(InputError, match="truncated"):
        list(Members(RegionReader(stream, 0, len(inner)), "x"))


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "bzip2"])
def test_pieces_are_bounded(compression: str) -> None:
    packed = COMPRESS[compression](bytes(16 << 20))  # type: ignore[index]
    pieces = decompress.decompress(io.BufferedReader(io.BytesIO(packed)), compression, "it")  # type: ignore[arg-type]
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == 16 << 20
    assert max(sizes) <= decompress.OUTPUT


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "bzip2"])
def test_several_streams_one_after_the_other(compression: str) -> None:
    pack = COMPRESS[compression]  # type: ignore[index]
    parts = [b"one", b"", random.Random(7).randbytes(600_000), b"three"]
    padding = b"" if compression == "zstd" else bytes(8)
    packed = padding.join(map(pack, parts)) + padding
    stream = io.BufferedReader(io.BytesIO(packed), 16)  # type: ignore[arg-type]
    assert b"".join(decompress.decompress(stream, compression, "it")) == b"".join(parts)  # type: ignore[arg-type]


def test_zstd_skippable_frames() -> None:
    skip = b"\x53\x2a\x4d\x18\x05\0\0\0hello"
    packed = skip + COMPRESS["zstd"](b"a") + skip + COMPRESS["zstd"](b"b") + skip
    assert decompress.detect(packed) == "zstd"
    stream = io.BufferedReader(io.BytesIO(packed))
    assert b"".join(decompress.decompress(stream, "zstd", "it")) == b"ab"
    with pytest.raises(InputError, match="truncated"):
        list(decompress.decompress(io.BufferedReader(io.BytesIO(packed[:-1])), "zstd", "it"))


def test_zstd_without_content_size_or_in_one_segment() -> None:
    content = random.Random(8).randbytes(300_000) + bytes(3 << 20)
    streamed = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
    for packed in (
        streamed.compress(content) + streamed.flush(),
        zstandard.ZstdCompressor(write_content_size=True).compress(content),
        zstandard.ZstdCompressor(write_content_size=True).compress(content[:100]),
    ):
        stream = io.BufferedReader(io.BytesIO(packed))
        assert content.startswith(b"".join(decompress.decompress(stream, "zstd", "it")))


def test_reader_peeks_without_reading() -> None:
    seen: list[bytes] = []
    reader = ChunkReader(iter([b"abc", b"def", b"ghi"]), seen.append)
    assert reader.read(1) == b"a"
    assert reader.peek(4) == b"bcde"
    assert (reader.read(5), reader.position) == (b"bcdef", 6)
    assert reader.skip(2) == 2
    assert list(reader.rest()) == [b"i"]
    assert (reader.skip(1), reader.position) == (0, 9)
    assert b"".join(seen) == b"abcdefghi"


def test_tree_under_a_folder_only() -> None:
    def entries(*paths: str) -> Iterator[tuple[str, Entry]]:
        return ((path, Entry("file", 0o644)) for path in paths)

    tree = Tree([dict(entries("a/b/c", "a/b-c", "a/b/a", "a/bb/x", "z"))])
    assert [path for path, _ in tree.under("/a/b")] == ["a/b/a", "a/b/c"]
    assert [path for path, _ in tree.under("z")] == []
    assert len(list(tree.under(""))) == 5
