from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from qemu_helpers import AMD64

from selfinstall.events import ignore
from selfinstall.qemu import accel
from selfinstall.qemu.accel import Memory, NoSignOfLife, Try
from selfinstall.qemu.emulator import Emulator

EMULATOR = Emulator(program="/x", version="7.2.22", sandbox=True)
HERE = dataclasses.replace(
    AMD64, qemu=dataclasses.replace(AMD64.qemu, kvm_hosts=(os.uname().machine,))
)


def test_memory(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "new", "boot1 | a")
    assert memory.works("direct") is None
    memory.learn("direct", True)
    assert memory.works("direct") is True
    assert memory.works("efi") is None
    memory.learn("efi", False)
    assert memory.works("direct") is False
    memory.learn("bios", True)
    assert (memory.works("direct"), memory.works("bios")) == (None, True)


def test_memory_is_of_one_host_boot(tmp_path: Path) -> None:
    Memory(tmp_path, "boot1 | a").learn("direct", False)
    Memory(tmp_path, "boot1 | b").learn("direct", True)
    assert Memory(tmp_path, "boot1 | a").works("direct") is False
    assert Memory(tmp_path, "boot2 | a").works("direct") is None
    Memory(tmp_path, "boot2 | a").learn("direct", False)
    assert list(json.loads((tmp_path / "accel.json").read_text())) == ["boot2 | a"]
    assert [path.name for path in tmp_path.iterdir()] == ["accel.json"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"\xff", b"1", b'{"b | a": 1}', b'{"b | a": {"good": 1}}', b"[" * 60000],
)
def test_damaged_memory(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "accel.json").write_bytes(damage)
    memory = Memory(tmp_path, "b | a")
    assert memory.works("direct") is None
    memory.learn("direct", True)
    assert memory.works("direct") is True


def test_memory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = Memory(tmp_path / "file", "b | a")
    memory.learn("direct", True)
    assert memory.works("direct") is None


def test_key_names_what_matters(tmp_path: Path) -> None:
    key = accel.memory(tmp_path, AMD64, EMULATOR)._key
    assert os.uname().release in key
    assert "7.2.22" in key
    assert key.endswith(f" {AMD64.name}")


def test_obstacles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "kvm"
    monkeypatch.setattr(accel, "KVM", device)
    assert "missing" in (accel.obstacle(HERE) or ("",))[0]
    device.touch()
    assert accel.obstacle(HERE) is None
    foreign = dataclasses.replace(HERE, qemu=dataclasses.replace(HERE.qemu, kvm_hosts=("pdp11",)))
    assert "does not run" in (accel.obstacle(foreign) or ("",))[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_obstacle_of_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "kvm"
    device.touch(mode=0)
    monkeypatch.setattr(accel, "KVM", device)
    assert "adduser" in str(accel.obstacle(HERE))


def test_kinds_are_tried_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda arch: None)
    tries: list[tuple[str, float | None]] = []

    def work(attempt: Try) -> None:
        tries.append((attempt.accel, attempt.trial))
        attempt.on_life()

    for kind in ("direct", "direct", "efi"):
        accel.run(
            "auto",
            arch=HERE,
            known=Memory(tmp_path, "b | a"),
            kind=kind,
            step="x",
            on_event=ignore,
            work=work,
        )
    assert tries == [("kvm", accel.TRIAL), ("kvm", None), ("kvm", accel.TRIAL)]


@pytest.mark.parametrize("certain", [True, False])
def test_only_certainty_convicts_without_a_second_witness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certain: bool
) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda arch: None)
    memory = Memory(tmp_path, "b | a")

    def work(attempt: Try) -> None:
        if attempt.accel == "kvm":
            raise NoSignOfLife("silent", certain=certain)

    accel.run("auto", arch=HERE, known=memory, kind="bios", step="x", on_event=ignore, work=work)
    assert memory.works("bios") is (False if certain else None)
