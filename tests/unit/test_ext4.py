"""The file system that the host makes: seen by e2fsck, by debugfs and by the reader of images."""

from __future__ import annotations

import errno
import io
import os
import random
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tar_helpers import Members as Entries
from tar_helpers import folder, hardlink, member, symlink, tar

from selfinstall.adapt.ext import Ext
from selfinstall.errors import HostError, InputError
from selfinstall.events import Event
from selfinstall.ext4 import attributes, data, folders, inode, library
from selfinstall.ext4.inode import Stamp
from selfinstall.ext4.make import Archive, make_root, require_tools
from selfinstall.ext4.owners import NOBODY, Owners, owners_of
from selfinstall.host import find_program
from selfinstall.image.tools import run
from selfinstall.rootfs.headers import TarDamageError
from selfinstall.rootfs.members import Member, Members
from selfinstall.rootfs.readers import RegionReader

MISSING = [name for name in ("mke2fs", "e2fsck", "debugfs") if find_program(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}")

START, SIZE = 1 << 20, 256 << 20
EPOCH = 1_700_000_000
UUID = "6c5e04a9-6ffb-4b3c-9d0b-8a6a3d1f0c11"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a disk of archives' members; e2fsck has nothing against it."""

    def made(
        *archives: Entries | bytes,
        owners: Owners = NOBODY,
        size: int = SIZE,
        events: list[Event] | None = None,
    ) -> Path:
        disk = tmp_path / "disk"
        with disk.open("wb") as stream:
            stream.truncate(START + size)
        rows = []
        for number, entries in enumerate(archives):
            path = tmp_path / f"{number}.tar"
            path.write_bytes(
                entries if isinstance(entries, bytes) else tar(entries, tarfile.PAX_FORMAT)
            )
            rows.append(Archive(path=path, size=path.stat().st_size, name=path.name, owners=owners))
        make_root(
            disk, START, size // inode.BLOCK, uuid=UUID, hash_seed=UUID, epoch=EPOCH,
            archives=rows, work=tmp_path, on_event=[].append if events is None else events.append,
        )  # fmt: skip
        program = find_program("e2fsck")
        assert program is not None
        done = run(program, "-f", "-n", f"{disk}?offset={START}")
        assert done.returncode == 0, done.stdout
        return disk

    return made


def read(disk: Path, path: str) -> bytes:
    with disk.open("rb") as stream:
        system = Ext(stream, START, "x")
        found = system.find(path)
        assert found is not None, path
        return b"".join(system.content(found))


def told(disk: Path, command: str) -> str:
    """What debugfs says."""
    program = find_program("debugfs")
    assert program is not None
    return run(program, "-R", command, f"{disk}?offset={START}").stdout


def stat(disk: Path, path: str) -> str:
    return told(disk, f"stat {path}")


def with_values(entry: tuple[tarfile.TarInfo, bytes], **values: object) -> Entries:
    for name, value in values.items():
        setattr(entry[0], name, value)
    return [entry]


def test_contents_of_all_sizes(make: Make) -> None:
    dice = random.Random(1)
    sizes = (0, 1, 4095, 4096, 4097, 65535, 65536, 300_001, 5_000_000)
    files = {f"d{size % 3}/f{size}": dice.randbytes(size) for size in sizes}
    disk = make([member(name, content) for name, content in files.items()])
    assert {name: read(disk, name) for name in files} == files


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS])
def test_where_the_kernel_does_not_copy(
    make: Make, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    calls = []

    def refuse(*words: object) -> int:
        calls.append(words)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    content = random.Random(2).randbytes(3_000_000)
    disk = make([member("one", content), member("two", content)])
    assert read(disk, "one") == read(disk, "two") == content
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("code", "raised"), [(errno.EIO, OSError), (errno.ENOSPC, HostError)], ids=["io", "full"]
)
def test_another_failure_to_copy_is_told(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    code: int,
    raised: type[Exception],
) -> None:
    def fail(*words: object) -> int:
        raise OSError(code, os.strerror(code), str(tmp_path))

    monkeypatch.setattr(os, "copy_file_range", fail)
    with pytest.raises(raised, match=re.escape(str(tmp_path))):
        make([member("one", bytes(100_000))])


