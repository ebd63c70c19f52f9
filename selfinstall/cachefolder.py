"""What the cache folder holds, kind by kind: its limit, and for people to look at and to remove.

Whoever uses an entry marks it as used by its time (of the entry or of a file in it) and has it
open, or a link to it, before it counts (:mod:`selfinstall.packages.cache`,
:mod:`selfinstall.layers.store`).  So any entry may be removed at any time, in one rename, and no
build misses what it has taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from selfinstall.layers import store
from selfinstall.layers.store import Store
from selfinstall.packages import cache
from selfinstall.scratch import private_folder, sweep

#: Bytes on disk that all kinds may take together, without ``--cache-limit``.
DEFAULT_LIMIT = 20 << 30
Kind = Literal["layers", "packages", "lists"]

#: The kinds, and the folders that hold each.
KINDS: dict[Kind, tuple[str, ...]] = {
    "layers": ("layers",),
    "packages": ("debs", "repacked", "derived"),
    "lists": ("lists", "decided"),
}


_WHAT = {
    "packages": "files of packages",
    "lists": "sets of index files and what apt decided from them",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """One layer, or everything of another kind.

    :param size: bytes on disk.
    :param used: when it was used last, seconds since 1970; None when there is nothing.
    :param content: what it is, for people.
    """

    kind: Kind
    name: str
    size: int
    used: float | None
    content: str


def holdings(folder: Path) -> tuple[Holding, ...]:
    """What the cache at *folder* holds; layers one by one, the last used first."""
    return (*_layers(folder), *(_files(folder, kind) for kind in KINDS if kind != "layers"))


def clear(folder: Path, kinds: Iterable[Kind]) -> int:
    """Remove everything of these *kinds*; returns how many bytes on disk were freed.

    What killed builds left half-written goes too.

    Running builds keep what they have taken.

    :raises OSError: the folder cannot be written to.
    """
    freed = 0
    for kind in kinds:
        for holding in holdings(folder):
            freed += holding.size if holding.kind == kind else 0
        if kind == "layers":
            _clear_layers(folder)
            continue
        for name in KINDS[kind]:
            for path in _entries(folder / name):
                _remove(path)
    for prefix in (store.TEMPORARY, cache.TEMPORARY):
        sweep(folder / "tmp", prefix)
    return freed


def trim(folder: Path, limit: int = DEFAULT_LIMIT) -> None:
    """Remove what is over *limit* bytes on disk, of all kinds the least recently used first.

    What cannot be removed stays.
    """
    with contextlib.suppress(OSError):
        entries = sorted(_used(folder), key=lambda entry: -entry.used)
        totals = itertools.accumulate(entry.size for entry in entries)
        over = [entry for entry, total in zip(entries, totals, strict=True) if total > limit]
        if over:
            _throw_away(folder, [path for entry in over for path in entry.paths])


def _throw_away(folder: Path, paths: Iterable[Path]) -> None:
    with private_folder(folder / "tmp", cache.TEMPORARY) as trash:
        for number, path in enumerate(paths):
            with contextlib.suppress(OSError):
                path.rename(trash / str(number))


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """What goes together: the files, their bytes on disk, and when any was used last."""

    paths: tuple[Path, ...]
    size: int
    used: float


def _used(folder: Path) -> Iterator[_Entry]:
    for name in itertools.chain.from_iterable(KINDS.values()):
        # A file and its record, which have all but the suffix of their names in common.
        for _, group in itertools.groupby(_entries(folder / name), _stem):
            paths = tuple(group)
            size, used = _measured(paths)
            yield _Entry(paths, size, used or 0.0)


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def _measured(paths: Iterable[Path]) -> tuple[int, float | None]:
    """Bytes on disk of files and of what folders hold, and when any was used last."""
    size, used = 0, None
    for path in paths:
        for file in (path, *_entries(path)):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                size += status.st_blocks * 512
                used = max(used or 0.0, status.st_mtime)
    return size, used


def _layers(folder: Path) -> Iterator[Holding]:
    if not (folder / "layers").is_dir():
        return
    for kept in Store(folder).kept():
        about = kept.about
        words = (Path(about.get("tarball", "?")).name, about.get("system"), about.get("arch"))
        packages = f"{about.get('packages', '?')} packages added"
        yield Holding(
            kind="layers",
            name=kept.key[:12],
            size=kept.size,
            used=kept.used,
            content=", ".join([*(word for word in words if word), packages]),
        )


def _clear_layers(folder: Path) -> None:
    if not (folder / "layers").is_dir():
        return
    layers = Store(folder)
    for kept in layers.kept():
        layers.drop(kept.key)
    for path in _entries(folder / "layers"):
        _remove(path)


def _files(folder: Path, kind: Kind) -> Holding:
    paths = [path for name in KINDS[kind] for path in _entries(folder / name)]
    size, used = _measured(paths)
    count = sum(path.suffix != ".json" for path in paths)
    return Holding(kind=kind, name="", size=size, used=used, content=f"{count} {_WHAT[kind]}")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
