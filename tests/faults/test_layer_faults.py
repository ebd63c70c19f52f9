"""Damage to each file of a layer, and to what is remembered about KVM."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import CLEANUP, LAYERED, WHOLE, Stage, Table

#: Of a file's content; the first and the last byte too, when all points are wanted.
PLACES = (0.0, 0.5, 1.0) if WHOLE else (0.5,)


@pytest.fixture
def mine(complete: Path, tmp_path: Path, warm: Path) -> Stage:
    """With a cache whose files are new names for those of all."""
    cache = tmp_path / "cache"
    shutil.copytree(warm, cache, copy_function=os.link)
    return Stage(tmp_path / "stage", complete, cache)


def flip(path: Path, part: float) -> None:
    """Change a byte of what *path* holds; in a sparse file one that is there."""
    size = path.stat().st_size
    with path.open("r+b") as stream:
        place = min(int(size * part), size - 1)
        if part < 1.0:
            place = os.lseek(stream.fileno(), place, os.SEEK_DATA)
        byte = os.pread(stream.fileno(), 1, place)
        os.pwrite(stream.fileno(), bytes([byte[0] ^ 4]), place)


def begins_anew(stage: Stage, *, may_use: bool = False) -> None:
    """A build does not use the layer (or, with *may_use*, need not)."""
    with stage.start(*LAYERED) as run:
        run.until("begin", "initramfs")
        used = any(message.startswith("beginning with the layer") for message in run.messages)
        assert may_use or not used, run.messages
        run.signal(signal.SIGTERM)
        status, errors = run.end(CLEANUP)
        assert status == 128 + signal.SIGTERM, errors
    stage.kept()


def test_damage_to_a_layer(mine: Stage, tmp_path: Path, table: Table) -> None:
    layers = mine.cache / "layers"
    (good,) = layers.iterdir()
    safe = tmp_path / "safe"
    shutil.move(good, safe)
    for name in ("record.json", "disk", "initramfs", "kernel"):
        for part in PLACES:
            # Only the file to be damaged is copied.
            shutil.rmtree(good, ignore_errors=True)
            good.mkdir()
            for file in safe.iterdir():
                if file.name == name:
                    subprocess.run(["cp", "--sparse=always", file, good], check=True)
                else:
                    os.link(file, good / file.name)
            flip(good / name, part)
            with table.point("cache damaged", f"layer's {name}, at {part:.0%}"):
                # A record's heading for people says nothing about its content.
                begins_anew(mine, may_use=name == "record.json")
        shutil.rmtree(good, ignore_errors=True)
        with table.point("cache damaged", f"layer's {name} missing"):
            good.mkdir()
            for file in safe.iterdir():
                if file.name != name:
                    os.link(file, good / file.name)
            begins_anew(mine)
    table.settle()


def test_damage_to_the_verdict_on_kvm(complete: Path, tmp_path: Path, table: Table) -> None:
    """Whatever stands there, a build begins; it is a hint and no more."""
    stage = Stage(tmp_path, complete)
    verdict = json.dumps({"boot | kernel | qemu": {"good": ["direct"], "bad": False}}).encode()
    contents = [b"", verdict[:-5], verdict[::-1], b"[" * 70_000, b"\xff" * 100, b"[]", b'{"a": 1}']
    for content in contents if WHOLE else contents[1:4]:
        (stage.cache / "accel.json").write_bytes(content)
        with table.point("cache damaged", f"KVM's verdict {content[:10]!r}"):
            with stage.start("--accel", "auto") as run:
                run.until("begin", "guest")
                run.pause(0.5)
                run.signal(signal.SIGTERM)
                status, errors = run.end(CLEANUP)
                assert status == 128 + signal.SIGTERM, errors
            stage.kept()
    table.settle()