def sparse_archive(folder: Path, form: str) -> bytes:
    with (folder / "sparse").open("wb") as stream:
        for offset in range(0, 40 << 20, 5 << 20):
            stream.seek(offset + 5000)
            stream.write(b"here %d" % offset)
        stream.truncate(50 << 20)
    program = find_program("tar")
    assert program is not None
    words = ("--create", "--sparse", f"--format={form}", "--file=sparse.tar", "sparse")
    assert run(program, *words, folder=folder).returncode == 0
    return (folder / "sparse.tar").read_bytes()


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_holes_stay_holes(make: Make, tmp_path: Path, form: str) -> None:
    work = tmp_path / "files"
    work.mkdir()
    disk = make(sparse_archive(work, form))
    assert read(disk, "sparse") == (work / "sparse").read_bytes()
    blocks = re.search(r"Blockcount: (\d+)", stat(disk, "sparse"))
    assert blocks is not None and int(blocks[1]) * 512 < 200_000


def test_more_extents_than_an_inode_holds(make: Make, tmp_path: Path) -> None:
    work = tmp_path / "files"
    work.mkdir()
    disk = make(sparse_archive(work, "gnu"))
    assert "ETB" in told(disk, "stat sparse")


def test_links(make: Make) -> None:
    disk = make(
        [
            member("file", b"x"),
            hardlink("other", "file"),
            hardlink("third", "./other"),
            symlink("short", "a" * 59),
            symlink("long", "b" * 60),
            symlink("longest", "c" * 4095),
            hardlink("soft", "long"),
        ]
    )
    assert "Links: 3" in stat(disk, "file") and read(disk, "third") == b"x"
    with disk.open("rb") as stream:
        system = Ext(stream, START, "x")
        names = dict(system.entries(system.inode(2)))
        assert names[b"long"] == names[b"soft"]
        for name, target in (
            (b"short", b"a" * 59),
            (b"long", b"b" * 60),
            (b"longest", b"c" * 4095),
        ):
            assert system.target(system.inode(names[name])) == target


def test_a_large_folder_has_an_index(make: Make) -> None:
    names = [f"many/{number:05d}-{'y' * 40}" for number in range(3000)]
    disk = make([member(name, name.encode()) for name in names])
    assert "Flags: 0x81000" in stat(disk, "many")
    assert read(disk, names[1234]) == names[1234].encode()
    with disk.open("rb") as stream:
        system = Ext(stream, START, "x")
        many = system.find("many")
        assert many is not None
        assert {name.decode() for name, _ in system.entries(many)} == {n[5:] for n in names}


def test_names_of_all_kinds(make: Make) -> None:
    names = ["new\nline", "-rf", "x" * 255, "größe/日本", "\udcff\udcfe", "a b\tc", "=", "0" * 9]
    deep = "/".join(["d" * 200] * 19)
    disk = make([member(f"./{name}", name.encode("utf-8", "replace")) for name in [*names, deep]])
    for name in (*names, deep):
        assert read(disk, name) == name.encode("utf-8", "replace")


def test_what_a_member_says_of_itself(make: Make) -> None:
    disk = make(
        [
            *with_values(
                member("file", b"x"), mode=0o4751, uid=4_000_000_000, gid=70_000,
                mtime=1_600_000_000.25,
            ),
            *with_values(member("old", b"x"), mtime=-86400 * 365 * 50),
            *with_values(member("late", b"x"), mtime=4_000_000_000),
            *with_values(folder("folder"), mode=0o3775, mtime=5, uid=1, gid=2),
            *with_values(symlink("soft", "x"), mtime=7, uid=3),
            *with_values(
                member("block", type=tarfile.BLKTYPE), devmajor=259, devminor=70_000, mode=0o600
            ),
            *with_values(member("char", type=tarfile.CHRTYPE), devmajor=1, devminor=3),
            member("fifo", type=tarfile.FIFOTYPE),
            member("below/nothing/said", b"x"),
            *with_values(folder("./"), mode=0o711, gid=9),
        ]
    )  # fmt: skip
    file = stat(disk, "file")
    assert "Mode:  04751" in file and re.search(
        r"User: (?:4000000000|-294967296) +Group: 70000", file
    )
    # Nanoseconds stand before two bits of the epoch.
    assert f"mtime: 0x{1_600_000_000:08x}:{250_000_000 << 2:08x}" in file
    for name in ("ctime", "atime", "crtime"):
        assert f"{name}: 0x{EPOCH:08x}:00000000" in file
    assert f"mtime: 0x{-86400 * 365 * 50 & 0xFFFFFFFF:08x}:00000000" in stat(disk, "old")
    assert f"mtime: 0x{4_000_000_000:08x}:00000001" in stat(disk, "late")
    assert re.search(
        r"Mode:  03775.*User: +1 +Group: +2 .*mtime: 0x00000005", stat(disk, "folder"), re.S
    )
    assert re.search(r"Mode:  0777.*User: +3 .*mtime: 0x00000007", stat(disk, "soft"), re.S)
    assert "Device major/minor number: 259:70000" in stat(disk, "block")
    assert "Device major/minor number: 01:03" in stat(disk, "char")
    assert "Type: FIFO" in stat(disk, "fifo")
    assert re.search(r"Mode:  0755.*User: +0 ", stat(disk, "below/nothing"), re.S)
    assert re.search(r"Mode:  0711.*Group: +9 .*Links: 5", stat(disk, "/"), re.S)


