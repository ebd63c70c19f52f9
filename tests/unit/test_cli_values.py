"""Option values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from selfinstall.cli import values
from selfinstall.errors import UsageError

GOOD = [
    (values.size, "10G", 10 << 30),
    (values.size, "512M", 512 << 20),
    (values.size, "2GiB", 2 << 30),
    (values.size, "1t", 1 << 40),
    (values.size, "1073741824", 1 << 30),
    (values.memory, "1024", 1024),
    (values.memory, "1G", 1024),
    (values.memory, "768M", 768),
    (values.count, "2", 2),
    (values.seconds, "1.5", 1.5),
    (values.epoch, "0", 0),
    (values.path, "-", Path("-")),
    (values.hostname, "a.example-1", "a.example-1"),
    (values.hostname, "X" * 63, "X" * 63),
    (values.user, "joe_1", "joe_1"),
    (values.package, "g++", "g++"),
    (values.packages, "vim, libc6:amd64,a1=1:2~3-4,,x2/sid", None),
    (values.uri, "file:/srv/mirror", "file:/srv/mirror"),
    (values.architecture, "amd64", "amd64"),
]
BAD = [
    (values.size, "10X"),
    (values.size, "-1G"),
    (values.size, "0"),
    (values.size, ""),
    (values.size, "1.5G"),
    (values.size, "99T"),
    (values.size, "٣G"),
    (values.size, "1e9"),
    (values.memory, "0"),
    (values.memory, "512K"),
    (values.memory, "8589934592"),
    (values.count, "0"),
    (values.count, "256"),
    (values.count, "+1"),
    (values.seconds, "nan"),
    (values.seconds, "inf"),
    (values.seconds, "0"),
    (values.seconds, "soon"),
    (values.epoch, "-1"),
    (values.epoch, "12h"),
    (values.path, ""),
    (values.path, "a\0b"),
    (values.word, " "),
    (values.hostname, "-a"),
    (values.hostname, "a-"),
    (values.hostname, "a_b"),
    (values.hostname, "a..b"),
    (values.hostname, "X" * 64),
    (values.hostname, "a.b\n"),
    (values.hostname, ".".join(["abcdefgh"] * 9)),
    (values.user, "root"),
    (values.user, "Joe"),
    (values.user, "1joe"),
    (values.user, "j" * 33),
    (values.user, "joe:x"),
    (values.package, "vim-"),
    (values.package, "-vim"),
    (values.package, "vim emacs"),
    (values.packages, "vim,--option"),
    (values.packages, ","),
    (values.packages, "vim-"),
    (values.uri, "mirror.example.org/debian"),
    (values.uri, "http://a b"),
    (values.uri, "http:"),
]


@pytest.mark.parametrize(("convert", "text", "value"), GOOD)
def test_good(convert: Callable[[str], object], text: str, value: object) -> None:
    if value is None:
        value = ("vim", "libc6:amd64", "a1=1:2~3-4", "x2/sid")
    assert convert(text) == value


@pytest.mark.parametrize(("convert", "text"), BAD)
def test_bad(convert: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        convert(text)


def test_choice_names_the_choices() -> None:
    convert = values.choice("bios", "efi")
    assert convert("efi") == "efi"
    with pytest.raises(argparse.ArgumentTypeError, match="'uefi' is none of bios, efi"):
        convert("uefi")


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        values.architecture("pdp11")
    assert "amd64" in (caught.value.hint or "")
