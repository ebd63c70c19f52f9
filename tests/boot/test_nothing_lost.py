"""Every member of a tarball is in the image as it was in the tarball."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from readback import Content, read_back
from zstandard import ZstdDecompressor

from selfinstall import Request, build
from selfinstall.arch import all_arches
from selfinstall.request import PayloadMode, Unpack

#: What a build changes, and nothing else (docs: "What is changed").
CHANGED = {"etc/fstab", "etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf"}
#: What a build adds lies below these, and nowhere else.
ADDED = (
    "boot/efi", "boot/grub", "etc/default/grub.d", "etc/systemd", "etc/hosts", "lost+found",
    "usr/local/sbin/selfinstall-grow-root", "etc/.updated", "var/.updated",
)  # fmt: skip
XATTR = "SCHILY.xattr."
#: An access control list as tar writes it, and as an attribute (linux/posix_acl_xattr.h).
ACL_TEXT = "SCHILY.acl."
ACL_ATTRIBUTE = "SCHILY.xattr.system.posix_acl_"
ACL_TAGS = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}


def odd_members(*, acl_texts: bool) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Members such as real systems have, and worse."""
    members: list[tuple[tarfile.TarInfo, bytes]] = []

    def add(name: str, content: bytes = b"", **values: object) -> tarfile.TarInfo:
        info = tarfile.TarInfo(f"./srv/odd/{name}")
        info.size, info.mode, info.mtime = len(content), 0o644, 1_600_000_000
        for key, value in values.items():
            setattr(info, key, value)
        members.append((info, content))
        return info

    add("", type=tarfile.DIRTYPE, mode=0o755)
    add("new\nline", b"1")
    add("-rf", b"2")
    add("--checkpoint-action=exec=sh", b"2b")
    add("x" * 255, b"3")
    add("grüße ✓ 漢字", b"4")
    add("not utf-8 \udcff\udcfe", b"4b")
    add(" space ", b"5")
    add("back\\slash'quote\"$(x)`y`", b"6")
    path = ""
    while len(path) + 201 < 4000 - len("srv/odd/"):
        path += "d" * 200 + "/"
        add(path, type=tarfile.DIRTYPE, mode=0o755)
    add(path + "f" * (4000 - len("srv/odd/") - len(path)), b"deep")
    add("hard-1", b"hard")
    add("hard-2", type=tarfile.LNKTYPE, linkname="./srv/odd/hard-1")
    add("soft", type=tarfile.SYMTYPE, linkname="../no/where\nelse", mode=0o777)
    add("block", type=tarfile.BLKTYPE, devmajor=259, devminor=70000, mode=0o600)
    add("char", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    add("fifo", type=tarfile.FIFOTYPE, mode=0o620)
    add("setuid", b"7", mode=0o4755)
    add("setgid-sticky", type=tarfile.DIRTYPE, mode=0o3775)
    add("no-mode", b"8", mode=0)
    add("no-mode-dir", type=tarfile.DIRTYPE, mode=0)
    add("no-mode-dir/inside", b"9")
    add("big-owner", b"10", uid=4_000_000_000, gid=70_000)
    add("before-1970", b"11", mtime=-86400 * 365 * 50)
    add("after-2038", b"12", mtime=4_000_000_000)
    add("1970", b"12b", mtime=0)
    add("parts of a second", b"12c", mtime=1_600_000_000.25)
    add(
        "attributes",
        b"13",
        pax_headers={
            "SCHILY.xattr.user.comment": "line 1\nline 2",
            "SCHILY.xattr.trusted.secret": "x",
            # vfs_cap_data, version 2: cap_net_raw, effective
            "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + "\0" * 14,
        },
    )
    if acl_texts:
        add(
            "acl",
            b"14",
            mode=0o674,
            pax_headers={
                "SCHILY.acl.access": "user::rw-,user:12345:r--,group::r-x,mask::rwx,other::r--"
            },
        )
        add(
            "acl-dir",
            type=tarfile.DIRTYPE,
            mode=0o755,
            pax_headers={
                "SCHILY.acl.default": "user::rwx,user:12345:r-x,group::r-x,mask::r-x,other::r-x"
            },
        )
    return members


def odd_tarball(base: Path, work: Path, *, acl_texts: bool) -> Path:
    """*base* with :func:`odd_members` and a sparse file behind its own members."""
    out = work / "odd.tar"
    with base.open("rb") as packed, out.open("wb") as stream:
        ZstdDecompressor().copy_stream(packed, stream)
    tail = io.BytesIO()
    with tarfile.open(fileobj=tail, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in odd_members(acl_texts=acl_texts):
            archive.addfile(info, io.BytesIO(content))
    holes = work / "srv" / "odd"
    holes.mkdir(parents=True)
    with (holes / "sparse").open("wb") as stream:
        stream.seek(300 << 20)
        stream.write(b"data in the middle")
        stream.truncate(1 << 30)
    sparse = subprocess.run(
        ["tar", "--create", "--sparse", "--format=gnu", "--owner=0", "--group=0", "srv/odd/sparse"],
        cwd=work, capture_output=True, check=True,
    ).stdout  # fmt: skip
    with tarfile.open(out) as archive:
        last = 0
        for _member in archive:
            last = archive.offset
    with out.open("r+b") as stream:
        stream.truncate(last)
        stream.seek(last)
        stream.write(tail.getvalue().rstrip(b"\0"))
        stream.write(bytes(-stream.tell() % 512))
        stream.write(sparse)
    return out


def contents(tar: Path) -> tuple[dict[str, Content], set[frozenset[str]], set[str]]:
    """Members by path, the sets of hard links, and the sparse ones."""
    found: dict[str, Content] = {}
    first: dict[str, str] = {}
    links: dict[str, set[str]] = {}
    holes: set[str] = set()
    with tarfile.open(tar, errors="surrogateescape") as archive:
        for member in archive:
            path = member.name.removeprefix("./").removeprefix("/")
            if member.islnk():
                origin = member.linkname.removeprefix("./")
                origin = first.get(origin, origin)
                first[path] = origin
                links.setdefault(origin, {origin}).add(path)
                found[path] = found[origin]
                continue
            if member.issparse():
                holes.add(path)
            digest = ""
            if member.isfile():
                stream = archive.extractfile(member)
                assert stream is not None
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            device = member.ischr() or member.isblk()
            found[path] = Content(
                type=str(member.type if not member.isreg() else tarfile.REGTYPE),
                mode=member.mode & 0o7777,
                owner=(member.uid, member.gid),
                mtime=member.mtime,
                size=member.size if member.isfile() else 0,
                digest=digest,
                target=member.linkname,
                device=(member.devmajor, member.devminor) if device else (0, 0),
                attributes=tuple(sorted(attributes(member.pax_headers).items())),
            )
    return found, {frozenset(names) for names in links.values()}, holes


def attributes(headers: dict[str, str]) -> dict[str, str]:
    """Extended attributes, access control lists in one form, whoever wrote them."""
    found = {}
    for key, value in headers.items():
        if key.startswith(ACL_TEXT):
            acl = acl_of_text(value)
        elif key.startswith(ACL_ATTRIBUTE):
            acl = acl_of_attribute(value.encode("utf-8", "surrogateescape"))
        else:
            if key.startswith(XATTR):
                found[key] = value
            continue
        # Three entries are no more than the mode says.
        if acl.count(",") > 2 or key.endswith("default"):
            found[f"acl.{key[-7:].strip('_.')}"] = acl
    return found


def acl_of_text(text: str) -> str:
    entries = text.replace("\n", ",").split(",")
    return ",".join(sorted(entry.split("#")[0].strip() for entry in entries))


def acl_of_attribute(value: bytes) -> str:
    entries = []
    for tag, rights, number in struct.iter_unpack("<HHI", value[4:]):
        name = str(number) if tag in (0x02, 0x08) else ""
        letters = "".join(
            c if rights & bit else "-" for c, bit in zip("rwx", (4, 2, 1), strict=True)
        )
        entries.append(f"{ACL_TAGS[tag]}:{name}:{letters}")
    return ",".join(sorted(entries))


@pytest.mark.parametrize(("unpack", "payload"), [("host", "auto"), ("guest", "initramfs")])
def test_nothing_is_lost(
    complete: Path, tmp_path: Path, unpack: Unpack, payload: PayloadMode
) -> None:
    # mmdebstrap's form of access control lists is there anyway; tar's own makes two forms.
    acl_texts = unpack == "host"
    tarball = odd_tarball(complete, tmp_path, acl_texts=acl_texts)
    image = tmp_path / "odd.img"
    build(Request(tarball=tarball, output=image, unpack=unpack, payload=payload, verify=False))
    arch = all_arches()["amd64"]
    before, links, holes = contents(tarball)
    after, links_after, holes_after = contents(read_back(image, complete, arch, tmp_path / "rb"))
    different = {
        path: (expected, after.get(path))
        for path, expected in before.items()
        if path not in CHANGED and path not in same_but_time(expected, after.get(path), path)
    }
    assert different == {}
    assert {p for p in after if p not in before and not p.startswith(ADDED)} == set()
    assert links <= links_after
    assert holes <= holes_after | {p for p in holes if after[p].size == 0}
    assert len(before) > 5000 and "srv/odd/attributes" in before
    assert after["var/log/journal"].attributes
    assert not acl_texts or after["srv/odd/acl"].attributes


def same_but_time(expected: Content, found: Content | None, path: str) -> set[str]:
    """*path* when both are equal; a folder in which the build makes files has a new time."""
    if expected == found:
        return {path}
    folder = expected.type == str(tarfile.DIRTYPE) and not path.startswith("srv/")
    if found is None or not folder:
        return set()
    same = dataclasses.replace(expected, mtime=0) == dataclasses.replace(found, mtime=0)
    return {path} if same else set()