def test_extended_attributes(make: Make) -> None:
    capability = "\x01\x00\x00\x02\x00\x20" + "\0" * 14
    entry = member("file", b"x")
    entry[0].pax_headers = {
        "SCHILY.xattr.user.comment": "line 1\nline 2",
        "SCHILY.xattr.user.with%3Dand%25": "y",
        "SCHILY.xattr.trusted.large": "z" * 3000,
        "SCHILY.xattr.security.capability": capability,
    }
    link = symlink("soft", "x")
    link[0].pax_headers = {"SCHILY.xattr.trusted.on-link": "l"}
    disk = make([entry, link])
    listed = told(disk, "ea_list file")
    for text in (
        'user.comment (13) = "line 1\\nline 2"',
        "user.with=and% (1)",
        "trusted.large (3000)",
    ):
        assert text in listed
    assert "security.capability (20) = 01 00 00 02 00 20" in listed
    assert "trusted.on-link (1)" in told(disk, "ea_list soft")
    assert read(disk, "file") == b"x"


def acl(name: str) -> str:
    entries = ((1, 6, -1), (2, 4, 12345), (4, 5, -1), (16, 7, -1), (32, 4, -1))
    packed = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, rights, who & 0xFFFFFFFF) for tag, rights, who in entries
    )
    return (
        packed.decode("utf-8", "surrogateescape")
        if name == "attribute"
        else ("user::rw-\nuser:12345:r--\t#effective:r--\ngroup::r-x\nmask::rwx,other::r--\n")
    )


@pytest.mark.parametrize("form", ["text", "attribute"])
def test_access_control_lists(make: Make, form: str) -> None:
    key = "SCHILY.acl." if form == "text" else "SCHILY.xattr.system.posix_acl_"
    entry, below = member("file", b"x"), folder("folder")
    entry[0].pax_headers = {f"{key}access": acl(form)}
    below[0].pax_headers = {f"{key}default": acl(form)}
    plain = member("plain", b"x")
    plain[0].pax_headers = {"SCHILY.acl.access": "user::rwx,group::r-x,other::r-x"}
    disk = make([entry, below, plain])
    # As ext4 has it: its own version, and numbers only where there are names.
    raw = "01 00 00 00 01 00 06 00 02 00 04 00 39 30 00 00 04 00 05 00 10 00 07 00 20 00 04 00"
    assert raw in told(disk, "ea_list file").replace("\n", " ")
    assert raw in told(disk, "ea_list folder").replace("\n", " ")
    assert "system" not in told(disk, "ea_list plain")


def test_what_comes_later_replaces_what_was_there(make: Make) -> None:
    disk = make(
        [
            member("twice", bytes(5000)),
            member("linked", b"stays"),
            hardlink("name", "linked"),
            symlink("way", "usr"),
            folder("empty"),
            folder("kept"),
            member("kept/inside", b"1"),
        ],
        [
            member("twice", b"new"),
            member("name", b"own"),
            folder("way"),
            symlink("empty", "kept"),
            *with_values(folder("kept"), mode=0o700),
            hardlink("kept/inside", "kept/inside"),
        ],
    )
    assert read(disk, "twice") == b"new"
    assert (read(disk, "linked"), read(disk, "name")) == (b"stays", b"own")
    assert "Links: 1" in stat(disk, "linked")
    assert "Type: directory" in stat(disk, "way")
    assert "Type: symlink" in stat(disk, "empty")
    assert "Mode:  0700" in stat(disk, "kept") and read(disk, "kept/inside") == b"1"


