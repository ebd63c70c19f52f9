# ruff: noqa: E402
"""The parsers: for each, inputs that it takes, how to make worse ones, and how to call it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import random
import struct
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

UNIT = Path(__file__).parents[1] / "unit"
sys.path.insert(0, str(UNIT))

import adapt_helpers
import deb_helpers
import initramfs_helpers as elves
import tar_helpers as tars

from selfinstall import manifest
from selfinstall.adapt.ext import Ext
from selfinstall.adapt.stream import ImageStream
from selfinstall.image import ext4
from selfinstall.image import inspect as images
from selfinstall.initramfs import bzimage, elf, modules, zboot
from selfinstall.initramfs.merged import MergedTree
from selfinstall.layers.store import Damaged, Store
from selfinstall.packages import control, deb, keyring, order, problems, resolve, sources, target
from selfinstall.packages.cache import Cache
from selfinstall.packages.resolution import Fetched, Package
from selfinstall.qemu.console import Console
from selfinstall.qemu.messages import Decoder, TooManyMessages
from selfinstall.qemu.qmp import Qmp
from selfinstall.qemu.supervise import panic
from selfinstall.rootfs import apt, dpkg, layer
from selfinstall.rootfs.inspect import inspect
from selfinstall.rootfs.tree import Entry, Tree
from selfinstall.stage import cut_out, of_tarball
from selfinstall.unpacking import contents, view
from tests.fuzz.mutate import checksummed, mutated

CORPUS = Path(__file__).parent / "corpus"
Run = Callable[[bytes, Path], object]
Make = Callable[[random.Random], bytes]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One parser.

    :param seeds: inputs that it takes.
    :param run: gives it an input; may use the folder.
    :param make: makes an input of the seeds; None for mutated seeds as they are.
    :param expected: what it may raise besides the errors that users see.
    """

    name: str
    seeds: Sequence[bytes]
    run: Run
    making: Make | None = None
    expected: tuple[type[Exception], ...] = ()

    def make(self, dice: random.Random) -> bytes:
        if self.making is not None:
            return self.making(dice)
        return mutated(dice, dice.choice(self.seeds), self.seeds)


# -- tarballs --------------------------------------------------------------------------------


def _pax(name: str, content: bytes = b"", **headers: str) -> tuple[tarfile.TarInfo, bytes]:
    info, data = tars.member(name, content)
    info.pax_headers = {key.replace("__", "."): value for key, value in headers.items()}
    return info, data


def _old_sparse() -> bytes:
    """A sparse member as GNU tar writes them, with an extension block."""
    info, _ = tars.member("./boot/vmlinuz-6.1", b"k" * 2048)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = b"S"
    for number in range(4):
        place = 386 + 24 * number
        block[place : place + 24] = b"%011o\0%011o\0" % (4096 * number, 256)
    block[482], block[483:495] = 1, b"%011o\0" % 65536
    more = bytearray(512)
    for number in range(4):
        more[24 * number : 24 * number + 24] = b"%011o\0%011o\0" % (16384 + 4096 * number, 256)
    return checksummed(bytes(block)) + bytes(more) + b"k" * 2048 + bytes(1024)


