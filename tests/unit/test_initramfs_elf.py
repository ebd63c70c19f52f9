from __future__ import annotations

import random
from pathlib import Path

import pytest
from initramfs_helpers import (
    AARCH64,
    LIB,
    LOADER,
    MULTIARCH,
    Content,
    Link,
    Plain,
    elf_module,
    elf_program,
    make_tree,
)

from selfinstall.errors import InputError
from selfinstall.initramfs import elf
from selfinstall.rootfs.tree import Tree

LOADER_FILES: dict[str, Content] = {
    "usr/lib64/ld-linux-x86-64.so.2": Link(f"../../{LIB}/ld.so"),
    f"{LIB}/ld.so": elf_program(),
}
LIBC: dict[str, Content] = {**LOADER_FILES, f"{LIB}/libc.so.6": Plain(elf_program())}
MERGED: dict[str, Content] = {
    "bin": Link("usr/bin"),
    "lib": Link("usr/lib"),
    "lib64": Link("usr/lib64"),
}


def closure(tree: Tree, *programs: str) -> tuple[str, ...]:
    return elf.library_closure(tree, programs, MULTIARCH)


def test_libraries_of_libraries_and_the_loader(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        {
            **MERGED,
            **LIBC,
            "usr/bin/tar": elf_program("libacl.so.1", "libc.so.6", interpreter=LOADER),
            f"{LIB}/libacl.so.1": Link("libacl.so.1.1"),
            f"{LIB}/libacl.so.1.1": elf_program("libattr.so.1", "libc.so.6"),
            "usr/lib/libattr.so.1": elf_program("libacl.so.1"),  # a cycle
            f"{LIB}/libunused.so.1": elf_program(),
        },
    )
    assert closure(tree, "tar") == (
        "usr/lib/libattr.so.1",
        f"{LIB}/libacl.so.1",
        f"{LIB}/libc.so.6",
        "usr/lib64/ld-linux-x86-64.so.2",
    )
    assert closure(tree, "/bin/tar", "tar") == closure(tree, "usr/bin/tar")


def test_unmerged_package_over_merged_tarball(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        {**MERGED, "sbin": Link("usr/sbin"), **LIBC},
        {
            "bin/kmod": elf_program("libkmod.so.2", interpreter=LOADER),
            "sbin/insmod": Link("/bin/kmod"),
            f"lib/{MULTIARCH}/libkmod.so.2": elf_program("libc.so.6"),
        },
    )
    assert elf.find_program(tree, "insmod") == "usr/sbin/insmod"
    assert f"{LIB}/libkmod.so.2" in closure(tree, "insmod")


@pytest.mark.parametrize("tag", ["runpath", "rpath"])
@pytest.mark.parametrize("origin", ["$ORIGIN/../lib/private", "${ORIGIN}/../lib/private"])
def test_private_folders(tmp_path: Path, tag: str, origin: str) -> None:
    tree = make_tree(
        tmp_path,
        {
            **LIBC,
            "usr/bin/ctl": elf_program("libp.so", **{tag: f"/nowhere:{origin}"}),  # type: ignore[arg-type]
            "usr/lib/private/libp.so": elf_program("libc.so.6"),
        },
    )
    assert closure(tree, "ctl") == ("usr/lib/private/libp.so", f"{LIB}/libc.so.6")


def test_rpath_is_inherited_and_runpath_is_not(tmp_path: Path) -> None:
    files = {
        "usr/lib/private/liba.so": elf_program("libb.so"),
        "usr/lib/private/libb.so": elf_program(),
        "usr/bin/old": elf_program("liba.so", rpath="/usr/lib/private"),
        "usr/bin/new": elf_program("liba.so", runpath="/usr/lib/private"),
        # What is loaded already is found by its name, wherever it lies.
        "usr/bin/both": elf_program("libb.so", "liba.so", runpath="/usr/lib/private"),
    }
    tree = make_tree(tmp_path, files)
    both = ("usr/lib/private/liba.so", "usr/lib/private/libb.so")
    assert closure(tree, "old") == both
    assert closure(tree, "both") == both
    with pytest.raises(InputError, match=r"usr/bin/new needs the library libb\.so"):
        closure(tree, "new")


def test_libraries_of_another_machine_are_passed_over(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        {
            "usr/bin/x": elf_program("liba.so"),
            f"{LIB}/liba.so": elf_program(machine=AARCH64),
            "usr/lib/liba.so": elf_program(),
        },
    )
    assert closure(tree, "x") == ("usr/lib/liba.so",)


