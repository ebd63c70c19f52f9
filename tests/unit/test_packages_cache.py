"""The cache: verified, bounded, and safe to share."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import deb_helpers
import pytest

from selfinstall import cachefolder
from selfinstall.errors import HostError, InputError
from selfinstall.packages import cache as module
from selfinstall.packages.cache import Cache, default_folder


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def a_deb(folder: Path, name: str = "a", size: int = 100) -> tuple[Path, str]:
    path = folder / f"{name}.deb"
    path.write_bytes(deb_helpers.deb_bytes(name, files={"x": os.urandom(size)}))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def leftovers(cache: Cache) -> list[Path]:
    return list((cache.folder / "tmp").iterdir())


def test_default_folder() -> None:
    assert default_folder({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/selfinstall")
    for environment in ({"HOME": "/h"}, {"HOME": "/h", "XDG_CACHE_HOME": "relative"}):
        assert default_folder(environment) == Path("/h/.cache/selfinstall")
    with pytest.raises(HostError) as caught:
        default_folder({})
    assert caught.value.hint is not None and "XDG_CACHE_HOME" in caught.value.hint


def test_a_folder_that_cannot_be_made_is_the_host_s_fault() -> None:
    with pytest.raises(HostError, match="/proc/cannot") as caught:
        Cache(Path("/proc/cannot"))
    assert caught.value.hint is not None and "XDG_CACHE_HOME" in caught.value.hint


def test_a_deb_comes_back_verified(cache: Cache, tmp_path: Path) -> None:
    path, sha256 = a_deb(tmp_path)
    assert cache.deb(sha256) is None
    kept = cache.add_deb(path, sha256)
    assert cache.deb(sha256) == kept
    path.unlink()
    kept.write_bytes(b"damaged")
    assert cache.deb(sha256) is None
    assert not kept.exists()


def test_repacking_and_coming_back(cache: Cache, tmp_path: Path) -> None:
    path, sha256 = a_deb(tmp_path)
    assert cache.repacked(sha256) is None
    made = cache.repack(path, sha256)
    assert cache.repacked(sha256) == made
    with made.path.open("rb") as stream:
        stream.seek(made.data_offset + 512)
        assert made.data_size == 10240 and len(stream.read(100)) == 100
    assert leftovers(cache) == []


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone", "record", "record gone", "old"])
def test_a_damaged_repacked_deb_is_made_again(how: str, cache: Cache, tmp_path: Path) -> None:
    path, sha256 = a_deb(tmp_path)
    made = cache.repack(path, sha256)
    record = made.path.with_suffix(".json")
    content = made.path.read_bytes()
    match how:
        case "flip":
            made.path.write_bytes(content[:1000] + b"?" + content[1001:])
        case "cut":
            made.path.write_bytes(content[:-1])
        case "empty":
            made.path.write_bytes(b"")
        case "gone":
            made.path.unlink()
        case "record":
            record.write_text("[")
        case "record gone":
            record.unlink()
        case "old":
            record.write_text(json.dumps({**json.loads(record.read_text()), "format": 0}))
    assert cache.repacked(sha256) is None
    assert cache.repack(path, sha256) == made
    assert cache.repacked(sha256) == made
    assert made.path.read_bytes() == content


def test_a_damaged_original_leaves_nothing(cache: Cache, tmp_path: Path) -> None:
    path, sha256 = a_deb(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError):
        cache.repack(path, sha256)
    assert cache.repacked(sha256) is None
    assert leftovers(cache) == []
    assert list((cache.folder / "repacked").iterdir()) == []


def test_a_full_disk_is_the_host_s_fault(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path, sha256 = a_deb(tmp_path)
    monkeypatch.setattr(module.deb, "repack", full)
    with pytest.raises(HostError, match="no space left"):
        cache.repack(path, sha256)
    assert leftovers(cache) == []


def test_many_at_once(tmp_path: Path) -> None:
    path, sha256 = a_deb(tmp_path, size=50_000)
    files = []
    for name in ("one", "two"):
        files.append(tmp_path / name)
        files[-1].write_text(name)

    def work(number: int) -> tuple[bytes, ...]:
        with contextlib.ExitStack() as holding:
            cache = Cache(tmp_path / "cache", holding)
            found = [cache.add_deb(path, sha256)]
            cache.keep_lists("k", files)
            target = tmp_path / f"lists{number}"
            target.mkdir()
            if cache.take_lists("k", target):
                assert sorted(p.name for p in target.iterdir()) == ["one", "two"]
            found.append(cache.repack(path, sha256).path)
            cachefolder.trim(cache.folder, number % 3 * 30_000)
            again = cache.repacked(sha256)
            found.append(again.path if again is not None else found[-1])
            return tuple(path.read_bytes() for path in found)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(40)))) == 1
    assert leftovers(Cache(tmp_path / "cache")) == []


def test_lists_come_back_with_their_times(cache: Cache, tmp_path: Path) -> None:
    path, target = tmp_path / "Packages", tmp_path / "target"
    target.mkdir()
    path.write_text("x")
    age(path, 1000)
    assert not cache.take_lists("k", target)
    cache.keep_lists("k", [path])
    assert cache.take_lists("k", target)
    assert (target / "Packages").stat().st_mtime_ns == path.stat().st_mtime_ns


def test_newer_lists_replace_older(cache: Cache, tmp_path: Path) -> None:
    for content in ("old", "new"):
        folder = tmp_path / content
        folder.mkdir()
        (folder / f"{content}_Packages").write_text(content)
        cache.keep_lists("k", [folder / f"{content}_Packages"])
    target = tmp_path / "target"
    target.mkdir()
    assert cache.take_lists("k", target)
    assert [path.name for path in target.iterdir()] == ["new_Packages"]
    assert leftovers(cache) == []


@pytest.mark.parametrize("damage", [b"y", b"", None])
def test_damaged_lists_are_none(damage: bytes | None, cache: Cache, tmp_path: Path) -> None:
    path, target = tmp_path / "Packages", tmp_path / "target"
    path.write_bytes(b"x")
    target.mkdir()
    cache.keep_lists("k", [path])
    kept = cache.folder / "lists" / "k" / "Packages"
    kept.unlink()
    if damage is not None:
        kept.write_bytes(damage)
    assert not cache.take_lists("k", target)
    assert list(target.iterdir()) == []


def test_what_a_build_has_taken_stays(cache: Cache, tmp_path: Path) -> None:
    """Whoever removes the entry: another build's limit, or people."""
    path, sha256 = a_deb(tmp_path)
    made, whole = cache.repack(path, sha256), path.read_bytes()
    kept = cache.add_deb(path, sha256)
    with contextlib.ExitStack() as holding:
        first, second = (Cache(cache.folder, holding) for _ in range(2))
        taken = [first.deb(sha256), second.add_deb(path, sha256)]
        repacked = [first.repacked(sha256), first.repack(path, sha256), second.repacked(sha256)]
        content = made.path.read_bytes()
        cachefolder.trim(cache.folder, 0)
        assert not kept.exists() and not made.path.exists()
        cachefolder.clear(cache.folder, cachefolder.KINDS)
        assert [each.read_bytes() for each in taken] == [whole, whole]
        assert [each.path.read_bytes() for each in repacked] == [content] * 3
        assert first.deb(sha256) is None and first.repacked(sha256) is None
        assert first.repack(path, sha256).path.read_bytes() == content
    assert leftovers(cache) == []


