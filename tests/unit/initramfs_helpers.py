"""Small ELF files, trees and an independent reader of cpio archives, for the initramfs tests."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from pathlib import Path

from selfinstall.rootfs.tree import Entry, Tree

MULTIARCH = "x86_64-linux-gnu"
LIB = f"usr/lib/{MULTIARCH}"
LOADER = "/lib64/ld-linux-x86-64.so.2"

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH = 1, 5, 15, 29
X86_64, AARCH64 = 62, 183


@dataclasses.dataclass(frozen=True)
class Link:
    """A symbolic link in a tree given to :func:`make_tree`."""

    target: str


@dataclasses.dataclass(frozen=True)
class Plain:
    """A file that is not executable."""

    content: bytes


#: None is a directory, bytes a setuid program.
Content = bytes | Plain | Link | None


def make_tree(folder: Path, *layers: Mapping[str, Content]) -> Tree:
    """A tree whose contents lie in one blob a layer in *folder*."""
    made = []
    for number, layer in enumerate(layers):
        blob = folder / f"layer{number}"
        entries: dict[str, Entry] = {}
        content = b"before"
        for path, what in layer.items():
            if what is None:
                entries[path] = Entry("dir", 0o755)
            elif isinstance(what, Link):
                entries[path] = Entry("symlink", 0o777, target=what.target)
            else:
                data = what.content if isinstance(what, Plain) else what
                mode = 0o644 if isinstance(what, Plain) else 0o4755
                entries[path] = Entry("file", mode, len(data), blob, len(content))
                content += data + b"between"
        blob.write_bytes(content)
        made.append(entries)
    return Tree(made)


def elf_program(
    *needed: str,
    interpreter: str | None = None,
    rpath: str | None = None,
    runpath: str | None = None,
    machine: int = X86_64,
) -> bytes:
    """A 64-bit little-endian ELF file with nothing but what a loader reads."""
    strings = b"\0"
    tags: list[tuple[int, int]] = []
    wanted = [(DT_NEEDED, name) for name in needed]
    wanted += [(DT_RPATH, rpath)] if rpath is not None else []
    wanted += [(DT_RUNPATH, runpath)] if runpath is not None else []
    for tag, text in wanted:
        tags.append((tag, len(strings)))
        strings += text.encode() + b"\0"
    phnum = 3 if interpreter is not None else 2
    base = 64 + phnum * 56
    name = interpreter.encode() + b"\0" if interpreter is not None else b""
    table = base + len(name)
    dynamic_at = table + len(strings)
    address = 0x10000
    tags += [(DT_STRTAB, address + table), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    size = dynamic_at + len(dynamic)
    headers = _segment(PT_LOAD, 0, address, size)
    headers += _segment(PT_DYNAMIC, dynamic_at, address + dynamic_at, len(dynamic))
    if interpreter is not None:
        headers += _segment(PT_INTERP, base, address + base, len(name))
    return _header(3, machine, phnum=phnum) + headers + name + strings + dynamic


def elf_module(**info: str | list[str]) -> bytes:
    """A kernel module with nothing but a ``.modinfo``."""
    values = [(k, [v] if isinstance(v, str) else v) for k, v in info.items()]
    modinfo = b"".join(f"{k}={v}".encode() + b"\0" for k, each in values for v in each)
    names = b"\0.modinfo\0.shstrtab\0"
    names_at = 64 + len(modinfo)
    sections = bytes(64) + _section(1, 64, len(modinfo)) + _section(10, names_at, len(names))
    header = _header(1, X86_64, shoff=names_at + len(names), shnum=3, shstrndx=2)
    return header + modinfo + names + sections


def _header(
    kind: int, machine: int, *, phnum: int = 0, shoff: int = 0, shnum: int = 0, shstrndx: int = 0
) -> bytes:
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    phoff = 64 if phnum else 0
    numbers = (kind, machine, 1, 0, phoff, shoff, 0, 64, 56, phnum, 64, shnum, shstrndx)
    return identity + struct.pack("<HHIQQQIHHHHHH", *numbers)


def _segment(kind: int, offset: int, address: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 4, offset, address, address, size, size, 1)


def _section(name: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQIIQQ", name, 1 if name == 1 else 3, 0, 0, offset, size, 0, 0, 1, 0)


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """One entry as a reader of the archive sees it."""

    inode: int
    mode: int
    owner: tuple[int, int]
    links: int
    mtime: int
    devices: tuple[int, ...]
    content: bytes


def read_cpio(archive: bytes) -> dict[str, Unpacked]:
    """Read a newc archive by the format's description; asserts what the kernel asks for."""
    found: dict[str, Unpacked] = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        inode, mode, uid, gid, links, mtime, size, *devices, name_size, check = fields
        name = archive[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0") and b"\0" not in name[:-1]
        assert check == 0
        start = -(-(at + 110 + name_size) // 4) * 4
        at = -(-(start + size) // 4) * 4
        if name == b"TRAILER!!!\0":
            assert size == 0 and not archive[at:].strip(b"\0")
            return found
        path = name[:-1].decode()
        assert path not in found
        content = archive[start : start + size]
        found[path] = Unpacked(inode, mode, (uid, gid), links, mtime, tuple(devices), content)
