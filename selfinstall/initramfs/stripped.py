"""Kernel modules as depmod reads them, and nothing more.

depmod needs of each module its ``.modinfo`` and its symbols; most of what it
costs under emulation is decompressing everything else.  The guest's own depmod
therefore reads copies that hold these sections only,
uncompressed, under the modules' names (libkmod knows compression by the
content's magic, not by the name).  What it writes is what it would have
written for the modules themselves; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selfinstall.errors import InputError
from selfinstall.initramfs import cpio
from selfinstall.initramfs.cpio import CpioEntry
from selfinstall.initramfs.modules import read_module
from selfinstall.rootfs.inspect import index_tar

#: The name of these archives in the cache; to be changed with what :func:`write_archive` writes.
KIND = "modules-2.cpio"
#: What libkmod looks at for depmod (libkmod-elf.c).  The versions of what a module needs
#: (``__versions``), a third of it all, matter with ``depmod -e`` alone.
KEPT = (b".modinfo", b".symtab", b".strtab", b"__ksymtab_strings")
KEPT_BEGINNING = b"__kcrctab"
#: Of the symbol table, what is needed from others and what is given with a version.
VERSION_SYMBOL = b"__crc_"
SHT_STRTAB, SHT_NOBITS = 3, 8
#: A symbol in a section that is not kept; places from here on are no sections.
SHN_ABS, SHN_LORESERVE = 0xFFF1, 0xFF00
#: e_ident: magic, class, byte order (ELF specification, figure 1-4).
_MAGIC = b"\x7fELF"
#: Names of C++ symbols, the longest there are, have some KiB.
MAXIMUM_NAME = 16 << 10
_ALIGNMENT = 8
_MODULE = re.compile(r"(?:usr/)?lib/modules/[^/]+/kernel/.+\.ko(?:\.[a-z0-9]+)?$")


#: Places in the unpacked file header: e_shoff, e_shnum, e_shstrndx.
_TABLE, _COUNT, _NAMES = 5, 11, 12
#: Places in an unpacked section header: sh_name, sh_type, sh_offset, sh_size, sh_link.
_TITLE, _KIND, _OFFSET, _SIZE, _LINK = 0, 1, 4, 5, 6


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """The headers of one class and byte order (Elf32_Ehdr, Elf64_Shdr and so on).

    :param place_at: which field of a symbol tells its section.
    """

    header: struct.Struct
    section: struct.Struct
    symbol: struct.Struct
    place_at: int

    @classmethod
    def of(cls, content: bytes) -> _Form:
        order = {1: "<", 2: ">"}[content[5]]
        word, section, symbol, place_at = {
            1: ("I", "10I", "IIIBBH", 5),
            2: ("Q", "IIQQQQIIQQ", "IBBHQQ", 3),
        }[content[4]]
        return cls(
            struct.Struct(f"{order}16xHHI3{word}I6H"),
            struct.Struct(order + section),
            struct.Struct(order + symbol),
            place_at,
        )


def strip(content: bytes, name: str) -> bytes:
    """The module *content* without the sections that depmod does not read.

    :param name: for the message.
    :raises InputError: it is no ELF object, or a damaged one.
    """
    try:
        return _strip(content)
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise InputError(f"{name} is no kernel module: {error}") from None


def _strip(content: bytes) -> bytes:
    if content[:4] != _MAGIC or len(content) < 64:
        raise ValueError("no ELF header")
    form = _Form.of(content)
    header = list(form.header.unpack_from(content))
    sections = [
        list(form.section.unpack_from(content, header[_TABLE] + index * form.section.size))
        for index in range(header[_COUNT])
    ]
    names = _data(content, sections[header[_NAMES]])
    read = [0, *(index for index, section in enumerate(sections) if _is_read(section, names))]
    # Symbols and sections tell of other sections by their places in the table.
    places = {old: new for new, old in enumerate(read)}
    new = _symbols(content, [sections[index] for index in read], names, places, form)
    out, titles, table = bytearray(form.header.size), bytearray(), []

    def add(section: list[int], title: bytes, data: bytes) -> None:
        section[_TITLE], section[_OFFSET], section[_SIZE] = len(titles), len(out), len(data)
        table.append(section)
        out.extend(data + bytes(-len(data) % _ALIGNMENT))
        titles.extend(title + b"\0")
        # Sections that overlap could make a file of a few MB into one of many GB.
        if len(out) > 2 * len(content) + _ALIGNMENT * len(sections):
            raise ValueError("its sections overlap")

    add([0] * 10, b"", b"")
    for index in read[1:]:
        section = sections[index]
        title = _text(names, section[_TITLE])
        data = new[title] if title in new else _data(content, section)
        section[_LINK] = places.get(section[_LINK], 0)
        add(section, title, data)
    title = b".shstrtab"
    add([0, SHT_STRTAB, *[0] * 6, 1, 0], title, bytes(titles) + title + b"\0")
    header[_TABLE], header[_COUNT], header[_NAMES] = len(out), len(table), len(table) - 1
    out[: form.header.size] = form.header.pack(*header)
    # struct leaves e_ident, which it does not look at, empty.
    out[:16] = content[:16]
    for section in table:
        out += form.section.pack(*section)
    return bytes(out)


def _is_read(section: list[int], names: bytes) -> bool:
    title = _text(names, section[_TITLE])
    return section[_KIND] != SHT_NOBITS and (title in KEPT or title.startswith(KEPT_BEGINNING))


def _symbols(
    content: bytes,
    sections: list[list[int]],
    names: bytes,
    places: dict[int, int],
    form: _Form,
) -> dict[bytes, bytes]:
    """``.symtab`` and ``.strtab`` with those symbols only that depmod looks at."""
    by_title = {_text(names, section[_TITLE]): section for section in sections[1:]}
    if not {b".symtab", b".strtab"} <= by_title.keys():
        return {}
    strings = _data(content, by_title[b".strtab"])
    table = bytearray(form.symbol.size)
    kept = bytearray(1)
    for symbol in form.symbol.iter_unpack(_data(content, by_title[b".symtab"])):
        start, place = symbol[0], symbol[form.place_at]
        if start and (not place or strings.startswith(VERSION_SYMBOL, start)):
            fields = [len(kept), *symbol[1:]]
            if place < SHN_LORESERVE:
                fields[form.place_at] = places.get(place, SHN_ABS)
            table += form.symbol.pack(*fields)
            kept += _text(strings, start) + b"\0"
    kept += bytes(-len(kept) % _ALIGNMENT)
    return {b".symtab": bytes(table), b".strtab": bytes(kept)}


def _data(content: bytes, section: list[int]) -> bytes:
    offset, size = section[_OFFSET], section[_SIZE]
    if offset + size > len(content):
        raise ValueError("a section lies outside of the file")
    return content[offset : offset + size]


def _text(strings: bytes, start: int) -> bytes:
    return strings[start : strings.index(b"\0", start, start + MAXIMUM_NAME)]


def write_archive(deb: Path, offset: int, size: int, out: Path) -> None:
    """Write the stripped modules of a package as a cpio archive, at ``payload/modules/VERSION/…``.

    :param deb: a .deb whose ``data.tar`` is not compressed; it begins at *offset* and has
        *size* bytes.
    :param out: the archive; empty when the package has no modules.
    :raises InputError: a module is damaged.
    """
    found = index_tar(deb, offset, size, lambda path: _MODULE.match(path) is not None)
    paths = [path for path, entry in found.items() if entry.type == "file"]

    def stripped(path: str) -> CpioEntry:
        content = strip(read_module(found[path], path), path)
        return cpio.regular(f"payload/modules/{path.partition('lib/modules/')[2]}", content, 0o644)

    # Decompressors work outside of Python's lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        entries = list(pool.map(stripped, paths))
    with out.open("wb") as stream:
        if entries:
            cpio.write_cpio(stream, cpio.complete(entries))