def test_links_on_the_way_are_followed(make: Make) -> None:
    disk = make(
        [
            folder("usr/lib"),
            symlink("lib", "usr/lib"),
            symlink("absolute", "/usr/lib"),
            symlink("usr/up", "../../../usr/lib"),
            symlink("slow", "usr/" + "./" * 40 + "lib"),
            member("lib/1", b"1"),
            member("absolute/2", b"2"),
            member("usr/up/3", b"3"),
            member("slow/4", b"4"),
            hardlink("usr/5", "lib/1"),
            symlink("yet", "not/there"),
            member("yet/6", b"6"),
        ]
    )
    for number in "1234":
        assert read(disk, f"usr/lib/{number}") == number.encode()
    assert read(disk, "usr/5") == b"1" and read(disk, "not/there/6") == b"6"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([member("d/f", b""), member("d", b"")], "'d' is both a folder with files in it"),
        ([member("lost+found", b"")], "'lost.found' is both a folder"),
        ([member("f", b""), member("f/g", b"")], "files below 'f', which is no folder"),
        ([symlink("a", "b"), symlink("b", "a"), member("a/x", b"")], "the links of 'a' lead"),
        ([hardlink("x", "gone")], "'x' is a hard link to 'gone', no file"),
        ([folder("d"), hardlink("x", "d")], "'x' is a hard link to 'd', no file"),
        ([member("n" * 256, b"")], "is longer than 255 bytes"),
        ([symlink("s", "t" * 4096)], "longer than 4095 bytes"),
    ],
)
def test_what_cannot_be(make: Make, entries: Entries, message: str) -> None:
    with pytest.raises(InputError, match=f"0.tar cannot be unpacked: .*{message}"):
        make(entries)


def test_no_more_names_than_ext4_counts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inode, "MAXIMUM_LINKS", 2)
    with pytest.raises(InputError, match="more names than ext4 can count"):
        make([member("a", b""), hardlink("b", "a"), hardlink("c", "a")])


def test_a_full_file_system(make: Make) -> None:
    with pytest.raises(HostError, match=r"0\.tar does not fit into the root"):
        make([member("large", bytes(80 << 20))], size=140 << 20)
    with pytest.raises(HostError, match=r"0\.tar does not fit into the root"):
        make([member(f"{n}", b"") for n in range(9000)], size=140 << 20)


def test_an_archive_that_becomes_shorter(make: Make, tmp_path: Path) -> None:
    whole = tar([member("large", bytes(200_000))])
    with pytest.raises(HostError, match="has become shorter"):
        make(whole[:100_000])


def test_the_same_archive_makes_the_same_file_system(make: Make) -> None:
    entries = [member(f"folder/{n}", b"x" * n) for n in range(200)]
    first = make(entries).read_bytes()
    # What is made in the same second could be the same by chance.
    superblock = struct.unpack_from("<5I", first, START + 1024 + 0x2C)
    assert superblock[1] == EPOCH and superblock[0] in (0, EPOCH)
    assert struct.unpack_from("<I", first, START + 1024 + 0x40) == (EPOCH,)
    assert make(entries).read_bytes() == first


def test_progress_reaches_the_end(make: Make) -> None:
    events: list[Event] = []
    make([member("a", bytes(20 << 20)), member("b", b"")], [member("c", b"")], events=events)
    steps = [(event.done or 0, event.total) for event in events]
    assert len(steps) >= 2 and steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    assert {event.step for event in events} == {"unpack"}


def test_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    require_tools()
    library._libraries.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(HostError, match=r"libext2fs\.so\.2") as caught:
        require_tools()
    assert caught.value.hint == "sudo apt install e2fsprogs"
    library._libraries.cache_clear()


def test_what_libext2fs_complains_of(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(100_000))
    with pytest.raises(OSError, match="magic number"):
        library.FileSystem(tmp_path / "disk", 0)
    with pytest.raises(FileNotFoundError):
        library.FileSystem(tmp_path / "none", 0)


# Pure


def one(entry: tuple[tarfile.TarInfo, bytes]) -> Member:
    content = tar([entry], tarfile.PAX_FORMAT)
    reader = RegionReader(io.BytesIO(content), 0, len(content))
    return next(iter(Members(reader, "x")))


