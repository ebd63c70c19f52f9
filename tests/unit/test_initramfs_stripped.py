from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from initramfs_helpers import read_cpio

from selfinstall.errors import InputError
from selfinstall.initramfs.stripped import strip, write_archive

SYMBOLS = (("local_thing", 1), ("needed_from_elsewhere", 0), ("__crc_given", 0xFFF1), ("given", 2))


def module(bits: int, order: str) -> bytes:
    """A relocatable ELF object with the sections of a kernel module."""
    strings, table = b"\0", b""
    kind = struct.Struct(order + ("IBBHQQ" if bits == 64 else "IIIBBH"))
    for name, place in (("", 0), *SYMBOLS):
        start = len(strings) if name else 0
        strings += name.encode() + b"\0" if name else b""
        table += (
            kind.pack(start, 0x10, 0, place, 7, 0)
            if bits == 64
            else kind.pack(start, 7, 0, 0x10, 0, place)
        )
    data = {
        "": b"",
        ".text": b"code" * 5000,
        ".modinfo": b"depends=other\0license=GPL\0",
        "__ksymtab_strings": b"given\0",
        "__kcrctab": b"\1\2\3\4",
        "__versions": b"v" * 64,
        ".symtab": table,
        ".strtab": strings,
    }
    titles = b"\0".join(name.encode() for name in (*data, ".shstrtab")) + b"\0"
    data[".shstrtab"] = titles
    section = struct.Struct(order + ("IIQQQQIIQQ" if bits == 64 else "10I"))
    head = 64 if bits == 64 else 52
    body, rows = b"", []
    for number, (name, content) in enumerate(data.items()):
        sort = {"": 0, ".symtab": 2, ".strtab": 3, ".shstrtab": 3}.get(name, 1)
        link = list(data).index(".strtab") if name == ".symtab" else 0
        at = titles.index(name.encode() + b"\0") if number else 0
        size = kind.size if name == ".symtab" else 0
        rows.append((at, sort, 0, 0, head + len(body), len(content), link, 0, 1, size))
        body += content + bytes(-len(content) % 8)
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    header = struct.pack(
        order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"),
        *(1, 62, 1, 0, 0, head + len(body), 0, head, 0, 0),
        *(section.size, len(rows), len(rows) - 1),
    )
    return ident + header + body + b"".join(section.pack(*row) for row in rows)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_depmod_reads_is_kept_and_the_rest_is_gone(bits: int, order: str) -> None:
    whole = module(bits, order)
    small = strip(whole, "x.ko")
    assert len(small) < 1000 < len(whole)
    before, after = (ELFFile(io.BytesIO(content)) for content in (whole, small))
    assert after["e_machine"] == before["e_machine"]
    names = [".modinfo", "__ksymtab_strings", "__kcrctab"]
    assert [section.name for section in after.iter_sections()] == [
        *("", *names), *(".symtab", ".strtab", ".shstrtab"),
    ]  # fmt: skip
    for name in names:
        assert after.get_section_by_name(name).data() == before.get_section_by_name(name).data()
    symbols = list(after.get_section_by_name(".symtab").iter_symbols())
    assert [s.name for s in symbols] == ["", "needed_from_elsewhere", "__crc_given"]
    assert symbols[2].entry.st_value == 7
    assert [s.entry.st_shndx for s in symbols] == ["SHN_UNDEF", "SHN_UNDEF", "SHN_ABS"]


def test_damaged_modules_are_refused() -> None:
    whole = module(64, "<")
    for content in (b"", b"not an ELF file" * 10, whole[:100], whole[:-30]):
        with pytest.raises(InputError, match=r"bad\.ko is no kernel module"):
            strip(content, "bad.ko")
    for place in range(0, len(whole), 97):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        try:
            strip(bytes(broken), "bad.ko")
        except InputError:
            continue


def test_an_archive_holds_the_modules_of_a_package_and_nothing_else(tmp_path: Path) -> None:
    whole = module(64, "<")
    data = {
        "usr/lib/modules/6.1/kernel/a/x.ko": whole,
        "usr/lib/modules/6.1/modules.order": b"kernel/a/x.ko\n",
        "boot/vmlinuz-6.1": b"kernel",
    }
    tar = make_tar(data)
    deb = tmp_path / "deb"
    deb.write_bytes(b"before" + tar)
    write_archive(deb, 6, len(tar), tmp_path / "out")
    found = read_cpio((tmp_path / "out").read_bytes())
    files = {path: entry.content for path, entry in found.items() if entry.content}
    assert files == {"payload/modules/6.1/kernel/a/x.ko": strip(whole, "x")}


def test_a_package_without_modules_gives_nothing(tmp_path: Path) -> None:
    tar = make_tar({"usr/bin/x": b"x"})
    (tmp_path / "deb").write_bytes(tar)
    write_archive(tmp_path / "deb", 0, len(tar), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""


def make_tar(files: dict[str, bytes]) -> bytes:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
