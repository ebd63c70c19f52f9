"""Mirrors that cut downloads short, and damage to each file of the packages' cache in turn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_packages_apt
from deb_helpers import Gpg
from harness import Table
from test_packages_apt import Bench, Mirror, Quiet

from selfinstall.errors import HostError, InputError

pytestmark = test_packages_apt.needs_apt
bench, key = test_packages_apt.bench, test_packages_apt.key
CONTENT = {"usr/bin/x": b"program" * 30_000}


@pytest.fixture
def mirror(tmp_path: Path, key: Gpg, bench: Bench) -> Iterator[Mirror]:
    made = Mirror(tmp_path / "mirror", key)
    for name in ("kernel", "tool"):
        shutil.copy(bench.deb(name, files=CONTENT), made.pool)  # type: ignore[arg-type]
    made.publish()
    try:
        yield made
    finally:
        made.stop()


def cut(self: Quiet) -> None:
    """Promise the whole file and send half."""
    content = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
    self.send_response(200)
    self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    self.wfile.write(content[: len(content) // 2])
    self.close_connection = True


def shorter(self: Quiet) -> None:
    """Send half and say that this is all."""
    content = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
    self.send_response(200)
    self.send_header("Content-Length", str(len(content) // 2))
    self.end_headers()
    self.wfile.write(content[: len(content) // 2])


def changed(self: Quiet) -> None:
    """Send the file with one byte changed."""
    content = bytearray((Path(self.directory) / self.path.lstrip("/")).read_bytes())
    content[len(content) // 2] ^= 1
    self.send_response(200)
    self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    self.wfile.write(content)


def silent(self: Quiet) -> None:
    """Hang up."""
    self.close_connection = True


FAULTS = [cut, shorter, changed, silent]
FILES = ["InRelease", "Packages", "kernel_1_all.deb"]


def contents(bench: Bench, **more: object) -> list[bytes]:
    """What the fetched packages hold."""
    found = []
    for each in bench.fetch("kernel", "tool", **more):
        with each.path.open("rb") as stream:
            stream.seek(each.data_offset)
            found.append(stream.read(each.data_size))
    return found


def leftovers(bench: Bench) -> list[Path]:
    return list((bench.cache.folder / "tmp").iterdir())


def test_downloads_that_break(bench: Bench, mirror: Mirror, table: Table) -> None:
    handler = mirror.server.RequestHandlerClass.func  # type: ignore[attr-defined]
    good = handler.do_GET
    for fault in FAULTS:
        for name in FILES:
            shutil.rmtree(bench.cache.folder)
            bench.cache = type(bench.cache)(bench.cache.folder)

            def get(self: Quiet, name: str = name, fault=fault) -> None:  # type: ignore[no-untyped-def]
                (fault if self.path.endswith(name) else good)(self)

            handler.do_GET = get
            with table.point("download broken", f"{name} {fault.__name__}"):
                try:
                    contents(bench, **mirror.sources())
                except (HostError, InputError) as error:
                    assert error.message
                else:
                    raise AssertionError("nobody noticed")
                assert leftovers(bench) == []
                # The next try finds nothing damaged.
                handler.do_GET = good
                assert len(contents(bench, **mirror.sources())) == 2
    table.settle()


def test_damage_to_the_cache(bench: Bench, mirror: Mirror, table: Table) -> None:
    sources = mirror.sources()
    whole = contents(bench, **sources)
    for file in sorted(p for p in bench.cache.folder.rglob("*") if p.is_file()):
        if not file.exists():
            continue  # it was damaged together with another and removed
        before = file.read_bytes()
        places = {0, len(before) // 2, len(before) - 1} if before else set()
        for place in sorted(places):
            damaged = bytearray(before)
            damaged[place] ^= 4
            # A new file: others may share the old one's content by a hard link.
            file.unlink(missing_ok=True)
            file.write_bytes(damaged)
            name = str(file.relative_to(bench.cache.folder))
            with table.point("cache damaged", f"{name[:24]}, byte {place}"):
                assert contents(bench, **sources) == whole
                assert leftovers(bench) == []
    table.settle()


def test_cut_files_of_the_cache(bench: Bench, mirror: Mirror, table: Table) -> None:
    """As a full disk or a power cut could leave them."""
    sources = mirror.sources()
    whole = contents(bench, **sources)
    for file in sorted(p for p in bench.cache.folder.rglob("*") if p.is_file()):
        size = file.stat().st_size if file.exists() else 0
        if size == 0:
            continue
        before = file.read_bytes()
        for length in (0, size // 2):
            file.unlink(missing_ok=True)
            file.write_bytes(before[:length])
            name = str(file.relative_to(bench.cache.folder))
            with table.point("cache file cut short", f"{name[:24]}, {length} bytes"):
                assert contents(bench, **sources) == whole
    table.settle()