def test_a_full_disk_elsewhere_is_not_the_cache_s(cache: Cache) -> None:
    with pytest.raises(OSError, match="elsewhere"), contextlib.ExitStack() as holding:
        Cache(cache.folder, holding)
        raise OSError(errno.ENOSPC, "elsewhere")
    assert leftovers(cache) == []


def test_what_was_taken_damaged_is_not_taken_again(cache: Cache, tmp_path: Path) -> None:
    path, sha256 = a_deb(tmp_path)
    made = cache.repack(path, sha256)
    content = made.path.read_bytes()
    made.path.write_bytes(b"x")
    with contextlib.ExitStack() as holding:
        mine = Cache(cache.folder, holding)
        assert mine.repacked(sha256) is None
        assert mine.repack(path, sha256).path.read_bytes() == content
        again = mine.repacked(sha256)
        assert again is not None and again.path.read_bytes() == content


def test_what_is_derived_is_made_once_and_given_open(cache: Cache) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"x")

    for expected in (1, 1, 2, 2):
        if expected == 2 and len(made) == 1:
            (cache.folder / "derived" / "k.x").write_bytes(b"damaged")
        with cache.derived("k", "x", make) as stream:
            cachefolder.trim(cache.folder, 1 << 30)
            assert stream.read() == b"x" and len(made) == expected
    with cache.derived("k", "x", make) as stream:
        cachefolder.trim(cache.folder, 0)
        assert stream.read() == b"x" and list((cache.folder / "derived").iterdir()) == []


def test_copies_where_links_are_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("x")
    age(tmp_path / "a", 500)
    module.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "x"
    assert (tmp_path / "a").stat().st_mtime_ns == (tmp_path / "b").stat().st_mtime_ns