def _rootfs(format: int) -> bytes:
    held = deb_helpers.deb_bytes("held", suffix=".gz")
    extra = [
        tars.member("./var/cache/apt/archives/held_1_all.deb", held),
        tars.member("./boot/vmlinuz-6.1.0-1-amd64", b"MZkernel"),
        tars.hardlink("./boot/vmlinuz-again", "./boot/vmlinuz-6.1.0-1-amd64"),
        tars.member("./usr/share/keyrings/x-archive-keyring.gpg", b"\x98\x33key"),
        tars.member("null", type=tarfile.CHRTYPE),
        tars.member("./" + "long/" * 40 + "name", b"x"),
        tars.symlink("./etc/link", "/" + "far/" * 40),
        tars.folder("./debootstrap"),
    ]
    if format == tarfile.PAX_FORMAT:
        extra += [
            _pax("a", b"x", SCHILY__xattr__user__x="1", SCHILY__acl__access="user::rwx"),
            _pax("b", b"y" * 600, **{"SCHILY.xattr.system.posix_acl_access": "2"}),
            _pax("c", b"1\n0\n3\n".ljust(512, b"\0") + b"abc", GNU__sparse__major="1",
                 GNU__sparse__minor="0", GNU__sparse__realsize="9", GNU__sparse__name="./d"),
            _pax("e", b"abc", GNU__sparse__map="0,1,4,2", GNU__sparse__size="9"),
            _pax("ü", b"z", mtime="1.5", size="1"),
        ]  # fmt: skip
    return tars.tar(tars.rootfs(extra), format)


TARBALLS = [_rootfs(tarfile.GNU_FORMAT), _rootfs(tarfile.PAX_FORMAT)]
TARBALLS += [tars.tar(tars.rootfs()), tars.tar(tars.rootfs())[:-1024] + _old_sparse()]
TARBALLS.append(tars.tar(tars.rootfs(status=tars.stanza("adduser", state="unpacked"))))


def _tarball(dice: random.Random) -> bytes:
    data = mutated(dice, dice.choice(TARBALLS), TARBALLS)
    return checksummed(data) if dice.random() < 0.9 else data


def _packed(dice: random.Random) -> bytes:
    pack = dice.choice(list(tars.COMPRESS.values()))
    data = pack(_tarball(dice))
    return mutated(dice, data) if dice.random() < 0.8 else data


def _inspect(data: bytes, folder: Path) -> None:
    path, spool = folder / "rootfs", folder / "spool"
    path.write_bytes(data)
    with contextlib.ExitStack() as stack:
        stack.callback(spool.unlink, missing_ok=True)
        found = inspect(path, spool=spool)
        tree = Tree([found.layer])
        for each in ("etc/os-release", "bin/sh", "sbin/init", "etc/link/x"):
            tree.resolve(each)
        MergedTree(tree).find("bin/sh")
        stage = of_tarball(found.dpkg_status, found.facts.held)
        target.architectures(found.facts.architecture, stage.status)
        for path in cut_out(found.facts.held, spool, folder).values():
            path.unlink()
        view.scan(spool, found.facts.tar_bytes, ["usr/bin/x"])
        for each, text in found.facts.sources:
            sources.parse(each, text)


# -- packages --------------------------------------------------------------------------------

STATUS = "".join(
    tars.stanza(name, version, arch, state)
    for name, version, arch, state in (
        ("dpkg", "1.22", "amd64", "installed"),
        ("libc6", "2.41-12", "i386", "installed"),
        ("adduser", "3.1", "all", "unpacked"),
        ("x", "1:1~rc1", "all", "half-installed"),
        ("gone", "1", "s390x", "config-files"),
    )
).encode()


def _status(data: bytes, folder: Path) -> None:
    dpkg.parse_status(data)
    dpkg.as_configured(data)
    target.architectures("amd64", data)
    dpkg.parse_os_release(data.decode("utf-8", "replace"))


CONTROL = b"""Package: apt
Version: 3.0.3
Architecture: amd64
Essential: yes
Pre-Depends: dpkg (>= 1.22) | other [amd64], base:any
Depends: libc6 (>= 2.38), adduser <!x>
Provides: apt-transport-https (= 3.0.3), apt-utils
Installed-Size: 4321
Multi-Arch: same
Description: commandline package manager
 This package provides
 .
 things
"""


def _control(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "replace")
    fields = next(iter(sources.paragraphs(text)), None)
    if fields is None or not all(fields.get(f) for f in ("Package", "Version", "Architecture")):
        return
    one = control.parse(fields.dump())
    control.base([one, control.parse(CONTROL.decode())])
    control.without([one], ["libc6"])
    control.installed([one])