def test_scripts_bring_their_interpreters(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        {
            **MERGED,
            **LIBC,
            "usr/bin/sh": Link("dash"),
            "usr/bin/dash": elf_program("libc.so.6", interpreter=LOADER),
            "usr/bin/env": elf_program(),
            "usr/bin/perl": elf_program("libc.so.6"),
            "usr/sbin/one": b"#! /bin/sh -e\nexit\n",
            "usr/sbin/two": b"#!/usr/bin/env -S perl -w\n",
            "usr/sbin/bad": b"#!/bin/zsh\n",
            "usr/sbin/loop": b"#!/usr/sbin/loop\n",
            "usr/sbin/none": b"#!\n",
        },
    )
    assert closure(tree, "one") == (
        "usr/bin/sh",
        f"{LIB}/libc.so.6",
        "usr/lib64/ld-linux-x86-64.so.2",
    )
    assert {"usr/bin/env", "usr/bin/perl"} < set(closure(tree, "two"))
    with pytest.raises(InputError, match="usr/sbin/bad needs /bin/zsh"):
        closure(tree, "bad")
    with pytest.raises(InputError, match="usr/sbin/none names no interpreter"):
        closure(tree, "none")
    assert closure(tree, "loop") == ("usr/sbin/loop",)


def test_static_programs_need_nothing(tmp_path: Path) -> None:
    assert closure(make_tree(tmp_path, {"usr/bin/x": elf_program()}), "x") == ()


def test_missing_library_loader_and_program_are_named(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        {
            "usr/bin/x": elf_program("liba.so.1"),
            "usr/bin/y": elf_program(interpreter=LOADER),
            "usr/bin/z": elf_program("gone"),
            f"{LIB}/gone": Link("gone"),
        },
    )
    with pytest.raises(InputError, match=r"usr/bin/x needs the library liba\.so\.1, which is"):
        closure(tree, "x")
    with pytest.raises(InputError, match=r"usr/bin/y needs /lib64/ld-linux-x86-64\.so\.2"):
        closure(tree, "y")
    with pytest.raises(InputError, match="usr/bin/z needs the library gone"):
        closure(tree, "z")
    with pytest.raises(InputError, match="program nothing is missing"):
        closure(tree, "nothing")


def test_find_program(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        {
            "usr/bin/a": b"x",
            "usr/sbin/a": b"x",
            "bin/b": b"x",
            "usr/bin/plain": Plain(b"x"),
            "usr/bin/folder": None,
            "usr/bin/dangling": Link("nowhere"),
            "usr/bin/awk": Link("/etc/alternatives/awk"),
            "etc/alternatives/awk": Link("/usr/bin/mawk"),
            "usr/bin/mawk": b"x",
            # The same link twice on the way is no loop.
            "usr/bin/twice": Link("/opt/link/../link/x"),
            "opt/link": Link("folder"),
            "opt/folder/x": b"x",
            "usr/bin/loop": Link("pool"),
            "usr/bin/pool": Link("loop"),
        },
    )
    assert elf.find_program(tree, "a") == "usr/sbin/a"
    assert elf.find_program(tree, "b") == "usr/bin/b"
    assert elf.find_program(tree, "awk") == "usr/bin/awk"
    assert elf.find_program(tree, "/bin/awk") == "usr/bin/awk"
    assert elf.find_program(tree, "twice") == "usr/bin/twice"
    for absent in ("plain", "folder", "dangling", "c", "loop"):
        assert elf.find_program(tree, absent) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"MZ", b"\x7fELF", elf_program("libc.so.6")[:80], elf_program("libc.so.6")[:-20]],
)
def test_damaged_files_are_input_errors(tmp_path: Path, content: bytes) -> None:
    tree = make_tree(tmp_path, {"usr/bin/x": content})
    with pytest.raises(InputError, match="usr/bin/x"):
        closure(tree, "x")


def test_no_byte_leads_to_another_exception() -> None:
    dice = random.Random(2)
    samples = (elf_program("liba.so", interpreter=LOADER, runpath="/x"), elf_module(depends="a"))
    failures = 0
    for turn in range(600):
        content = bytearray(samples[turn % 2])
        for _ in range(dice.choice((1, 2, 8))):
            content[dice.randrange(len(content))] = dice.choice((0, 1, 0x7F, 0xFF))
        for parse in (
            lambda data: elf.parse_dynamic(data, "odd"),
            lambda data: elf.section_bytes(data, ".modinfo", "odd"),
        ):
            try:
                parse(bytes(content))
            except InputError as error:
                assert error.message.startswith("odd ")
                failures += 1
    assert failures > 100


def test_counts_that_would_keep_a_reader_busy_are_refused() -> None:
    content = bytearray(elf_module(depends=""))
    content[60:62] = bytes(2)  # no count of sections: "ask the first section"
    with pytest.raises(InputError, match="odd section headers"):
        elf.section_bytes(bytes(content), ".modinfo", "x")
    content = bytearray(elf_program())
    content[56:58] = b"\xff\xff"
    with pytest.raises(InputError, match="65535 segments"):
        elf.parse_dynamic(bytes(content), "x")


def test_section_bytes() -> None:
    content = elf_module(depends="a,b")
    assert elf.section_bytes(content, ".modinfo", "x") == b"depends=a,b\0"
    assert elf.section_bytes(content, ".absent", "x") == b""
