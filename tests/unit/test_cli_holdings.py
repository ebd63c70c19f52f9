"""inspect: tarball or image, and what is told about it."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import command

from selfinstall.cli import holdings
from selfinstall.rootfs.facts import Kernel, RootfsFacts

FACTS = RootfsFacts(
    name="a\x1b.tar",
    sha256="00ff",
    compression="zstd",
    compressed_bytes=52_951_070,
    tar_bytes=140_000_000,
    content_bytes=133_000_000,
    members=9000,
    architecture="amd64",
    distribution="debian",
    suite="trixie",
    pretty_name="Debian GNU/Linux 13 (trixie)",
    init="systemd",
    merged_usr=True,
    hostname=None,
    kernels=(Kernel(version="6.12", image="boot/vmlinuz-6.12", initrd=None),),
    packages={"apt": "3.0"},
    unconfigured=(),
    sources=(("etc/apt/sources.list", "deb x"),),
    keyrings=(("usr/share/keyrings/k.gpg", b"\x99\x00"),),
    machine_id=False,
)


def at(offset: int, magic: bytes) -> bytes:
    return (b"\0" * offset + magic).ljust(1024, b"\0")


def tar_head() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("x" * 90))
    return stream.getvalue()[:1024]


@pytest.mark.parametrize(
    ("head", "image"),
    [
        (b"QFI\xfb\0\0\0\3", True),
        (b"KDMV", True),
        (b"vhdxfile", True),
        (at(0x40, b"\x7f\x10\xda\xbe"), True),
        (at(512, b"EFI PART"), True),
        (at(510, b"\x55\xaa"), True),
        (b"", False),
        (b"\x1f\x8b\x08", False),
        (b"\x28\xb5\x2f\xfd", False),
        (tar_head(), False),
        (tar_head()[:510] + b"\x55\xaa" + b"\0" * 512, False),
    ],
)
def test_images_are_told_by_their_magic(tmp_path: Path, head: bytes, image: bool) -> None:
    path = tmp_path / "x"
    path.write_bytes(head)
    assert holdings.is_image(path) is image


def test_facts_about_a_tarball_as_text() -> None:
    lines = holdings.to_text(FACTS).splitlines()
    assert lines[0] == "file:           a\\x1b.tar"
    assert "packed:         53.0 MB, zstd; 140 MB of tar" in lines
    assert "kernel:         6.12 (boot/vmlinuz-6.12, no initrd)" in lines
    assert "host name:      none" in lines
    assert "keyrings:       1 in usr/share/keyrings" in lines
    assert len({line.index(line.split(":", 1)[1].strip()) for line in lines}) == 1


def test_facts_about_a_tarball_as_json() -> None:
    document = json.loads(holdings.to_json(FACTS))
    assert document["packages"] == {"apt": "3.0"}
    assert document["kernels"][0]["version"] == "6.12"
    path, key = document["keyrings"][0]
    assert path == "usr/share/keyrings/k.gpg"
    assert key["bytes"] == 2


@dataclasses.dataclass(frozen=True)
class Part:
    number: int
    size: int


@dataclasses.dataclass(frozen=True)
class Image:
    path: Path
    virtual_size: int
    label: str | None
    parts: tuple[Part, ...]
    ok: bool


def test_other_facts_are_told_by_their_fields() -> None:
    facts = Image(Path("i.img"), 1000, None, (Part(1, 500), Part(2, 7)), True)
    assert holdings.to_text(facts).splitlines() == [
        "path:         i.img",
        "virtual size: 1000 (1.0 kB)",
        "label:        none",
        "parts:        number 1, size 500 (500 B)",
        "parts:        number 2, size 7 (7 B)",
        "ok:           yes",
    ]


def stub(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def test_the_verb_tells_tarballs_from_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = types.SimpleNamespace(facts=FACTS)
    stub(
        monkeypatch,
        "selfinstall.rootfs.inspect",
        inspect=lambda path, on_event: found,
    )
    stub(
        monkeypatch,
        "selfinstall.image.inspect",
        inspect_image=lambda path: Image(path, 1, "gpt", (), False),
    )
    (tmp_path / "t").write_bytes(tar_head())
    (tmp_path / "i").write_bytes(b"QFI\xfb")
    assert command(f"inspect {tmp_path}/t") == 0
    assert "architecture:   amd64" in capsys.readouterr().out
    assert command("inspect - --json") == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "amd64"
    assert command(f"inspect {tmp_path}/i --json") == 0
    assert json.loads(capsys.readouterr().out)["label"] == "gpt"
    assert command(f"inspect {tmp_path}/none") == 3
    assert capsys.readouterr().err == (
        f"selfinstall: error: {tmp_path}/none cannot be read: No such file or directory\n"
    )


def test_the_cache_is_listed_and_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs" / "a.deb").write_bytes(b"x" * 9000)
    assert command(f"cache list --cache {tmp_path}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "SIZE", "LAST", "USED", "WHAT", "IT", "IS"]
    assert lines[1].startswith("packages") and "1 files of packages" in lines[1]
    assert command(f"cache list --cache {tmp_path} --kind packages --json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["kind"] == "packages" and found["size"] >= 9000
    assert command(f"cache clear --cache {tmp_path} --kind layers --kind lists") == 0
    assert capsys.readouterr().out == f"0 B freed in {tmp_path}\n"
    assert command(f"cache clear --cache {tmp_path}") == 0
    assert list((tmp_path / "debs").iterdir()) == []
    assert command("cache") == 2
    assert command("cache empty") == 2
