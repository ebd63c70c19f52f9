"""The .debs themselves: from the cache, a directory, or the mirror; decompressed for the guest."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from selfinstall.errors import HostError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.cache import Cache, RepackedDeb, sha256_of
from selfinstall.packages.hostapt import started
from selfinstall.packages.problems import MIRROR_HINT, acquire_problem
from selfinstall.packages.resolution import Fetched, Package, Resolution

R = TypeVar("R")
STEP = "packages"
#: More would not help: hashing and decompressing keep a core busy each.
MAXIMUM_THREADS = 4


def fetch(
    root: AptRoot, resolution: Resolution, cache: Cache, *, on_event: OnEvent = ignore
) -> tuple[Fetched, ...]:
    """Every package of *resolution*, in its order, verified and repacked without compression.

    What the cache holds is not downloaded again; with a directory of packages
    nothing is downloaded at all.

    :param on_event: is told of the progress in bytes of the packages as downloaded.
    :raises HostError: for an unreachable or inconsistent mirror, or a full disk.
    :raises InputError: for a damaged package.
    """
    packages = resolution.packages
    repacked = dict(zip(packages, _in_threads(_cached, cache, packages), strict=True))
    missing = [package for package in packages if repacked[package] is None]
    missing.sort(key=lambda package: -package.size)
    found = _in_threads(lambda cache, package: _held(root, cache, package), cache, missing)
    debs = dict(zip(missing, found, strict=True))
    absent = [package for package in missing if debs[package] is None]
    total = sum(package.size for package in packages)
    ready = total - sum(package.size for package in absent)

    def progress(downloaded: int) -> None:
        on_event(Event("progress", STEP, done=ready + downloaded, total=total, unit="bytes"))

    if packages:
        progress(0)
    if absent:
        debs.update(_download(root, absent, cache, progress))

    def make(cache: Cache, package: Package) -> RepackedDeb:
        path = debs[package]
        assert path is not None
        return cache.repack(path, package.sha256)

    repacked.update(zip(missing, _in_threads(make, cache, missing), strict=True))
    return tuple(_fetched(package, repacked[package]) for package in packages)


def _fetched(package: Package, place: RepackedDeb | None) -> Fetched:
    assert place is not None
    return Fetched(
        package=package,
        path=place.path,
        data_offset=place.data_offset,
        data_size=place.data_size,
    )


def _cached(cache: Cache, package: Package) -> RepackedDeb | None:
    return cache.repacked(package.sha256)


def _held(root: AptRoot, cache: Cache, package: Package) -> Path | None:
    """The package's .deb where no download is needed, verified."""
    local = root.local.get(package.sha256)
    if local is None:
        return cache.deb(package.sha256)
    return local


def _in_threads(
    work: Callable[[Cache, Package], R], cache: Cache, packages: Sequence[Package]
) -> list[R]:
    """*work* on each package, several at once: hashing and decompressing leave Python free."""
    pool = ThreadPoolExecutor(min(MAXIMUM_THREADS, os.cpu_count() or 1))
    try:
        return list(pool.map(lambda package: work(cache, package), packages))
    finally:
        pool.shutdown(cancel_futures=True)


def _download(
    root: AptRoot, packages: Sequence[Package], cache: Cache, progress: Callable[[int], None]
) -> dict[Package, Path]:
    """Download *packages* and keep them in *cache*; where they are there."""
    names = [f"{p.name}:{p.architecture}={p.version}" for p in packages]
    size = sum(package.size for package in packages)
    status, text = _apt_download(root, names, lambda part: progress(int(size * part)))
    if status:
        raise acquire_problem(text)
    paths: dict[Package, Path] = {}
    for package in packages:
        path = root.folder / package.filename
        if not path.is_file() or sha256_of(path) != package.sha256:
            raise HostError(f"{package.filename} was not downloaded as it should", MIRROR_HINT)
        paths[package] = cache.add_deb(path, package.sha256)
        path.unlink()
    progress(size)
    return paths


def _apt_download(
    root: AptRoot, names: Iterable[str], on_part: Callable[[float], None]
) -> tuple[int, str]:
    """Have apt download packages into the root; its exit status and what it wrote."""
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, encoding="utf-8", errors="replace") as lines,
        os.fdopen(writer, "wb") as other_end,
        tempfile.TemporaryFile(dir=root.folder) as log,
        started(
            ["apt-get", "-o", f"APT::Status-Fd={writer}", "download", "--", *names],
            root.folder,
            root.environment(),
            output=log,
            errors=log,
            pass_fds=(writer,),
        ) as process,
    ):
        other_end.close()  # so that the lines end when apt does
        _follow(lines, on_part)
        status = process.wait()
        log.seek(0)
        return status, log.read().decode("utf-8", "replace")


def _follow(lines: IO[str], on_part: Callable[[float], None]) -> None:
    """Report the part (0 to 1) that each line ``dlstatus:FILE:PERCENT:SENTENCE`` tells."""
    for line in lines:
        fields = line.split(":")
        if fields[0] == "dlstatus" and len(fields) > 2:
            on_part(min(1.0, max(0.0, float(fields[2]) / 100)))