DEBS = [deb_helpers.deb_bytes("app", suffix=suffix) for suffix in deb_helpers.COMPRESS]


def _deb(dice: random.Random) -> bytes:
    """A package whose parts are worse than they look, or one that is damaged as a whole."""
    if dice.random() < 0.3:
        return mutated(dice, dice.choice(DEBS), DEBS)
    suffix = dice.choice(list(deb_helpers.COMPRESS))
    pack = deb_helpers.COMPRESS[suffix]
    files = {
        "control": mutated(dice, CONTROL),
        "conffiles": b"/etc/x\n",
        "triggers": b"activate y\n",
    }
    tar = checksummed(mutated(dice, deb_helpers.tar(files)))
    data = checksummed(mutated(dice, deb_helpers.tar({"etc/x": b"x", "usr/bin/y": b"y" * 999})))
    parts = {
        "debian-binary": b"2.0\n",
        f"control.tar{suffix}": pack(tar),
        f"data.tar{suffix}": pack(data),
    }
    if dice.random() < 0.3:
        name = dice.choice(list(parts))
        parts[name] = mutated(dice, parts[name])
    return deb_helpers.ar(parts)


def _read_deb(data: bytes, folder: Path) -> None:
    path, out = folder / "x.deb", folder / "out"
    path.write_bytes(data)
    with contextlib.suppress(deb.InputError):
        deb.control_in_stream(io.BytesIO(data).read, "x")
    fields = deb.control(path)
    with out.open("wb") as stream:
        place = deb.repack(path, stream)
    package = Package(
        name=fields["Package"], version="1", architecture="all", filename="x", sha256="",
        size=1, installed_size=1, automatic=False,
    )  # fmt: skip
    fetched = Fetched(
        package=package, path=out, data_offset=place.data_offset, data_size=place.data_size
    )
    layer.index_tar(out, place.data_offset, place.data_size, layer.initramfs_path)
    found = contents.read(fetched)
    _ = found.conffiles, found.qualified


SOURCES = [
    b"deb http://deb.example.org/debian trixie main contrib # x\n"
    b"deb [arch=amd64,i386 signed-by=/usr/share/keyrings/x.gpg] https://e.example.org/d ./\n"
    b"deb-src http://deb.example.org/debian trixie main\n",
    b"Types: deb deb-src\nURIs: http://deb.example.org/debian https://x.example.org\n"
    b"Suites: trixie trixie-updates trixie-security\nComponents: main\n"
    b"Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEZ\n =abcd\n"
    b" -----END PGP PUBLIC KEY BLOCK-----\nEnabled: yes\nTrusted: yes\n\n# x\n",
]


def _sources(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "replace")
    for name in ("etc/apt/sources.list", "x.sources"):
        found = list(apt.parse(name, text))
        apt.main_suite(found)
        apt.signed_by(found)
    for name in ("etc/apt/sources.list", "x.sources", "neither"):
        with contextlib.suppress(sources.InputError):
            parsed = sources.parse(name, text)
            kept, _ = sources.usable(parsed, ("amd64",), local=False)
            again = sources.parse("x.sources", sources.render(kept))
            if len(again) != len(kept):
                raise AssertionError(f"{len(kept)} sources were written, {len(again)} are read")
            sources.with_mirror(kept, "http://m.example.org", "trixie", ("amd64",))


ARMOURED = b"""-----BEGIN PGP PUBLIC KEY BLOCK-----
Comment: x

mDMEZgkAARYJKwYBBAHaRw8BAQdA
=abcd
-----END PGP PUBLIC KEY BLOCK-----
"""


def _keyring(data: bytes, folder: Path) -> None:
    found = keyring.trusted(
        [("etc/apt/trusted.gpg.d/x.asc", data), ("./usr/share/keyrings/y", data)]
    )
    keyring.merged(found)
    keyring.named("/usr/share/keyrings/y.gpg", found)
    keyring.binary("x", data)


