"""Keyrings: told by content, and which of a tarball's are trusted."""

from __future__ import annotations

import base64
import textwrap

import pytest

from selfinstall.errors import InputError
from selfinstall.packages import keyring

BINARY = b"\x99\x02\x0d" + bytes(range(256)) * 2


def armoured(data: bytes, *, header: str = "Comment: x\n", empty: str = "") -> bytes:
    body = "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 64))
    return (
        f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n{header}{empty}\n{body}\n=AbCd\n"
        "-----END PGP PUBLIC KEY BLOCK-----\n"
    ).encode()


def test_binary_stays_and_armour_is_taken_off() -> None:
    assert keyring.binary("a.gpg", BINARY) == BINARY
    assert keyring.binary("a.gpg", armoured(BINARY)) == BINARY
    assert keyring.binary("a.asc", armoured(BINARY).replace(b"\n", b"\r\n")) == BINARY


def test_armour_embedded_in_a_source_and_several_blocks() -> None:
    embedded = armoured(BINARY, header="", empty=" .").replace(b"\n", b"\n ")
    assert keyring.binary("a.sources", embedded) == BINARY
    other = b"\xc6" + BINARY
    assert keyring.binary("a.asc", armoured(BINARY) + armoured(other)) == BINARY + other


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"root:x:0:0\n",
        b"\0\0\0 \1\1\0\2KBXf" + bytes(40),
        armoured(b"plain text"),
        armoured(BINARY).replace(b"\n\nm", b"\n\n*"),
        b"\x85 a private key or something else",
    ],
)
def test_what_is_no_keyring_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"mine\.gpg") as caught:
        keyring.binary("mine.gpg", data)
    assert caught.value.hint is not None and "--keyring" in caught.value.hint


def test_trusted_keys_of_apt_come_first() -> None:
    apt = ("/etc/apt/trusted.gpg.d/a.asc", BINARY)
    archive = ("/usr/share/keyrings/debian-archive-keyring.gpg", BINARY)
    assert list(keyring.trusted([apt, archive])) == ["etc/apt/trusted.gpg.d/a.asc"]
    assert list(keyring.trusted([archive])) == ["usr/share/keyrings/debian-archive-keyring.gpg"]


def test_withdrawn_and_other_keys_are_not_trusted() -> None:
    paths = ["debian-archive-removed-keys.gpg", "some-vendor.gpg"]
    assert keyring.trusted([(f"/usr/share/keyrings/{path}", BINARY) for path in paths]) == {}


def test_a_keyring_is_found_under_another_suffix() -> None:
    mine = {"usr/share/keyrings/debian-archive-keyring.pgp": BINARY}
    assert keyring.named("/usr/share/keyrings/debian-archive-keyring.gpg", mine) == BINARY
    assert keyring.named("/usr/share/keyrings/other.gpg", mine) is None


def test_merging_passes_over_the_unreadable_and_the_same() -> None:
    every = {"a": BINARY, "b": b"rubbish", "c": armoured(BINARY), "d": b"\xc6" + BINARY}
    assert keyring.merged(every) == BINARY + b"\xc6" + BINARY
