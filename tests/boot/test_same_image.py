"""An image whose packages the host unpacked is, file by file, what dpkg would have made."""

from __future__ import annotations

import dataclasses
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from readback import Content, read_back
from test_nothing_lost import contents

from selfinstall import Request, build
from selfinstall.arch import all_arches
from selfinstall.request import Unpack

EPOCH = 1_700_000_000
#: What holds times or the first initramfs's bytes, and nothing that packages ship.
OTHER_CONTENT = re.compile(
    r"boot/initrd\.img-.*|var/cache/ldconfig/aux-cache|var/log/.*|boot/grub/grub\.cfg|lost\+found"
    r"|var/lib/dpkg/status-old"
)
#: Runs in the image: dpkg's own opinion of it.
CHECK = """#!/bin/sh
set -eu
test -z "$(dpkg --audit)"
dpkg --verify >/var/tmp/verify
"""


def built(tarball: Path, folder: Path, unpack: Unpack, hook: Path) -> Path:
    image = folder / f"{unpack}.img"
    request = Request(
        tarball=tarball, output=image, unpack=unpack, seed="same", source_date_epoch=EPOCH,
        verify=False, accel="tcg", customize_hooks=(hook,), include=("openssh-server",),
    )  # fmt: skip
    build(request)
    return image


def stanzas(tar: Path) -> dict[str, dict[str, str]]:
    """dpkg's status: fields by package."""
    found = {}
    for paragraph in text(tar, "var/lib/dpkg/status").split("\n\n"):
        fields = dict(re.findall(r"(?ms)^([\w-]+):((?:.*?)(?:\n .*?)*)$", paragraph))
        if fields:
            found[f"{fields['Package']}:{fields['Architecture']}"] = fields
    return found


def text(tar: Path, path: str) -> str:
    with tarfile.open(tar) as archive:
        stream = archive.extractfile(f"./{path}")
        assert stream is not None
        return stream.read().decode()


def compared(found: Mapping[str, Content]) -> dict[str, Content]:
    """Without what has another time at each build.  Of files, packages' own times count."""
    same = {}
    for path, content in found.items():
        if OTHER_CONTENT.fullmatch(path):
            content = dataclasses.replace(content, digest="", size=0)
        if content.type == str(tarfile.DIRTYPE) or not 0 < content.mtime < EPOCH - 1:
            content = dataclasses.replace(content, mtime=0)
        same[path] = content
    return same


@pytest.mark.parametrize("which", ["minbase", "bookworm"])
def test_the_same_image_whoever_unpacks(
    which: str, complete: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tarball: Path = request.getfixturevalue(which)
    hook = tmp_path / "hook"
    hook.write_text(CHECK)
    arch = all_arches()["amd64"]
    found = {}
    for unpack in ("host", "guest"):
        image = built(tarball, tmp_path, unpack, hook)
        tar = read_back(image, complete, arch, tmp_path / f"rb-{unpack}")
        image.unlink()
        found[unpack] = (contents(tar), stanzas(tar), text(tar, "var/tmp/verify"))
    (ours, our_links, _), our_stanzas, our_verdict = found["host"]
    (theirs, their_links, _), their_stanzas, their_verdict = found["guest"]
    assert our_stanzas == their_stanzas
    assert compared(ours) == compared(theirs)
    assert our_links == their_links
    assert our_verdict == their_verdict == ""