APT = [
    b"Inst libc6 [2.36] (2.41-12 Debian:13.0/stable [amd64]) [dpkg:amd64 ]\n"
    b"Conf libc6 (2.41-12 Debian:13.0/stable [amd64])\nRemv x [1]\n"
    b"Note, selecting 'a' instead of 'b'\n",
    b"E: Failed to fetch http://x:y@deb.example.org/debian/InRelease  Could not resolve 'x'\n"
    b"W: GPG error: http://deb.example.org x InRelease: NO_PUBKEY 0123456789ABCDEF\n"
    b"E: The repository 'http://deb.example.org x InRelease' is not signed.\n",
    b"The following packages have unmet dependencies:\n a : Depends: b (>= 2) but it is not\n"
    b"     Depends: c but 1 is to be installed\nE: Unable to correct problems\n",
    b"Package x is a virtual package provided by:\n  y 1\n  z 2\n",
]


def _apt(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "replace")
    problems.acquire_problem(text)
    problems.install_problem(text, "x")
    actions = resolve._actions(text)
    pre = {action.key: order.names(text[:200]) for action in actions}
    with contextlib.suppress(ValueError):
        order.plan(actions, pre, pre, {action.key: "x" for action in actions})


# -- programs and kernels ----------------------------------------------------------------------

PROGRAMS = [
    elves.elf_program("libc.so.6", "libx.so", interpreter=elves.LOADER, runpath="$ORIGIN/../lib"),
    elves.elf_program("libc.so.6", rpath="/usr/lib:${LIB}"),
    elves.elf_module(depends="x,y", alias=["pci:1", "crypto-z"], softdep="pre: z post: w"),
    b"#!/usr/bin/env -S sh x\n",
    b"#! /bin/sh\n",
]


def _tree(folder: Path, files: dict[str, bytes]) -> Tree:
    path = folder / "blob"
    entries: dict[str, Entry] = {}
    place = 0
    with path.open("wb") as stream:
        for name, content in files.items():
            stream.write(content)
            entries[name] = Entry("file", 0o755, len(content), path, place)
            place += len(content)
    return Tree([entries])


def _elf(data: bytes, folder: Path) -> None:
    with contextlib.suppress(elf.InputError):
        elf.section_bytes(data, ".modinfo", "x")
    with contextlib.suppress(elf.InputError):
        elf.parse_dynamic(data, "x")
    library = elves.elf_program()
    tree = _tree(
        folder,
        {
            "usr/bin/x": data,
            "usr/bin/sh": library,
            "usr/bin/env": library,
            "usr/lib/libx.so": data,
            f"{elves.LIB}/libc.so.6": library,
            elves.LOADER.lstrip("/"): library,
        },
    )
    elf.library_closure(tree, ["x"], elves.MULTIARCH)


MODULES = [
    elves.elf_module(depends="b,c", alias=["crypto-z", "x"], softdep="pre: b crypto-z post: c"),
    tars.COMPRESS["xz"](elves.elf_module(depends="b")),
    tars.COMPRESS["zstd"](elves.elf_module(softdep="pre: crypto-y")),
    tars.COMPRESS["gzip"](elves.elf_module(depends="")),
]


def _modules(data: bytes, folder: Path) -> None:
    root = "usr/lib/modules/6.1/kernel"
    plain = elves.elf_module(depends="a")
    tree = _tree(
        folder,
        {
            f"{root}/a.ko.xz": data,
            f"{root}/b.ko": plain,
            f"{root}/crypto/z_generic.ko": data,
            f"{root}/lib/c.ko": elves.elf_module(),
            "usr/lib/modules/6.1/modules.builtin": data[:500],
            "usr/lib/modules/6.1/modules.builtin.modinfo": data[:500],
            "boot/vmlinuz-6.1": b"x",
        },
    )
    modules.find_kernel(tree)
    modules.module_closure(tree, "6.1", ["a", "?b"])


