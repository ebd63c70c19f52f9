"""Parsers of the text files in a rootfs."""

from __future__ import annotations

import time

import pytest
from tar_helpers import stanza

from selfinstall.rootfs import apt
from selfinstall.rootfs.dpkg import paragraphs, parse_os_release, parse_status

ONE_LINE = """
# deb http://deb.example.org/debian old main
deb-src http://deb.example.org/debian sources main
deb [ arch=amd64 signed-by=/usr/share/keyrings/a.gpg,/etc/b.asc ] http://x/ trixie-security main
deb\thttp://deb.example.org/debian\ttrixie main contrib # comment
deb [signed-by=ABCDEF0123456789]http://y.example.org/ flat/
deb
"""

DEB822 = """# comment
Types: deb deb-src
URIs: http://deb.example.org/debian
Suites: trixie-updates
 trixie
# in between
Components: main
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
Suites: off
Components: main
Enabled: no

Types: deb
URIs: http://z.example.org/
Suites: z
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 /abc=
"""


def test_one_line_sources() -> None:
    sources = tuple(apt.parse("etc/apt/sources.list", ONE_LINE))
    assert [source.suites for source in sources] == [
        ("trixie-security",),
        ("trixie",),
        ("flat/",),
    ]
    assert sources[1].components == ("main", "contrib")
    assert apt.signed_by(sources) == ("usr/share/keyrings/a.gpg", "etc/b.asc")
    assert apt.main_suite(sources) == "trixie"


def test_deb822_sources() -> None:
    sources = tuple(apt.parse("x.sources", DEB822))
    assert [source.suites for source in sources] == [("trixie-updates", "trixie"), ("z",)]
    assert "usr/share/keyrings/a.gpg" in apt.signed_by(sources)
    assert apt.main_suite(sources) == "trixie"


@pytest.mark.parametrize(
    ("suite", "plain"),
    [
        ("trixie-security", "trixie"),
        ("buster/updates", "buster"),
        ("bookworm-backports-sloppy", "bookworm"),
        ("sid", "sid"),
    ],
)
def test_suite_of_what_stands_aside(suite: str, plain: str) -> None:
    assert apt.main_suite([apt.AptSource((suite,), ("main",), ())]) == plain


def test_no_suite() -> None:
    assert apt.main_suite([]) is None
    assert apt.main_suite([apt.AptSource(("stable",), ("nonfree",), ())]) is None


def test_os_release() -> None:
    text = '# x\nID=debian\nPRETTY_NAME="A \\"B\\""\nVERSION_ID=\'13\'\nnonsense\nEMPTY=\n'
    assert parse_os_release(text) == {
        "ID": "debian",
        "PRETTY_NAME": 'A "B"',
        "VERSION_ID": "13",
        "EMPTY": "",
    }


def test_status_with_odd_layout() -> None:
    text = "\n\n" + stanza("dpkg", "1.22").replace("Version", "VERSION") + "\n\nPackage: cut"
    database = parse_status(text.encode() + b"\xff\n garbage")
    assert database.packages == {"dpkg": "1.22"}
    assert database.architecture == "amd64"


def test_fields_that_are_not_wanted_take_their_lines_along() -> None:
    data = b"Package: x\nDescription: y\n Version: 2\nVersion: 1\n"
    assert list(paragraphs(data, frozenset(("package", "version")))) == [
        {"package": "x", "version": "1"}
    ]


def test_hostile_text_costs_no_time() -> None:
    started = time.monotonic()
    for text in ("\n" * 500_000, " " * 500_000, "deb " * 100_000, "deb [" + " " * 500_000):
        list(apt.parse("a.list", text))
        list(apt.parse("a.sources", text))
        parse_os_release(text)
        parse_status(text.encode())
    assert time.monotonic() - started < 3
