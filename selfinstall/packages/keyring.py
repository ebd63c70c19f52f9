"""OpenPGP keyrings in the one form that every apt reads: binary.  Pure.

apt before 3.0 tells armour from binary by the file's suffix and knows no
``.pgp``; so keyrings are told apart by content and dearmoured here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping

from selfinstall.errors import InputError

#: All of Debian's keys together are about 70 kB.
MAXIMUM_BYTES = 16 << 20
HINT = "give a keyring made by 'gpg --export' with --keyring FILE"

_BEGIN = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n")
_END = b"-----END PGP PUBLIC KEY BLOCK-----"


def binary(name: str, data: bytes) -> bytes:
    """The keyring *data* as binary OpenPGP packets.

    :param name: of the file, for messages.
    :raises InputError: when it is no keyring.
    """
    if len(data) > MAXIMUM_BYTES:
        raise InputError(f"{name}: too big for a keyring", HINT)
    if blocks := tuple(_blocks(data)):
        packets = b"".join(_dearmoured(name, block) for block in blocks)
    elif data[8:12] == b"KBXf":
        raise InputError(f"{name}: a GnuPG keybox, which apt cannot read", HINT)
    else:
        packets = data
    # RFC 9580, 4.2: bit 7 of a packet's first byte is set; 5.5: a keyring begins with a
    # public key, packet type 6, in the old or the new format.
    if not packets or (packets[0] & 0xFC != 0x98 and packets[0] != 0xC6):
        raise InputError(f"{name}: not an OpenPGP keyring", HINT)
    return packets


def _blocks(data: bytes) -> Iterator[bytes]:
    """What stands between begin and end of each armoured block, in one pass."""
    place = 0
    while begin := _BEGIN.search(data, place):
        end = data.find(_END, begin.end())
        if end < 0:
            return
        yield data[begin.end() : end]
        place = end + len(_END)


def _dearmoured(name: str, block: bytes) -> bytes:
    lines = [line.strip() for line in block.splitlines()]
    # deb822 writes an empty line as " ."
    lines = [b"" if line == b"." else line for line in lines]
    body = lines[lines.index(b"") + 1 :] if b"" in lines else lines
    try:
        # A line that starts with "=" is the checksum (RFC 4880, 6.1), which readers may ignore.
        return base64.b64decode(
            b"".join(line for line in body if not line.startswith(b"=")), validate=True
        )
    except binascii.Error as error:
        raise InputError(f"{name}: damaged armour: {error}", HINT) from error


def normal(path: str) -> str:
    """*path* as the keys of a tarball's keyrings are compared: without leading slash."""
    return path.removeprefix(".").lstrip("/")


def trusted(keyrings: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """Those of a tarball's *keyrings* that sources without ``Signed-By`` are checked with.

    These are apt's trusted keys, or else the archive keyrings (apt 3 needs no
    trusted keys, as its sources name theirs); never keys that were withdrawn.
    """
    every = {normal(path): data for path, data in keyrings if data}
    apt = {p: d for p, d in every.items() if p.startswith("etc/apt/trusted.gpg")}
    if apt:
        return apt
    return {
        path: data
        for path, data in every.items()
        if re.fullmatch(r"usr/share/keyrings/[^/]*archive-keyring\.(gpg|pgp|asc)", path)
    }


def named(path: str, keyrings: Mapping[str, bytes]) -> bytes | None:
    """The keyring that a source calls *path*, also when only its suffix changed, or None."""
    stem, _, suffix = normal(path).rpartition(".")
    for other in dict.fromkeys((suffix, "pgp", "gpg", "asc")):
        if data := keyrings.get(f"{stem}.{other}"):
            return data
    return None


def merged(keyrings: Mapping[str, bytes]) -> bytes:
    """One binary keyring with the keys of all *keyrings* that are readable.

    apt takes its time over each file, so one is quicker than a dozen; and
    like apt, unreadable ones among many are passed over.
    """
    parts: dict[bytes, None] = {}
    for path in sorted(keyrings):
        try:
            parts[binary(path, keyrings[path])] = None
        except InputError:
            continue
    return b"".join(parts)
