"""The layers of one build: the one that it begins with, and those that it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from selfinstall.arch import Arch
from selfinstall.errors import HostError
from selfinstall.events import Event, OnEvent
from selfinstall.layers import POINTS, after, sparse, with_points
from selfinstall.layers.key import layer_keys
from selfinstall.layers.store import Damaged, Layer, Store, Sum
from selfinstall.plan import Plan
from selfinstall.rootfs.facts import RootfsFacts

#: Where events about layers belong.
STEP = "layer"
#: Free bytes that the cache's file system must have beside a new layer.
HEADROOM = 1 << 30


class Layers:
    """What one build has to do with layers; without a *store*, nothing.

    :param disk: the raw disk that the guest gets.
    :param work: the build's private folder, where kernel and initramfs go.
    """

    def __init__(self, store: Store | None, disk: Path, work: Path, on_event: OnEvent) -> None:
        self.disk = disk
        self._store = store
        self._work = work
        self._on_event = on_event
        self._stack = contextlib.ExitStack()
        self._keys: dict[str, str] = {}
        self._layer: Layer | None = None
        self._fresh: dict[str, Path] = {}
        self._sums: dict[str, dict[str, Sum]] = {}
        self._summing: dict[str, Future[Sum]] = {}
        self._pool = ThreadPoolExecutor(1)
        self._ending = threading.Event()
        self._about: dict[str, str] = {}
        self._pristine = False
        self._failures: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether the build begins with a layer."""
        return self._layer is not None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Layers]:
        """What is not kept goes when the build ends."""
        with self._stack:
            self._stack.enter_context(self._pool)
            self._stack.callback(self._ending.set)
            yield self

    def start(self, plan: Plan, arch: Arch, facts: RootfsFacts, files: Mapping[str, bytes]) -> Plan:
        """Begin with the latest layer that there is, or get ready to keep new ones.

        :param files: as :func:`selfinstall.layers.key.layer_keys` takes them.
        :returns: *plan* with the hooks that are to run.
        """
        if self._store is None:
            return plan
        whole = _with_hooks(plan, with_points(plan.hooks))
        self._keys = layer_keys(whole, arch, facts, files)
        self._about = {
            "tarball": facts.name,
            "system": facts.pretty_name,
            "arch": arch.name,
            "packages": str(len(plan.packages)),
        }
        for point in reversed(POINTS):
            if self._begin(self._store, self._keys[point]):
                return _with_hooks(plan, after(plan.hooks, point))
        return whole if self._prepare(self._store, plan) else plan

    def _begin(self, store: Store, key: str) -> bool:
        layer = self._stack.enter_context(store.open(key))
        if layer is None:
            return False
        try:
            layer.copy("kernel", self._work / "kernel")
            layer.copy("initramfs", self._work / "initramfs")
            layer.copy("disk", self.disk)
        except Damaged as error:
            self._tell("warning", f"a layer in the cache was damaged and is not used: {error}")
            store.drop(key)
            return False
        self._layer, self._pristine = layer, True
        made_of = layer.about.get("tarball", "the same tarball")
        self._tell("note", f"beginning with the layer {key[:12]}, made from {made_of}")
        return True

    def _prepare(self, store: Store, plan: Plan) -> bool:
        """Folders for new layers; none where there is no room."""
        try:
            for point in POINTS:
                self._fresh[point] = self._stack.enter_context(store.making())
                free = shutil.disk_usage(self._fresh[point]).free
                if free < plan.root_bytes + HEADROOM:
                    self._tell("note", "no layer is kept: the cache's file system is nearly full")
                    return False
        except OSError as error:
            self._tell("note", f"no layer is kept: {error}")
            return False
        return True

    def fresh_disk(self, size: int) -> None:
        """Make the disk what the guest shall find, *size* bytes; again for each attempt.

        :raises HostError: the layer has become unreadable meanwhile.
        """
        if self._layer is not None and not self._pristine:
            try:
                self._layer.copy("disk", self.disk)
            except Damaged as error:
                raise HostError(
                    f"the layer that the build began with was damaged: {error}", "try again"
                ) from None
        self._pristine = False
        with self.disk.open("ab" if self._layer else "wb") as stream:
            stream.truncate(size)

    def assembled(self, kernel: Path, initramfs: Path) -> None:
        """Remember the kernel, and the initramfs before anything of this build alone is in it."""
        for point, folder in tuple(self._fresh.items()):
            with self._forgiving(point):
                self._sums[point] = {
                    "kernel": _copied(kernel, folder / "kernel"),
                    "initramfs": _copied(initramfs, folder / "initramfs"),
                }

    def take(self, plan: Plan, point: str, go_on: Callable[[], bool]) -> None:
        """Copy the disk, which does not change meanwhile.

        :param go_on: as :func:`selfinstall.layers.sparse.duplicate` takes it.
        """
        folder = self._fresh.get(point)
        if folder is None or point in self._summing:
            return
        end = plan.disk.root.start + plan.root_bytes
        # In a thread of its own: what went wrong is told later, by keep().
        with self._forgiving(point):
            with _streams(self.disk, folder / "disk") as (come_from, go_to):
                sparse.duplicate(come_from, go_to, end, go_on)
            # The guest need not wait for that.
            self._summing[point] = self._pool.submit(self._summed, folder / "disk", end)

    def _summed(self, disk: Path, size: int) -> Sum:
        with disk.open("rb", buffering=0) as stream:
            return Sum(size, sparse.checksum(stream, size, lambda: not self._ending.is_set()))

    def keep(self) -> None:
        """Put what was taken into the cache; to be called when the guest has done well."""
        for point, summing in self._summing.items():
            assert self._store is not None
            with self._forgiving(point):
                sums = {**self._sums[point], "disk": summing.result()}
                if self._store.add(self._keys[point], self._fresh[point], sums, self._about):
                    self._tell("note", f"kept as the layer {self._keys[point][:12]} in the cache")
        for failure in self._failures:
            self._tell("warning", failure)

    @contextlib.contextmanager
    def _forgiving(self, point: str) -> Iterator[None]:
        """A layer that cannot be kept is no reason to fail."""
        try:
            yield
        except sparse.Stopped:
            self._sums.pop(point, None)
        except OSError as error:
            self._sums.pop(point, None)
            self._fresh.pop(point, None)
            self._failures.append(f"no layer is kept: {error.strerror or error}")

    def _tell(self, kind: str, message: str) -> None:
        assert kind in ("note", "warning")
        self._on_event(Event("note" if kind == "note" else "warning", STEP, message=message))


def _with_hooks(plan: Plan, hooks: tuple[str, ...]) -> Plan:
    settings = {**plan.settings, "HOOKS": " ".join(hooks)}
    return dataclasses.replace(plan, hooks=hooks, settings=settings)


def _copied(source: Path, target: Path) -> Sum:
    with _streams(source, target) as (come_from, go_to):
        whole = os.fstat(come_from.fileno()).st_size
        return Sum(whole, sparse.copy(come_from, go_to, whole))


@contextlib.contextmanager
def _streams(source: Path, target: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    with source.open("rb", buffering=0) as come_from, target.open("wb", buffering=0) as go_to:
        yield come_from, go_to