def _versions(data: bytes, folder: Path) -> None:
    """Kernels by names that are anything."""
    names = [
        n[:250] for n in data.decode("utf-8", "surrogateescape").split("\n") if "/" not in n and n
    ]
    tree = _tree(folder, {f"boot/vmlinuz-{name}": b"x" for name in (*names[:20], "6.1")})
    modules.find_kernel(tree)
    held = [tars.member(f"./boot/vmlinuz-{n}", "x") for n in names[:20] if n.isprintable()]
    _inspect(tars.tar(tars.rootfs(held), tarfile.PAX_FORMAT), folder)


def _zboot(kind: str, content: bytes) -> bytes:
    packed = tars.COMPRESS[kind](content)  # type: ignore[index]
    name = kind.encode().ljust(8, b"\0")
    return b"MZ\0\0zimg" + struct.pack("<IIQ", 64, len(packed), 0) + name + bytes(32) + packed


def _bzimage(kind: str) -> bytes:
    payload = tars.COMPRESS[kind](PROGRAMS[0])  # type: ignore[index]
    payload += b"" if kind == "gzip" else struct.pack("<I", len(PROGRAMS[0]))
    head = bytes(0x1F1) + b"\1" + bytes(16) + b"HdrS" + struct.pack("<H", 0x20F)
    head = head.ljust(0x248, b"\0") + struct.pack("<II", 0, len(payload))
    return head.ljust(1024, b"\0") + payload


# -- the guest and images -----------------------------------------------------------------------

EVENTS = [
    b'{"event":"begin","hook":"40-unpack"}\n'
    b'{"event":"progress","hook":"40-unpack","done":5,"total":10,"unit":"bytes"}\n'
    b'{"event":"end","hook":"40-unpack","seconds":1.25}\n'
    b'{"event":"note","hook":"40-unpack","message":"t\\u00e9xt \\u202e \\ud800"}\n'
    b'{"event":"ask","hook":"69-layer"}\n{"event":"warning","message":"x"}\n'
    b'{"event":"verdict","ok":false,"hook":"50-configure","message":"exit status 1"}\n',
    b"[" * 4000 + b"\n" + b'{"event":' * 400 + b"\n",
]


def _events(data: bytes, folder: Path) -> None:
    decoder, place = Decoder(), 0
    dice = random.Random(zlib.crc32(data))
    while place < len(data):
        size = dice.choice((1, 7, 100, 5000, 70000))
        for event in decoder.feed(data[place : place + size]):
            message = getattr(event, "message", None) or ""
            if len(str(event)) > 20000 or "\n" in message or "\x1b" in message:
                raise AssertionError("an event that is not bounded")
        place += size
    manifest._packages(data)


QMP = [
    b'{"QMP":{"version":{"qemu":{"micro":0,"minor":2,"major":7}},"capabilities":[]}}\r\n'
    b'{"return":{},"id":"capabilities"}\r\n{"return":{"status":"running"},"id":"status"}\r\n'
    b'{"return":[{"stats":{"rd_operations":5,"wr_operations":7}}],"id":"disks"}\r\n'
    b'{"event":"BLOCK_IO_ERROR","data":{"nospace":true}}\r\n'
    b'{"event":"SHUTDOWN","data":{"reason":"guest-shutdown"}}\r\n{"event":"STOP"}\r\n',
    b"[" * 60000 + b"\n",
]


def _qmp(data: bytes, folder: Path) -> None:
    qmp = Qmp()
    for place in range(0, len(data), 4096):
        qmp.feed(data[place : place + 4096])


CONSOLE = [
    b"\x1b[2J\x1b[01;01HGRUB\r\n[    0.000000] Linux version 6.1\r\n[ \x1b[32m OK \x1b[0m] x\r\n"
    b"\x1b]0;title\x07Kernel panic - not syncing: x\r\nbox login: ",
]


