"""The folder of layers: whole or not there, bounded, and never believed when damaged."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selfinstall import cachefolder
from selfinstall.layers import sparse, store
from selfinstall.layers.store import Damaged, Store, Sum

SIZE = 3 << 20


def content(mark: bytes) -> bytes:
    """A disk with data at both ends and a hole between."""
    return mark * 4096 + bytes(SIZE - 2 * 4096 * len(mark)) + mark * 4096


def put(kept: Store, key: str, mark: bytes = b"d") -> bool:
    with kept.making() as folder:
        sums = {}
        for name in store.FILES:
            source = folder.parent / "source"
            source.write_bytes(content(mark))
            with source.open("rb") as come_from, (folder / name).open("wb") as go_to:
                sums[name] = Sum(SIZE, sparse.copy(come_from, go_to, SIZE))
        return kept.add(key, folder, sums, {"tarball": f"/x/{key}.tar", "arch": "none"})


def taken(kept: Store, key: str, target: Path) -> bytes | None:
    with kept.open(key) as layer:
        if layer is None:
            return None
        layer.copy("disk", target)
    return target.read_bytes()


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def leftovers(kept: Store) -> list[Path]:
    return list((kept._layers.parent / "tmp").iterdir())


def test_what_was_kept_comes_back_with_its_holes(kept: Store, tmp_path: Path) -> None:
    assert taken(kept, "a", tmp_path / "out") is None
    assert put(kept, "a")
    assert taken(kept, "a", tmp_path / "out") == content(b"d")
    assert (tmp_path / "out").stat().st_blocks * 512 < SIZE / 2
    assert leftovers(kept) == []


def test_a_folder_of_layers_is_its_owner_s(kept: Store) -> None:
    assert kept._layers.stat().st_mode & 0o777 == 0o700


def flip(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(SIZE - 1)
        stream.write(b"?")


def cut(path: Path) -> None:
    os.truncate(path, SIZE - 4096)


def grow(path: Path) -> None:
    os.truncate(path, SIZE + 4096)


def hole(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(bytes(4096))


@pytest.mark.parametrize("name", store.FILES)
@pytest.mark.parametrize("damage", [flip, cut, grow, hole])
def test_a_damaged_layer_is_not_believed(
    kept: Store, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    put(kept, "a")
    damage(kept._layers / "a" / name)
    with kept.open("a") as layer, pytest.raises(Damaged):
        assert layer is not None
        layer.copy(name, tmp_path / "out")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": {}}', '{"key": "b"}', "[" * 100_000])
def test_a_damaged_record_is_no_layer_and_goes(kept: Store, text: str, tmp_path: Path) -> None:
    put(kept, "a")
    (kept._layers / "a" / store.RECORD).write_text(text)
    assert taken(kept, "a", tmp_path / "out") is None
    assert not (kept._layers / "a").exists()
    assert put(kept, "a")
    assert taken(kept, "a", tmp_path / "out") == content(b"d")


def test_another_layer_s_record_is_not_believed(kept: Store, tmp_path: Path) -> None:
    put(kept, "a")
    (kept._layers / "a").rename(kept._layers / "b")
    assert taken(kept, "b", tmp_path / "out") is None


def test_a_layer_that_goes_while_it_is_open_can_still_be_read(kept: Store, tmp_path: Path) -> None:
    put(kept, "a")
    with kept.open("a") as layer:
        assert layer is not None
        shutil.rmtree(kept._layers.parent)
        layer.copy("disk", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content(b"d")


def test_one_of_two_builds_that_keep_the_same_is_enough(kept: Store, tmp_path: Path) -> None:
    assert put(kept, "a", b"1")
    assert not put(kept, "a", b"2")
    assert taken(kept, "a", tmp_path / "out") == content(b"1")
    assert leftovers(kept) == []


def test_builds_side_by_side(kept: Store, tmp_path: Path) -> None:
    """Makers, removers and readers at once: whoever reads gets all of it or nothing."""
    end, latest = time.monotonic() + 0.6, time.monotonic() + 60
    seen: list[bytes] = []
    began = threading.Barrier(6)

    def go_on() -> bool:
        # On a busy host nobody may have come to read yet.
        now = time.monotonic()
        return now < end or (not seen and now < latest)

    def make(number: int) -> None:
        began.wait()
        while go_on():
            put(kept, "a", bytes([65 + number]))

    def remove() -> None:
        began.wait()
        while go_on():
            kept.drop("a")
            time.sleep(0.002)

    def read(number: int) -> None:
        began.wait()
        while go_on():
            found = taken(kept, "a", tmp_path / f"out-{number}")
            if found is not None:
                seen.append(found)

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(make, n) for n in range(2)] + [pool.submit(remove)]
        jobs += [pool.submit(read, n) for n in range(3)]
        for job in jobs:
            job.result()
    assert seen
    assert set(seen) <= {content(b"A"), content(b"B")}


def test_what_is_larger_than_all_may_be_is_not_kept(tmp_path: Path) -> None:
    kept = Store(tmp_path / "cache", limit=4096)
    assert not put(kept, "a")
    assert kept.kept() == ()
    assert leftovers(kept) == []


def test_a_copy_can_be_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "STRIDE", 1)
    (tmp_path / "in").write_bytes(content(b"x"))
    with (tmp_path / "in").open("rb") as come_from, (tmp_path / "out").open("wb") as go_to:
        with pytest.raises(sparse.Stopped):
            sparse.duplicate(come_from, go_to, SIZE, lambda: False)
        with pytest.raises(sparse.Stopped):
            sparse.checksum(come_from, SIZE, lambda: False)


def test_holes_and_zeros_have_the_same_checksum(tmp_path: Path) -> None:
    checksums = set()
    for name in ("zeros", "holes"):
        with (tmp_path / name).open("wb") as stream:
            if name == "zeros":
                stream.write(bytes(SIZE))
            stream.seek(SIZE - 1)
            stream.write(b"x")
        with (tmp_path / name).open("rb") as come_from, (tmp_path / "out").open("wb") as go_to:
            checksums.add(sparse.copy(come_from, go_to, SIZE))
            checksums.add(sparse.checksum(come_from, SIZE))
    assert len(checksums) == 1


def test_the_list_names_each_layer_and_clear_removes_what_is_asked(
    kept: Store, tmp_path: Path
) -> None:
    put(kept, "a" * 64)
    folder = tmp_path / "cache"
    (folder / "debs").mkdir()
    (folder / "debs" / "x.deb").write_bytes(b"x" * 5000)
    found = cachefolder.holdings(folder)
    assert [each.kind for each in found] == ["layers", "packages", "lists"]
    assert found[0].name == "a" * 12 and found[0].content.startswith(f"{'a' * 64}.tar, none")
    assert found[1].size >= 5000 and found[2].used is None
    freed = cachefolder.clear(folder, ["layers"])
    assert freed == found[0].size
    assert kept.kept() == () and (folder / "debs" / "x.deb").exists()
    cachefolder.clear(folder, cachefolder.KINDS)
    assert not (folder / "debs" / "x.deb").exists()


def test_a_cache_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert {each.size for each in cachefolder.holdings(tmp_path / "none")} == {0}
    assert cachefolder.clear(tmp_path / "none", cachefolder.KINDS) == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", [store.RECORD, *store.FILES])
def test_a_layer_that_lacks_a_file_makes_room_for_a_whole_one(kept: Store, name: str) -> None:
    put(kept, "a")
    (kept._layers / "a" / name).unlink()
    with kept.open("a") as layer:
        assert layer is None
    assert put(kept, "a")
    with kept.open("a") as layer:
        assert layer is not None


def test_a_record_is_json(kept: Store) -> None:
    put(kept, "a")
    record = json.loads((kept._layers / "a" / store.RECORD).read_text())
    assert record["files"].keys() == set(store.FILES)
