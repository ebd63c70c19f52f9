"""The initramfs as a whole: what goes in, and the file.

Programs and libraries keep their places under merged /usr, with the chains
of links that lead to them; modules are ``modules/NN-NAME.ko``, unpacked, in
the order of loading, with an index for modprobe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from selfinstall.errors import HostError, InputError
from selfinstall.host import NO_ROOM
from selfinstall.initramfs import cpio
from selfinstall.initramfs.cpio import CpioEntry, Region
from selfinstall.initramfs.depindex import dependency_index
from selfinstall.initramfs.elf import MAXIMUM_FILE, find_program, library_closure
from selfinstall.initramfs.merged import MERGED, Found, MergedTree, merged_path
from selfinstall.initramfs.modules import (
    module_closure,
    read_module,
    takes_unsigned,
    without_signature,
)
from selfinstall.rootfs.tree import Entry, Tree

EMPTY_FOLDERS = {"dev": 0o755, "proc": 0o755, "run": 0o755, "sys": 0o755, "target": 0o755}
EMPTY_FOLDERS |= {"tmp": 0o1777}
#: (path, major, minor, mode): what init has before devtmpfs is mounted (devices.txt).
NODES = (("dev/console", 5, 1, 0o600), ("dev/null", 1, 3, 0o666))
#: Names for owners (tar); taken from the target, and these where it has none yet.
ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": b"root:x:0:\n",
}


@dataclasses.dataclass(frozen=True, slots=True)
class ExtraFile:
    """A file that comes from neither the tarball's tree nor the packages'.

    :param path: in the initramfs.
    :param mode: permission bits.
    :param content: bytes, or where on the host they are.
    """

    path: str
    mode: int
    content: bytes | Region


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InitramfsSpec:
    """What an initramfs holds.

    :param programs: names or paths; ``?name`` may be absent.
    :param modules: names; ``?name`` may be absent.
    :param kernel_version: whose modules.
    :param multiarch: the GNU triplet of the library folders.
    :param mtime: of every file, seconds since 1970.
    :param files: init, hooks, settings, payload …; they win over files of the tree.
    """

    programs: tuple[str, ...]
    modules: tuple[str, ...]
    kernel_version: str
    multiarch: str
    mtime: int
    files: tuple[ExtraFile, ...] = ()


def plan_entries(tree: Tree, spec: InitramfsSpec) -> tuple[CpioEntry, ...]:
    """All entries of the initramfs, sorted.  Reads the tree's archives and nothing else.

    :raises InputError: programs (all of them are named), libraries or modules are missing.
    :raises ValueError: *spec.files* do not fit in one archive.
    """
    view = MergedTree(tree)
    programs = _program_paths(view, spec.programs)
    wanted = [*programs, *library_closure(view, programs, spec.multiarch)]
    entries: dict[str, CpioEntry] = {}
    for entry in (
        *_skeleton(view),
        *_from_tree(view, wanted),
        *_module_entries(tree, spec),
        *_extra_entries(spec.files),
    ):
        entries[entry.path] = entry
    stamped = [dataclasses.replace(entry, mtime=spec.mtime) for entry in entries.values()]
    return cpio.complete([*stamped, *_merged_links(stamped, spec.mtime)])


def _program_paths(view: MergedTree, names: Iterable[str]) -> list[str]:
    places = {name: find_program(view, name.removeprefix("?")) for name in names}
    missing = [name for name, place in places.items() if place is None and name[:1] != "?"]
    if missing:
        raise InputError(
            f"programs are missing in the tarball and the packages: {' '.join(missing)}"
        )
    return [place for place in places.values() if place is not None]


def _skeleton(view: MergedTree) -> Iterator[CpioEntry]:
    for path, mode in EMPTY_FOLDERS.items():
        yield cpio.directory(path, mode)
    for path, major, minor, mode in NODES:
        yield cpio.char_device(path, major, minor, mode)
    for path, minimum in ACCOUNTS.items():
        found = view.file(path)
        content = minimum if found is None else _region(found.entry, path)
        yield cpio.regular(path, content, 0o644)


def _from_tree(view: MergedTree, paths: Iterable[str]) -> Iterator[CpioEntry]:
    """Files with the links that lead to them."""
    for path in paths:
        found = view.file(path)
        assert found is not None
        yield from _with_links(found)


def _with_links(found: Found) -> Iterator[CpioEntry]:
    for path, target in found.links:
        yield cpio.symlink(path, target)
    # No setuid: everything runs as root. Not the tree's odd modes either: root must run it.
    mode = 0o755 if found.entry.mode & 0o111 else 0o644
    yield cpio.regular(found.path, _region(found.entry, found.path), mode)


def _region(entry: Entry, path: str) -> bytes | Region:
    assert entry.archive is not None, path
    if entry.pieces is not None:
        # A sparse member's bytes do not lie in one piece.
        if entry.size > MAXIMUM_FILE:
            raise InputError(f"{path} is too large for an initramfs: {entry.size} bytes")
        return entry.read()
    return Region(entry.archive, entry.offset, entry.size)


def _module_entries(tree: Tree, spec: InitramfsSpec) -> Iterator[CpioEntry]:
    modules = module_closure(tree, spec.kernel_version, spec.modules)
    unsigned = takes_unsigned(tree, spec.kernel_version)
    width = max(2, len(str(len(modules))))
    index: dict[str, str] = {}
    for number, module in enumerate(modules):
        entry = tree.get(module.path)
        assert entry is not None
        content = read_module(entry, module.path)
        if unsigned:
            content = without_signature(content)
        path = f"modules/{number:0{width}}-{module.name}.ko"
        index[module.name.replace("-", "_")] = f"/{path}:"
        yield cpio.regular(path, content)
    if index:
        folder = merged_path(f"lib/modules/{spec.kernel_version}")
        yield cpio.regular(f"{folder}/modules.dep.bin", dependency_index(index))


def _extra_entries(files: Iterable[ExtraFile]) -> Iterator[CpioEntry]:
    for file in files:
        yield cpio.regular(merged_path(file.path), file.content, file.mode)


def _merged_links(entries: Iterable[CpioEntry], mtime: int) -> Iterator[CpioEntry]:
    """``bin`` → ``usr/bin`` and the others that lead anywhere."""
    folders = {
        "/".join(entry.path.split("/")[:2]) for entry in entries if entry.path.count("/") > 1
    }
    for top in MERGED:
        if f"usr/{top}" in folders:
            yield cpio.symlink(top, f"usr/{top}", mtime=mtime)


def write_initramfs(out: Path, entries: Iterable[CpioEntry]) -> int:
    """Write the archive; returns its size in bytes.  Nothing is left of it after a failure.

    :raises HostError: there is no room, or the file cannot be written.
    :raises InputError: an archive that entries are read from was cut meanwhile.
    """
    entries = tuple(entries)
    try:
        stream = out.open("wb", buffering=cpio.CHUNK)
    except OSError as error:
        raise HostError(f"the initramfs cannot be written: {error}") from error
    try:
        with stream:
            return cpio.write_cpio(stream, entries)
    except OSError as error:
        out.unlink()
        if error.errno not in NO_ROOM:
            raise HostError(f"the initramfs cannot be written: {error}") from error
        raise HostError(
            f"no room in {out.parent} for the initramfs of {cpio.archive_size(entries)} bytes",
            "make room there, or set TMPDIR to a folder that has it",
        ) from error
    except BaseException:
        out.unlink()
        raise