def _console(data: bytes, folder: Path) -> None:
    console = Console()
    for place in range(0, len(data), 1000):
        for line in console.feed(data[place : place + 1000]):
            panic(line)
    if any(
        not (c.isprintable() or c in "\t") for w in console.last_words() for c in w if c < "\x7f"
    ):
        raise AssertionError("control characters in the last words")


def _gpt() -> bytes:
    entry = bytes(range(32)) + struct.pack("<QQQ", 2048, 4095, 4) + "root-x".encode("utf-16-le")
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, 128, 128)
    table = entry.ljust(128, b"\0") * 3
    return bytes(510) + b"\x55\xaa" + header.ljust(512, b"\0") + table.ljust(32 * 512, b"\0")


def _parse_gpt(data: bytes, folder: Path) -> None:
    images.parse_gpt(data)
    path = folder / "disk"
    path.write_bytes(data)
    ext4.read_superblock(path, 0)


EXT4 = bytes(1080) + b"\x53\xef" + struct.pack("<HHHI", 1, 1, 0, 0) + bytes(2000)


def _qcow2() -> bytes:
    """The first clusters of an image that qemu-img made, with a partition table in it."""
    version, header = 3, 104
    data = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", version, 0, 0, 16, 1 << 20, 0, 1, 0x30000,
                       0x10000, 1, 0, 0)  # fmt: skip
    data += struct.pack(">QQQII", 0, 0, 0, 4, header)
    refcounts = struct.pack(">Q", 0x20000).ljust(0x10000, b"\0")
    blocks = (b"\0\1" * 6).ljust(0x10000, b"\0")
    l1 = struct.pack(">Q", 0x40000 | 1 << 63).ljust(0x10000, b"\0")
    l2 = struct.pack(">Q", 0x50000 | 1 << 63).ljust(0x10000, b"\0")
    return data.ljust(0x10000, b"\0") + refcounts + blocks + l1 + l2 + _gpt()


QCOW2 = _qcow2()


def _image(dice: random.Random) -> bytes:
    """Mutations where something is: in the header and at the begin of each cluster."""
    data = bytearray(QCOW2)
    for _ in range(dice.choice((1, 2, 4))):
        start = dice.choice((0, 0, 0, 0x10000, 0x20000, 0x30000, 0x40000, 0x50000))
        piece = mutated(dice, bytes(data[start : start + 112]))[:112]
        data[start : start + len(piece)] = piece
    return bytes(data)


def _inspect_image(data: bytes, folder: Path) -> None:
    path = folder / "image"
    path.write_bytes(data)
    images.inspect_image(path)


@functools.cache
def _file_systems() -> tuple[bytes, ...]:
    """Small ones of several kinds, as mke2fs makes them."""
    made = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        for kind, block in (("ext4", 1024), ("ext2", 1024), ("ext4", 4096)):
            path = Path(name) / f"{kind}-{block}"
            path.touch()
            adapt_helpers.ext(None, kind, "-O", "^has_journal", block=block)(path, 0, 512 << 10)
            made.append(path.read_bytes())
    return tuple(made)


def _ext(dice: random.Random) -> bytes:
    """Mutations where something is: superblock, inodes, folders, trees of extents."""
    data = bytearray(dice.choice(_file_systems()))
    used = [start for start in range(1024, len(data), 128) if any(data[start : start + 128])]
    for _ in range(dice.choice((1, 1, 2, 4))):
        start = dice.choice((1024, dice.choice(used), dice.choice(used)))
        piece = mutated(dice, bytes(data[start : start + 128]))[:128]
        data[start : start + len(piece)] = piece
    return bytes(data)


def _read_ext(data: bytes, folder: Path) -> None:
    path = folder / "disk"
    path.write_bytes(data)
    with path.open("rb") as stream:
        root = Ext(stream, 0, "x")
        root.read("etc/fstab", 1 << 16)
        tar = ImageStream(root, {})
        while tar.read(1 << 20):
            pass


# -- what earlier builds left ---------------------------------------------------------------------

