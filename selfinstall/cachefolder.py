"""What the cache folder holds, kind by kind, for people to look at and to remove."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from selfinstall.layers import store
from selfinstall.layers.store import Store
from selfinstall.packages import cache
from selfinstall.scratch import sweep

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

    Builds that begin with a layer go on; one that installs packages may miss them.

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
    size, used = 0, None
    for path in paths:
        for file in (path, *_entries(path)):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                size += status.st_blocks * 512
                used = max(used or 0.0, status.st_mtime)
    count = sum(path.suffix != ".json" for path in paths)
    return Holding(kind=kind, name="", size=size, used=used, content=f"{count} {_WHAT[kind]}")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
