"""The folder of layers in the cache.

::

    layers/KEY/record.json    what it is, and sizes and checksums of the others
    layers/KEY/disk           the disk's beginning, raw and sparse
    layers/KEY/kernel, initramfs
    tmp/                      what is being written or removed

Safe to share between builds at the same moment and to be killed at any, without
locks: a layer is made under a temporary name and appears by one rename with all
its files; to be removed it is renamed away first; who reads has all its files open
before the first byte counts, and believes none whose checksum differs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from selfinstall.layers import sparse
from selfinstall.scratch import is_at, private_folder, sweep

RECORD = "record.json"
FILES = ("disk", "kernel", "initramfs")
_LARGEST_RECORD = 1 << 20
#: How the names of what is being written or removed begin.
TEMPORARY = "layer-"


class Damaged(Exception):
    """A layer is not what was kept."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sum:
    """Size in bytes and checksum (:func:`selfinstall.layers.sparse.copy`) of a file."""

    size: int
    crc: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A layer as a list of them shows it.

    :param size: bytes on disk.
    :param used: when it was used last, seconds since 1970.
    :param about: what it was made of: ``tarball``, ``system``, ``arch`` …
    """

    key: str
    size: int
    used: float
    about: dict[str, str]


class Layer:
    """An open layer: its files stay readable whatever becomes of their folder."""

    def __init__(self, key: str, streams: dict[str, BinaryIO], record: dict[str, Any]) -> None:
        self.key = key
        self._streams = streams
        try:
            self._sums = {n: Sum(int(f["size"]), int(f["crc"])) for n, f in record["files"].items()}
            self.about = {str(k): str(v) for k, v in record["about"].items()}
            fits = record["key"] == key and self._sums.keys() == streams.keys()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(f"its record makes no sense: {error!r}") from None
        if not fits:
            raise Damaged("its record is another's")

    def copy(self, name: str, target: Path) -> None:
        """Write the file *name* to *target*, an empty file or none.

        :raises Damaged: it is not what was kept.
        :raises OSError: *target* cannot be written.
        """
        wanted, source = self._sums[name], self._streams[name]
        if os.fstat(source.fileno()).st_size != wanted.size:
            raise Damaged(f"{name} has another size")
        with target.open("wb") as stream:
            try:
                checksum = sparse.copy(source, stream, wanted.size)
            except sparse.Unreadable as error:
                raise Damaged(f"{name} cannot be read: {error.strerror}") from None
        if checksum != wanted.crc:
            raise Damaged(f"{name} has another checksum")


class Store:
    """The layers below *folder*, the cache's.

    :param limit: bytes on disk that a layer may take, because all of the cache may not take more;
        None for any.
    :raises OSError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self._layers = folder.absolute() / "layers"
        self._tmp = folder.absolute() / "tmp"
        self._limit = limit
        for path in (self._layers, self._tmp):
            path.mkdir(parents=True, exist_ok=True)
        sweep(self._tmp, TEMPORARY)
        # Whoever may not read a tarball may not read what was made of it.
        self._layers.chmod(0o700)

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[Layer | None]:
        """The layer kept under *key*, or None; what is no layer is removed."""
        with contextlib.ExitStack() as stack:
            try:
                layer = self._open(key, stack)
            except FileNotFoundError:
                layer = None
            except (Damaged, OSError, ValueError, RecursionError):
                self.drop(key)
                layer = None
            yield layer

    def _open(self, key: str, stack: contextlib.ExitStack) -> Layer:
        # By the folder's descriptor: another layer cannot take its place half-way.
        path = self._layers / key
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            streams = {name: stack.enter_context(_open_in(folder, name)) for name in FILES}
            with _open_in(folder, RECORD) as stream:
                record = json.loads(stream.read(_LARGEST_RECORD))
                with contextlib.suppress(OSError):
                    os.utime(stream.fileno())
        except FileNotFoundError:
            if is_at(folder, path):
                # Not being removed: it would keep a whole one from its place for ever.
                raise Damaged("it lacks a file") from None
            raise
        finally:
            os.close(folder)
        return Layer(key, streams, record)

    @contextlib.contextmanager
    def making(self) -> Iterator[Path]:
        """A folder for a layer that is being made; gone afterwards unless :meth:`add` took it."""
        with private_folder(self._tmp, TEMPORARY) as parent:
            folder = parent / "new"
            folder.mkdir()
            yield folder

    def add(self, key: str, folder: Path, sums: dict[str, Sum], about: dict[str, str]) -> bool:
        """Keep what is in *folder* (of :meth:`making`) under *key*; whether it was kept.

        :raises OSError: it cannot be written.
        """
        if self._limit is not None and _occupied(folder) > self._limit:
            return False
        record = {
            "key": key,
            "files": {name: dataclasses.asdict(each) for name, each in sums.items()},
            "about": about,
        }
        (folder / RECORD).write_text(json.dumps(record, indent=1))
        try:
            folder.rename(self._layers / key)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False  # another build was quicker
        return True

    def drop(self, key: str) -> None:
        """Remove the layer kept under *key*, if there is one."""
        with contextlib.suppress(OSError), self.making() as folder:
            (self._layers / key).rename(folder)

    def kept(self) -> tuple[Kept, ...]:
        """All layers, the most recently used first."""
        found = []
        for folder in self._layers.iterdir():
            with contextlib.suppress(OSError):
                record = folder / RECORD
                used = record.stat().st_mtime
                found.append(
                    Kept(key=folder.name, size=_occupied(folder), used=used, about=_about(record))
                )
        return tuple(sorted(found, key=lambda kept: -kept.used))


def _open_in(folder: int, name: str) -> BinaryIO:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    return os.fdopen(descriptor, "rb", buffering=0)


def _about(record: Path) -> dict[str, str]:
    try:
        with record.open("rb") as stream:
            about = json.loads(stream.read(_LARGEST_RECORD))["about"]
        return {str(key): str(value) for key, value in about.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _occupied(folder: Path) -> int:
    """Bytes on disk of the files in *folder*."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