RECORD = {
    "key": "k",
    "files": {name: {"size": 0, "crc": 0} for name in ("disk", "kernel", "initramfs")},
    "about": {"tarball": "x.tar", "system": "Debian", "arch": "amd64", "packages": "3"},
}
CACHED = [
    json.dumps(RECORD).encode(),
    json.dumps({"list": "0" * 64, "sha256.json": "x", "../x": "y", ".": "z"}).encode(),
    json.dumps({"format": 1, "sha256": "0", "data_offset": 1, "data_size": 2}).encode(),
    b"0" * 64 + b"\n{}",
    b"[" * 60000,
]


def _cache(data: bytes, folder: Path) -> None:
    place = folder / "cache"
    store, cache = Store(place), Cache(place)
    entry = place / "layers" / "k"
    entry.mkdir(exist_ok=True)
    for name in ("disk", "kernel", "initramfs"):
        (entry / name).write_bytes(b"")
    (entry / "record.json").write_bytes(data)
    store.kept()
    with store.open("k") as found, contextlib.suppress(Damaged):
        if found is not None:
            found.copy("disk", folder / "disk")
    lists, target_folder = place / "lists" / "k", folder / "lists"
    lists.mkdir(exist_ok=True)
    target_folder.mkdir(exist_ok=True)
    (lists / "list").write_bytes(b"x")
    (lists / "sha256.json").write_bytes(data)
    cache.take_lists("k", target_folder)
    for path in target_folder.iterdir():
        path.unlink()
    (place / "repacked" / "k.json").write_bytes(data)
    (place / "repacked" / "k.deb").write_bytes(data)
    cache.repacked("k")
    (place / "derived" / "k.x").write_bytes(data)
    (place / "derived" / "k.x.json").write_bytes(data)
    cache.derived("k", "x", lambda path: path.write_bytes(b"x") and None).close()
    (place / "decided" / "k").write_bytes(data)
    cache.recall("k")


_ALL = (
    Target(name="tar", seeds=TARBALLS, run=_inspect, making=_tarball),
    Target(name="packed", seeds=[p(TARBALLS[2]) for p in tars.COMPRESS.values()], run=_inspect,
           making=_packed),
    Target(name="status", seeds=[STATUS, tars.OS_RELEASE.encode()], run=_status),
    Target(name="control", seeds=[CONTROL], run=_control),
    Target(name="deb", seeds=DEBS, run=_read_deb, making=_deb),
    Target(name="sources", seeds=SOURCES, run=_sources),
    Target(name="keyring", seeds=[ARMOURED, b"\x98\x33key", ARMOURED * 3], run=_keyring),
    Target(name="apt", seeds=APT, run=_apt),
    Target(name="elf", seeds=PROGRAMS, run=_elf),
    Target(name="modinfo", seeds=MODULES, run=_modules),
    Target(name="kernels", seeds=[b"6.1.0-1\n6.9\n6.10-rc1~x\n1:2-3\n0_1+2\n"], run=_versions),
    Target(name="zboot", seeds=[_zboot(k, b"kernel" * 99) for k in ("gzip", "xz", "zstd", "none")],
           run=lambda data, folder: zboot.unpacked(data, "x")),
    Target(name="bzimage", seeds=[_bzimage(k) for k in ("gzip", "xz", "zstd", "none")],
           run=lambda data, folder: bzimage.unpacked(data)),
    Target(name="events", seeds=EVENTS, run=_events, expected=(TooManyMessages,)),
    Target(name="qmp", seeds=QMP, run=_qmp),
    Target(name="console", seeds=CONSOLE, run=_console),
    Target(name="gpt", seeds=[_gpt(), EXT4], run=_parse_gpt),
    Target(name="image", seeds=[QCOW2, _gpt()], run=_inspect_image, making=_image),
    Target(name="ext", seeds=(), run=_read_ext, making=_ext),
    Target(name="cache", seeds=CACHED, run=_cache),
)  # fmt: skip
TARGETS = {target.name: target for target in _ALL}
