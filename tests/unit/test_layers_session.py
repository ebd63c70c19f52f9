"""What one build does with layers: begins with one, or leaves one, and fails over neither."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from plan_helpers import make_facts, make_plan

from selfinstall import guestfiles
from selfinstall.arch import all_arches
from selfinstall.errors import HostError
from selfinstall.events import Event
from selfinstall.layers import POINTS, sparse
from selfinstall.layers.session import Layers
from selfinstall.layers.store import Store
from selfinstall.plan import Plan

AMD64 = all_arches()["amd64"]
POINT = POINTS[-1]
FACTS = make_facts()


class Build:
    """A build as far as layers see it."""

    def __init__(self, store: Store | None, folder: Path) -> None:
        folder.mkdir()
        self.work = folder
        self.events: list[Event] = []
        self.layers = Layers(store, folder / "disk.img", folder, self.events.append)

    def start(self, plan: Plan) -> Plan:
        files = guestfiles.files_before_layers(plan, AMD64, b"esp")
        return self.layers.start(plan, AMD64, FACTS, files)

    def whole(self, plan: Plan, go_on: Callable[[], bool] = lambda: True) -> None:
        """A build that installs all, and its disk at the point and afterwards."""
        with self.layers.opened():
            made = self.start(plan)
            (self.work / "kernel").write_bytes(b"kernel")
            (self.work / "initramfs").write_bytes(b"base")
            self.layers.assembled(self.work / "kernel", self.work / "initramfs")
            with (self.work / "initramfs").open("ab") as stream:
                stream.write(b"root's password")
            self.layers.fresh_disk(made.disk.size)
            disk = self.work / "disk.img"
            assert disk.stat().st_size == made.disk.size and disk.stat().st_blocks == 0
            write(disk, made.disk.root.start, b"the tarball's")
            self.layers.take(made, POINT, go_on)
            write(disk, made.disk.root.start + 100, b"host name")
            self.layers.keep()

    def said(self, kind: str) -> str:
        return " ".join(event.message or "" for event in self.events if event.event == kind)


def write(disk: Path, place: int, data: bytes) -> None:
    with disk.open("r+b") as stream:
        stream.seek(place)
        stream.write(data)


def read(disk: Path, place: int, size: int) -> bytes:
    with disk.open("rb") as stream:
        stream.seek(place)
        return stream.read(size)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def kept(store: Store, tmp_path: Path) -> Store:
    Build(store, tmp_path / "first").whole(make_plan(hostname="first"))
    return store


def test_a_second_build_begins_where_the_first_was(kept: Store, tmp_path: Path) -> None:
    plan = make_plan(hostname="second", size=20 << 30)
    build = Build(kept, tmp_path / "second")
    with build.layers.opened():
        made = build.start(plan)
        assert build.layers.begun
        assert "40-unpack" not in made.hooks and POINT not in made.hooks
        assert made.settings["HOOKS"] == " ".join(made.hooks)
        assert made.settings["HOST_NAME"] == "second"
        build.layers.fresh_disk(made.disk.size)
        disk = tmp_path / "second" / "disk.img"
        assert disk.stat().st_size == made.disk.size
        assert read(disk, made.disk.root.start, 13) == b"the tarball's"
        assert read(disk, made.disk.root.start + 100, 9) == bytes(9)
        # What is put behind the base has nothing of another build before it.
        assert (tmp_path / "second" / "initramfs").read_bytes() == b"base"
        assert (tmp_path / "second" / "kernel").read_bytes() == b"kernel"
    assert "beginning with the layer" in build.said("note")


def test_another_attempt_gets_the_layer_again(kept: Store, tmp_path: Path) -> None:
    build = Build(kept, tmp_path / "second")
    with build.layers.opened():
        made = build.start(make_plan())
        disk, begin = tmp_path / "second" / "disk.img", made.disk.root.start
        for _ in range(2):
            build.layers.fresh_disk(made.disk.size)
            assert read(disk, begin, 13) == b"the tarball's"
            write(disk, begin, b"half a build.")


def test_a_layer_has_nothing_of_its_build_s_own(kept: Store) -> None:
    (layer,) = kept.kept()
    for path in (kept._layers / layer.key).iterdir():
        content = path.read_bytes()
        assert b"password" not in content and b"host name" not in content
        assert b"first" not in content


@pytest.mark.parametrize("name", ["disk", "kernel", "initramfs"])
def test_a_damaged_layer_is_told_removed_and_made_anew(
    kept: Store, tmp_path: Path, name: str
) -> None:
    (layer,) = kept.kept()
    write(kept._layers / layer.key / name, 1, b"?")
    build = Build(kept, tmp_path / "second")
    build.whole(make_plan())
    assert "damaged" in build.said("warning")
    assert "kept as the layer" in build.said("note")
    with kept.open(layer.key) as found:
        assert found is not None


def test_damage_between_two_attempts_is_the_host_s_fault(kept: Store, tmp_path: Path) -> None:
    build = Build(kept, tmp_path / "second")
    with build.layers.opened():
        made = build.start(make_plan())
        build.layers.fresh_disk(made.disk.size)
        (layer,) = kept.kept()
        write(kept._layers / layer.key / "disk", made.disk.root.start, b"?")
        with pytest.raises(HostError, match="damaged"):
            build.layers.fresh_disk(made.disk.size)


def test_a_layer_that_goes_in_the_middle_of_a_build_does_not_hurt(
    kept: Store, tmp_path: Path
) -> None:
    build = Build(kept, tmp_path / "second")
    with build.layers.opened():
        made = build.start(make_plan())
        build.layers.fresh_disk(made.disk.size)
        shutil.rmtree(tmp_path / "cache")
        build.layers.fresh_disk(made.disk.size)
        build.layers.keep()


def test_a_failed_copy_is_told_and_no_failure(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source, target, size, go_on):  # type: ignore[no-untyped-def]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sparse, "duplicate", full)
    build = Build(store, tmp_path / "first")
    build.whole(make_plan())
    assert "no layer is kept: No space left on device" in build.said("warning")
    assert store.kept() == ()


def test_a_copy_that_cannot_be_read_again_is_told_and_no_failure(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(source, size, go_on):  # type: ignore[no-untyped-def]
        raise sparse.Unreadable(5, "Input/output error")

    monkeypatch.setattr(sparse, "checksum", unreadable)
    build = Build(store, tmp_path / "first")
    build.whole(make_plan())
    assert "no layer is kept: Input/output error" in build.said("warning")
    assert store.kept() == ()


def test_a_guest_that_went_leaves_no_layer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "STRIDE", 1)
    Build(store, tmp_path / "first").whole(make_plan(), go_on=lambda: False)
    assert store.kept() == ()


def test_a_failed_build_does_not_wait_for_a_checksum(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def checksum(source, size, go_on):  # type: ignore[no-untyped-def]
        begun.set()
        while go_on():
            time.sleep(0.01)
        ended.set()
        raise sparse.Stopped

    monkeypatch.setattr(sparse, "checksum", checksum)
    build = Build(store, tmp_path / "first")
    with pytest.raises(KeyboardInterrupt), build.layers.opened():
        made = build.start(make_plan())
        for name in ("kernel", "initramfs"):
            (build.work / name).write_bytes(b"x")
        build.layers.assembled(build.work / "kernel", build.work / "initramfs")
        build.layers.fresh_disk(made.disk.size)
        build.layers.take(made, POINT, lambda: True)
        assert begun.wait(10)
        raise KeyboardInterrupt
    assert ended.is_set() and store.kept() == ()


def test_a_failed_build_leaves_nothing(store: Store, tmp_path: Path) -> None:
    build = Build(store, tmp_path / "first")
    with build.layers.opened():
        build.start(make_plan())
    assert store.kept() == ()
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_a_nearly_full_cache_keeps_no_layer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    build = Build(store, tmp_path / "first")
    with build.layers.opened():
        made = build.start(make_plan())
    assert POINT not in made.hooks
    assert "nearly full" in build.said("note")


def test_without_a_store_nothing_is_different(tmp_path: Path) -> None:
    plan = make_plan()
    build = Build(None, tmp_path / "first")
    with build.layers.opened():
        assert build.start(plan) is plan
        assert not build.layers.begun
    assert build.events == []
