"""What an archive says of a file beside its content, as ext4 keeps it.  Pure."""

from __future__ import annotations

import dataclasses
import re
import struct

from selfinstall.ext4.inode import Stamp
from selfinstall.ext4.owners import Owners
from selfinstall.rootfs.headers import TarDamageError, decimal, field, number
from selfinstall.rootfs.members import Member

_XATTR = "SCHILY.xattr."
#: The names that GNU tar gives to access control lists as text, and those of the attributes.
_ACLS = {
    "SCHILY.acl.access": "system.posix_acl_access",
    "SCHILY.acl.default": "system.posix_acl_default",
}
_TIME = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?")
_ENTRY = re.compile(r"(user|group|mask|other):([^:]*):([r-][w-][xXs-])(?::(\d+))?")
#: linux/posix_acl.h: tags without and with a name.
_TAGS = {
    ("user", False): 0x01,
    ("user", True): 0x02,
    ("group", False): 0x04,
    ("group", True): 0x08,
    ("mask", False): 0x10,
    ("other", False): 0x20,
}
#: linux/posix_acl_xattr.h: the version before the entries, the number of those without a name.
_VERSION, _NOBODY = 2, 0xFFFFFFFF
_MAXIMUM_ID = 0xFFFFFFFE


@dataclasses.dataclass(frozen=True, slots=True)
class Attributes:
    """Owner, time, device number and extended attributes (as setxattr(2) takes them)."""

    uid: int
    gid: int
    modified: Stamp
    device: tuple[int, int]
    extended: dict[str, bytes]


def attributes(member: Member, owners: Owners) -> Attributes:
    """:raises TarDamageError: what the archive says makes no sense.

    :param owners: whose names count before numbers.
    """
    block, pax = member.block, member.pax
    uid, gid = owners.user(block), owners.group(block)
    device = (0, 0)
    if member.type == "other":
        device = number(block, 329, 8), number(block, 337, 8)
        if device[0] >= 1 << 12 or device[1] >= 1 << 20:
            raise TarDamageError("a device number is out of range")
    return Attributes(
        _owner(pax.get("uid"), block, 108) if uid is None else uid,
        _owner(pax.get("gid"), block, 116) if gid is None else gid,
        _modified(pax.get("mtime"), block),
        device,
        _extended(member) if pax else {},
    )


def _owner(value: bytes | None, block: bytes, place: int) -> int:
    owner = number(block, place, 8) if value is None else decimal(value)
    if owner > _MAXIMUM_ID:
        raise TarDamageError("an owner is out of range")
    return owner


def _modified(value: bytes | None, block: bytes) -> Stamp:
    if value is None:
        raw = block[136:148]
        # Base 256 can say times before 1970.
        before = raw[0] == 0xFF
        seconds = int.from_bytes(raw, "big", signed=True) if before else number(block, 136, 12)
        return Stamp(seconds * 10**9)
    match = _TIME.fullmatch(value)
    if match is None:
        raise TarDamageError("a pax header holds no time where one belongs")
    parts = (match[3] or b"").ljust(9, b"0")[:9]
    nanoseconds = int(match[2]) * 10**9 + int(parts)
    return Stamp(-nanoseconds if match[1] else nanoseconds)


def _extended(member: Member) -> dict[str, bytes]:
    """An access control list that is there as attribute is not read from its text."""
    found: dict[str, bytes] = {}
    for key, value in member.pax.items():
        if key in _ACLS:
            found.setdefault(_ACLS[key], _acl(value))
        elif key.startswith(_XATTR):
            # As GNU tar writes names (xattr_encode_keyword in its source).
            name = key.removeprefix(_XATTR).replace("%3D", "=").replace("%25", "%")
            found[name] = value
    return {
        name: value
        for name, value in found.items()
        if name not in _ACLS.values() or (value and not _told_by_mode(name, value))
    }


def _told_by_mode(name: str, acl: bytes) -> bool:
    """Whether a list says no more than the permission bits: owner, group, others."""
    return name == _ACLS["SCHILY.acl.access"] and len(acl) <= 4 + 3 * 8


def _acl(text: bytes) -> bytes:
    """The attribute for what acl_to_text(3) wrote; empty for an empty one.

    :raises TarDamageError: it makes no sense, or names its users by name.
    """
    entries = []
    for line in re.split(r"[,\n]", text.decode("utf-8", "replace")):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        match = _ENTRY.fullmatch(entry)
        key = (match[1], bool(match[2])) if match else None
        if match is None or key not in _TAGS:
            raise TarDamageError("an access control list makes no sense")
        who = _NOBODY
        if match[2]:
            digits = match[4] or match[2]
            if not digits.isdecimal():
                raise TarDamageError(
                    "an access control list has names, of which only the system itself knows the "
                    "numbers (tar --numeric-owner writes numbers)"
                )
            who = int(digits)
        rights = sum(bit for bit, c in zip((4, 2, 1), match[3], strict=True) if c != "-")
        entries.append((_TAGS[key], rights, who))
    if not entries:
        return b""
    packed = (struct.pack("<HHI", *entry) for entry in sorted(entries, key=lambda e: (e[0], e[2])))
    return struct.pack("<I", _VERSION) + b"".join(packed)


def kind(member: Member) -> int:
    """The bits of the mode that say what a member is; 0 for a hard link.

    :raises TarDamageError: it is something that no file system has.
    """
    match member.type:
        case "file":
            return 0o100000
        case "dir":
            return 0o040000
        case "symlink":
            return 0o120000
        case "link":
            return 0
    kinds = {b"3": 0o020000, b"4": 0o060000, b"6": 0o010000}
    found = kinds.get(field(member.block, 156, 1))
    if found is None:
        raise TarDamageError("a member is of a kind that no file system has")
    return found