@pytest.mark.parametrize(
    ("nanoseconds", "fields"),
    [
        (0, (0, 0)),
        (1, (0, 4)),
        (-1, (0xFFFFFFFF, 999_999_999 << 2)),
        ((1 << 31) * 10**9, (0x80000000, 1)),
        ((1 << 40) * 10**9 + 5, (0x7FFFFFFF, 3)),
        (-(1 << 40) * 10**9, (0x80000000, 0)),
    ],
)
def test_times(nanoseconds: int, fields: tuple[int, int]) -> None:
    assert Stamp(nanoseconds).fields == fields


def test_old_and_base_256_times() -> None:
    entry = member("x", b"")
    block = bytearray(one(entry).block)
    block[136:148] = (-7).to_bytes(12, "big", signed=True)
    found = one(entry)
    found.block = bytes(block)
    assert attributes.attributes(found, NOBODY).modified == Stamp(-7 * 10**9)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"mtime": "soon"}, "no time"),
        ({"uid": "4294967295"}, "an owner is out of range"),
        ({"SCHILY.acl.access": "user::rwx,user:lisa:r--,mask::r--"}, "names"),
        ({"SCHILY.acl.access": "nonsense"}, "makes no sense"),
        ({"SCHILY.acl.access": "mask:7:rwx"}, "makes no sense"),
    ],
)
def test_attributes_that_make_no_sense(headers: dict[str, str], message: str) -> None:
    found = one(member("x", b""))
    found.pax = {name: value.encode() for name, value in headers.items()}
    with pytest.raises(TarDamageError, match=message):
        attributes.attributes(found, NOBODY)


def test_a_number_beside_a_name_counts() -> None:
    found = one(member("x", b""))
    found.pax = {
        "SCHILY.acl.access": b"user::rwx,user:lisa:r--:1000,group::---,mask::r--,other::---"
    }
    [value] = attributes.attributes(found, NOBODY).extended.values()
    assert struct.pack("<HHI", 2, 4, 1000) in value


def test_owners_by_name() -> None:
    owners = owners_of(
        {
            "etc/passwd": b"root:x:0:0::/root:/bin/sh\nbad\nman:x:6:12::/:/x\nman:x:7:7::/:/x\n",
            "etc/group": b"root:x:0:\nmail:x:8:\nodd:x:-1:\n",
        }
    )
    entry = member("x", b"")
    entry[0].uid, entry[0].gid = 1000, 1001
    entry[0].uname, entry[0].gname = "man", "mail"
    found = attributes.attributes(one(entry), owners)
    assert (found.uid, found.gid) == (6, 8)
    entry[0].uname, entry[0].gname = "nobody-here", "odd"
    found = attributes.attributes(one(entry), owners)
    assert (found.uid, found.gid) == (1000, 1001)


def test_runs_of_blocks() -> None:
    assert data.runs(()) == data.runs(((5, 0),)) == []
    assert data.runs(((0, 1),)) == [(0, 1)]
    assert data.runs(((0, 10), (100, 4000), (5000, 1), (20000, 4096))) == [(0, 2), (4, 2)]


def test_a_folder_remembers_names() -> None:
    place = folders.Folder(2, 2)
    dice = random.Random(3)
    known: dict[bytes, tuple[int, int]] = {}
    assert place.empty
    for _ in range(3000):
        name = b"%d" % dice.randrange(900)
        known[name] = (dice.randrange(1, 1 << 32), dice.choice((1, 2, 7)))
        place.put(name, *known[name])
        probe = b"%d" % dice.randrange(1000)
        assert place.get(probe) == known.get(probe)
    assert {name: (number, kind) for name, number, kind in place} == known
    assert b"".join(name for name, _, _ in place) == b"".join(known)


def test_blocks_of_a_folder() -> None:
    place = folders.Folder(12, 2)
    for number in range(400):
        place.put(b"n%0*d" % (number % 40 + 1, number), number + 100, 1)
    found = []
    for block in folders.blocks(place):
        assert len(block) == inode.BLOCK
        at = 0
        while at < inode.BLOCK:
            number, length, size, kind = struct.unpack_from("<IHBB", block, at)
            assert length % 4 == 0 and length >= 8 + size
            found.append((block[at + 8 : at + 8 + size], number, kind))
            at += length
        assert at == inode.BLOCK
        assert found.pop()[1:] == (0, 0xDE)
    assert found[:2] == [(b".", 12, 2), (b"..", 2, 2)]
    assert found[2:] == list(place)
