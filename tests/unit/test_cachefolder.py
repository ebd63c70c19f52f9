"""The limit of the cache: one for all kinds, least recently used first."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

import pytest
from deb_helpers import deb_bytes
from test_layers_store import put, taken

from selfinstall import cachefolder
from selfinstall.layers.store import Store
from selfinstall.packages.cache import Cache, sha256_of

#: Each use of an entry, by the folder that the entry is in.
USES = ("layers", "debs", "repacked", "derived", "lists", "decided")


class Filled:
    """A cache with one entry of each kind, used some days ago, and ways to use them."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self.folder = folder / "cache"
        self.store, self.cache = Store(self.folder), Cache(self.folder)
        deb, index = self.work / "a.deb", self.work / "index"
        deb.write_bytes(deb_bytes("a", files={"x": os.urandom(30_000)}))
        index.write_bytes(os.urandom(30_000))
        self.sha256 = sha256_of(deb)
        put(self.store, "a" * 64)
        self.cache.add_deb(deb, self.sha256)
        self.cache.repack(deb, self.sha256)
        self.cache.derived(self.sha256, "x", lambda path: path.write_bytes(b"x" * 30_000)).close()
        self.cache.keep_lists("b" * 64, [index])
        self.cache.remember("c" * 64, b"x" * 30_000)
        then = time.time() - 3 * 86400
        for name in USES:
            for path in (self.folder / name).rglob("*"):
                os.utime(path, (then, then))

    def use(self, name: str) -> bool:
        """Whether the entry was there."""
        into = Path(tempfile.mkdtemp(dir=self.work))
        match name:
            case "layers":
                return taken(self.store, "a" * 64, into / "disk") is not None
            case "debs":
                return self.cache.deb(self.sha256) is not None
            case "repacked":
                return self.cache.repacked(self.sha256) is not None
            case "derived":
                made: list[Path] = []
                self.cache.derived(self.sha256, "x", lambda path: made.append(path)).close()
                return not made
            case "lists":
                return self.cache.take_lists("b" * 64, into)
            case _:
                return self.cache.recall("c" * 64) is not None

    def names(self) -> list[str]:
        """The folders with anything in them."""
        return [name for name in USES if any((self.folder / name).iterdir())]


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return Filled(tmp_path)


def occupied(folder: Path) -> int:
    return sum(each.size for each in cachefolder.holdings(folder))


@pytest.mark.parametrize("name", USES)
def test_what_was_used_stays_longest(filled: Filled, name: str) -> None:
    assert filled.names() == list(USES)
    assert filled.use(name)
    limit = 60_000 + sum(p.stat().st_blocks * 512 for p in (filled.folder / name).rglob("*"))
    cachefolder.trim(filled.folder, limit)
    left = filled.names()
    assert name in left and len(left) < 4
    assert filled.use(name)
    assert occupied(filled.folder) <= limit
    assert list((filled.folder / "tmp").iterdir()) == []


def test_nothing_goes_below_the_limit_and_all_goes_with_none(filled: Filled) -> None:
    cachefolder.trim(filled.folder, occupied(filled.folder) + 8192)  # and folders
    assert filled.names() == list(USES)
    cachefolder.trim(filled.folder, 0)
    assert filled.names() == [] and occupied(filled.folder) < 10_000


def test_a_file_goes_together_with_its_record(filled: Filled) -> None:
    for name in ("repacked", "derived"):
        assert len(list((filled.folder / name).iterdir())) == 2
    cachefolder.trim(filled.folder, 0)
    for name in ("repacked", "derived"):
        assert list((filled.folder / name).iterdir()) == []


def test_a_killed_trim_leaves_nothing_for_the_next_build(filled: Filled) -> None:
    """What was renamed away lies in a temporary folder that nobody has locked."""
    trash = filled.folder / "tmp" / "new-01234567"
    trash.mkdir()
    (filled.folder / "layers" / ("a" * 64)).rename(trash / "0")
    with contextlib.ExitStack() as holding:
        Cache(filled.folder, holding)
        assert not trash.exists()
    assert filled.names() == list(USES[1:])


def test_a_cache_that_cannot_be_changed_is_let_be(tmp_path: Path) -> None:
    cachefolder.trim(tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()
    cachefolder.trim(Path("/proc/self"), 0)
