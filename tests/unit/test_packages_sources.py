"""apt's source files: both formats, what is kept, and --mirror."""

from __future__ import annotations

import pytest

from selfinstall.errors import InputError
from selfinstall.packages import sources
from selfinstall.packages.sources import Source, parse, render, usable, with_mirror

URI = "http://example.org/debian"
BLOCK = f"{sources.ARMOUR}\n .\n mQINBF\n =abcd\n -----END PGP PUBLIC KEY BLOCK-----"


def test_one_line_format() -> None:
    text = f"""
# a comment
deb {URI} trixie main contrib   # another
deb-src {URI} trixie main
deb [ arch=amd64,i386 signed-by=/usr/share/keyrings/a.gpg trusted=yes lang=de ] {URI} trixie main
deb {URI} ./
"""
    plain, optioned, flat = parse("etc/apt/sources.list", text)
    assert (plain.uris, plain.suites, plain.components) == (
        (URI,),
        ("trixie",),
        ("main", "contrib"),
    )
    assert optioned.architectures == ("amd64", "i386")
    assert optioned.signed_by == ("/usr/share/keyrings/a.gpg",)
    assert optioned.options == (("Trusted", "yes"),)
    assert (flat.suites, flat.components) == (("./",), ())


def test_deb822_format() -> None:
    text = f"""# a comment alone

Types: deb deb-src
# a comment within
URIs: {URI}
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/a.pgp
Languages: none

types: deb
uris: {URI}
suites: sid
components: main
enabled: no

Types: deb-src
URIs: {URI}
Suites: sid
Components: main

Types: deb
URIs: {URI}
Suites: x
Components: main
Signed-By: {BLOCK}
"""
    first, embedded = parse("debian.sources", text)
    assert first.suites == ("trixie", "trixie-updates")
    assert first.signed_by == ("/usr/share/keyrings/a.pgp",)
    assert embedded.signed_by == ()
    assert embedded.key_block is not None and "mQINBF" in embedded.key_block


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.list", "deb http://example.org/debian"),
        ("a.list", "root:x:0:0:root:/root:/bin/bash"),
        ("a.list", f"deb {URI} trixie"),
        ("a.list", f"deb {URI} ./ main"),
        ("a.sources", f"Types: deb\nURIs: {URI}\n"),
        ("a.sources", "\0\1\2 rubbish"),
        ("mine", f"Types: deb\nURIs: {URI}\nSuites: a b/\nComponents: main\n"),
    ],
)
def test_rubbish_is_refused(name: str, text: str) -> None:
    try:
        found = parse(name, text)
    except InputError as error:
        assert name in error.message
    else:
        assert found == (), "rubbish was taken for a source"


def test_a_file_without_suffix_is_told_by_its_content() -> None:
    assert parse("mine", f"deb {URI} sid main\n")[0].suites == ("sid",)
    deb822 = f"Types: deb\nURIs: {URI}\nSuites: sid\nComponents: main\n"
    assert parse("mine", deb822)[0].suites == ("sid",)


def test_bounds() -> None:
    with pytest.raises(InputError, match="too big"):
        parse("a.list", "#" * (sources.MAXIMUM_BYTES + 1))
    with pytest.raises(InputError, match="more than"):
        parse("a.list", f"deb {URI} a main\n" * (sources.MAXIMUM_SOURCES + 1))


def one(line: str) -> Source:
    return parse("a.list", line)[0]


@pytest.mark.parametrize("uri", ["cdrom:[Debian]/", "file:/srv/debian", "mirror+file:/etc/m.txt"])
def test_local_sources_of_a_tarball_are_dropped_with_a_sentence(uri: str) -> None:
    kept, dropped = usable([one(f"deb {uri} trixie main")], ("amd64",), local=False)
    assert kept == ()
    assert len(dropped) == 1 and uri in dropped[0]


def test_local_sources_of_the_user_stay_but_for_cdrom() -> None:
    every = [one("deb file:/srv/debian trixie main"), one("deb cdrom:[x]/ trixie main")]
    kept, dropped = usable(every, ("amd64",), local=True)
    assert [source.uris for source in kept] == [("file:/srv/debian",)]
    assert len(dropped) == 1


def test_architectures_become_those_of_the_target() -> None:
    every = [
        one(f"deb {URI} a main"),
        one(f"deb [arch=i386,amd64,arm64] {URI} b main"),
        one(f"deb [arch=arm64] {URI} c main"),
    ]
    kept, dropped = usable(every, ("amd64", "i386"), local=False)
    assert [source.architectures for source in kept] == [("amd64", "i386"), ("amd64", "i386")]
    assert len(dropped) == 1 and "arm64" in dropped[0]


def test_mirror_keeps_the_main_suite_alone() -> None:
    every = parse(
        "a.list",
        f"deb {URI} trixie main contrib\ndeb {URI} trixie-updates main\n"
        "deb http://security.example.org/debian-security trixie-security main\n"
        "deb http://other.example.org trixie stable\n",
    )
    (only,) = with_mirror(every, "http://near.example.org/d", "trixie", ("amd64",))
    assert only.uris == ("http://near.example.org/d",)
    assert (only.suites, only.components) == (("trixie",), ("main", "contrib"))


def test_mirror_narrows_a_source_of_several_suites_and_keeps_its_key() -> None:
    text = (
        f"Types: deb\nURIs: {URI}\nSuites: sid sid-updates bookworm/updates\n"
        "Components: main\nSigned-By: /k.gpg\n"
    )
    (only,) = with_mirror(parse("a.sources", text), "http://m.example.org", "sid", ("amd64",))
    assert (only.suites, only.signed_by) == (("sid",), ("/k.gpg",))


def test_mirror_without_sources_needs_the_suite() -> None:
    (only,) = with_mirror((), "http://m.example.org", "trixie", ("amd64",))
    assert (only.suites, only.components) == (("trixie",), ("main",))
    with pytest.raises(InputError, match="suite"):
        with_mirror((), "http://m.example.org", None, ("amd64",))


def test_what_is_rendered_reads_as_the_same() -> None:
    source = Source(
        origin="x.sources, stanza 1",
        uris=(URI, "http://b.example.org"),
        suites=("trixie",),
        components=("main", "contrib"),
        architectures=("amd64",),
        signed_by=("/k.gpg",),
        options=(("Trusted", "yes"), ("Check-Date", "no")),
    )
    flat = Source(origin="x.sources, stanza 2", uris=("copy:/x",), suites=("./",))
    assert parse("x.sources", render([source, flat])) == (source, flat)
