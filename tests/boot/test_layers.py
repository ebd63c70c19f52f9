"""A build that begins with a layer gives the image that one without would have given."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from readback import read_back
from test_images import selfinstall
from test_nothing_lost import contents

from selfinstall.arch import all_arches

#: Of crypt(5), so that no salt differs; what each stands for does not matter.
HASHES = {name: f"$6$saltsalt${name}{'x' * 80}" for name in ("first", "second")}
#: Files that hold times of the build, whatever built the image: logs, and inodes' times.
UNLIKE = {"var/log/dpkg.log", "var/log/alternatives.log", "var/cache/ldconfig/aux-cache"}


def build(tarball: Path, work: Path, name: str, *words: str | Path) -> set[str]:
    """An image with the identity *name*; gives the steps and what was said about layers."""
    identity = work / f"{name}.d"
    identity.mkdir(exist_ok=True)
    (identity / "password").write_text(HASHES[name] + "\n")
    if not (identity / "key").exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"key-of-{name}"]
        subprocess.run([*command, "-f", identity / "key"], check=True)
    done = selfinstall(
        "--tarball", tarball, "--json", "--no-verify", "--hostname", f"host-of-{name}",
        "--ssh-key", identity / "key.pub", "--root-password-file", identity / "password",
        "--user", f"user-of-{name}", *words,
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines()]
    said = {event["step"] for event in events if event["event"] == "end"}
    told = [e["message"] for e in events if e["step"] == "layer" and e["event"] == "note"]
    return said | {message.partition(" the layer")[0] for message in told}


def held(path: Path, texts: Iterable[str]) -> set[str]:
    """Those of *texts* that a file holds, its holes left out."""
    wanted, found = set(texts), set()
    with path.open("rb", buffering=0) as stream:
        size, place, tail = path.stat().st_size, 0, b""
        while place < size:
            try:
                data = os.lseek(stream.fileno(), place, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole is left
                break
            tail = tail if data == place else b""
            os.lseek(stream.fileno(), data, os.SEEK_SET)
            piece = tail + stream.read(4 << 20)
            found |= {text for text in wanted if text.encode() in piece}
            place, tail = data + len(piece) - len(tail), piece[-200:]
    return found


def test_a_layer_changes_nothing_but_the_time(complete: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    began = time.time() - 5
    first = build(complete, tmp_path, "first", "-o", tmp_path / "1.qcow2", "--cache", cache)
    assert {"unpack", "kept as"} <= first
    image, other = tmp_path / "2.img", tmp_path / "3.img"
    again = build(complete, tmp_path, "second", "-o", image, "--cache", cache, "--size", "4G")
    assert "beginning with" in again and "unpack" not in again
    alone = build(complete, tmp_path, "second", "-o", other, "--no-cache", "--size", "4G")
    assert "unpack" in alone and not alone & {"beginning with", "kept as"}

    # Nothing of the first machine is in the layer, nor, deleted or not, in the second image.
    layers = [path for path in (cache / "layers").rglob("*") if path.is_file()]
    assert len(layers) == 4
    secrets = (HASHES["first"], "key-of-first", "host-of-first", "user-of-first")
    for path in (*layers, image):
        assert held(path, secrets) == set(), path
    own = {HASHES["second"], "key-of-second", "host-of-second", "user-of-second"}
    assert held(image, own) == own

    selfinstall("verify", image, "--firmware", "bios")
    arch = all_arches()["amd64"]
    found, links, _ = contents(read_back(image, complete, arch, tmp_path / "a"))
    expected, links_expected, _ = contents(read_back(other, complete, arch, tmp_path / "b"))
    assert links == links_expected
    assert found.keys() == expected.keys()
    different = {}
    for path, one in found.items():
        two = expected[path]
        if min(one.mtime, two.mtime) > began:
            two = dataclasses.replace(two, mtime=one.mtime)
        if path in UNLIKE:
            two = dataclasses.replace(two, digest=one.digest, size=one.size)
        if one != two:
            different[path] = (one, two)
    assert different == {}
    assert found["etc/machine-id"].size == 0
    assert not [path for path in found if path.startswith("etc/ssh/ssh_host_")]
    assert "home/user-of-second/.ssh/authorized_keys" in found
