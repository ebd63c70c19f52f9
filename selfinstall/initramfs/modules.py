"""Kernel modules in the order in which they are to be loaded, and the kernel's image.

Packages of kernels carry no ``modules.dep``: dependencies come from each
module's own ``.modinfo``.  Unpacking all modules of a Debian kernel (4229 of
them for 6.12, amd64) takes many seconds, so only those that are asked for are read.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import lzma
import posixpath
import re
import struct
import zlib
from collections.abc import Iterable

import zstandard
from debian.debian_support import Version

from selfinstall.errors import InputError
from selfinstall.initramfs.elf import section_bytes
from selfinstall.rootfs.source import label
from selfinstall.rootfs.tree import Entry, Tree

#: Modules have some MB, kernels some ten; packed and unpacked they are in memory at once.
MAXIMUM_MODULE = 100 << 20
MAXIMUM_NAME = 256
#: Kernels are packed by "zstd -22 --ultra" out of a pipe, whose window is of that size.
ZSTD_WINDOW = 128 << 20
#: What tells of built-in modules has some 100 KB.
MAXIMUM_LIST = 4 << 20
#: Soft dependencies of one module; the most known are five.
MAXIMUM_SOFT = 64
#: Chains of dependencies are about six long.
MAXIMUM_DEPTH = 100
#: Before merged /usr, modules were in ``lib``.
MODULE_ROOTS = ("usr/lib/modules", "lib/modules")
SUFFIX = re.compile(r"\.ko(\.xz|\.zst|\.gz)?$")
#: Folders of what goes by an algorithm's name.
ALGORITHM = re.compile(r"/kernel/(?:.*/)?(?:crypto|lib)/")
#: What a signed module ends with, and struct module_signature before it, whose last field is the
#: signature's length (scripts/sign-file.c of the kernel).
_SIGNED, _SIGNATURE = b"~Module signature appended~\n", struct.Struct(">5B3xI")
#: Where a kernel tells how it was built.
CONFIGS = ("boot/config-{}", "usr/lib/modules/{}/config", "lib/modules/{}/config")
IMAGES = ("boot/vmlinuz-{}", "boot/vmlinux-{}", "usr/lib/modules/{}/vmlinuz")


@dataclasses.dataclass(frozen=True, slots=True)
class LoadModule:
    """A module to load.

    :param path: its file in the tree.
    :param name: as the kernel writes it, with ``_``.
    """

    path: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class KernelFiles:
    """A kernel.

    :param version: as in ``/lib/modules/VERSION``.
    :param image: its path in the tree.
    """

    version: str
    image: str


def find_kernel(tree: Tree, version: str | None = None) -> KernelFiles:
    """The kernel *version*, or the newest that has modules.

    :raises InputError: there is none.
    """
    versions = {version} if version is not None else _image_versions(tree)
    found = [
        KernelFiles(each, image)
        for each in versions
        for image in (form.format(each) for form in IMAGES)
        if _is_file(tree, image)
    ]
    if not found:
        wanted = "kernel" if version is None else f"kernel {version}"
        raise InputError(f"there is no {wanted} in the tarball or the packages")
    with_modules = {k.version for k in found if _has_modules(tree, k.version)}
    # max() takes the first of equals: the first place in IMAGES.
    return max(found, key=lambda k: (k.version in with_modules, version_key(k.version)))


def _image_versions(tree: Tree) -> set[str]:
    names = [posixpath.basename(path) for path, _ in tree.under("boot")]
    found = {name[len("vmlinuz-") :] for name in names if re.match(r"vmlinu[zx]-.", name)}
    for path, _ in tree.under("usr/lib/modules"):
        if path.endswith("/vmlinuz"):
            found.add(posixpath.basename(posixpath.dirname(path)))
    # No file system has longer names, and Python counts no longer numbers.
    return {version for version in found if len(version) < MAXIMUM_NAME}


def _has_modules(tree: Tree, version: str) -> bool:
    return any(True for folder in _module_folders(version) for _ in tree.under(f"{folder}/kernel"))


def _is_file(tree: Tree, path: str) -> bool:
    entry = tree.get(path)
    return entry is not None and entry.type == "file"


def version_key(version: str) -> Version:
    """Orders kernel versions as Debian orders package versions (6.9 before 6.12)."""
    return Version("0:" + re.sub(r"[^A-Za-z0-9.+~-]", "+", version))


def _module_folders(version: str) -> tuple[str, ...]:
    return tuple(f"{root}/{version}" for root in MODULE_ROOTS)


def read_module(entry: Entry, path: str) -> bytes:
    """A module's ELF file, decompressed as its first bytes say.

    :raises InputError: naming *path*, when it is damaged or absurdly large.
    """
    if entry.size > MAXIMUM_MODULE:
        raise InputError(f"the kernel module {path} is too large: {entry.size} bytes")
    return decompressed(entry.read(), f"kernel module {path}")


def takes_unsigned(tree: Tree, version: str) -> bool:
    """Whether a kernel loads modules without a signature, as far as it tells."""
    for path in (form.format(version) for form in CONFIGS):
        entry = tree.get(path)
        if entry is not None and entry.type == "file" and entry.size <= MAXIMUM_LIST:
            return b"\nCONFIG_MODULE_SIG_FORCE=y\n" not in entry.read()
    return False


def without_signature(module: bytes) -> bytes:
    """A module's ELF file without what stands behind it.

    Emulated, checking the signatures takes half of what loading the modules takes, and there is
    nobody to protect from them.
    """
    if not module.endswith(_SIGNED):
        return module
    end = len(module) - len(_SIGNED) - _SIGNATURE.size
    if end < 0:
        return module
    *_, length = _SIGNATURE.unpack_from(module, end)
    return module[: end - length] if length <= end else module


def read_kernel(entry: Entry, path: str) -> bytes:
    """A kernel's image as it is.

    :raises InputError: naming *path*, when it is absurdly large.
    """
    if entry.size > MAXIMUM_MODULE:
        raise InputError(f"the kernel {path} is too large: {entry.size} bytes")
    return entry.read()


def decompressed(content: bytes, what: str) -> bytes:
    """*content*, decompressed if its first bytes are those of xz, zstd or gzip.

    :raises InputError: naming *what*, when it is damaged or absurdly large.
    """
    try:
        unpacked = _decompressed(content)
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"the {what} is damaged: {error}") from error
    if len(unpacked) > MAXIMUM_MODULE:
        raise InputError(f"the {what} is too large when unpacked")
    return unpacked


def _decompressed(content: bytes) -> bytes:
    """At most one byte more than the limit, so that the caller sees what is too large."""
    limit = MAXIMUM_MODULE + 1
    if content.startswith(b"\xfd7zXZ\0"):
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAXIMUM_MODULE)
        unpacked = unpacker.decompress(content, limit)
        if not unpacker.eof and len(unpacked) < limit:
            raise EOFError("it ends too early")
        return unpacked
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        zstd = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
        with zstd.stream_reader(io.BytesIO(content), read_across_frames=True) as reader:
            unpacked = reader.read(limit)
        # The reader takes the end of its input for the end of the content; -1 means not told.
        if len(unpacked) < min(limit, zstandard.frame_content_size(content)):
            raise EOFError("it ends too early")
        return unpacked
    if content.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as reader:
            return reader.read(limit)
    return content


def module_closure(tree: Tree, version: str, names: Iterable[str]) -> tuple[LoadModule, ...]:
    """The modules *names* and all that they need, dependencies first; built-in ones left out.

    A soft dependency that nothing provides is passed over, as modprobe does.
    Of several providers (crc32c_generic, crc32c_intel) the generic one is
    taken, which loads on every CPU.

    :param version: the kernel's version.
    :param names: ``-`` and ``_`` mean the same; ``?name`` may be absent.
    :raises InputError: modules are missing (all of them are named) or damaged.
    """
    index = _Index(tree, version)
    closure = _Closure(index)
    missing = []
    for name in names:
        if index.knows(name.removeprefix("?")):
            closure.add(name.removeprefix("?"))
        elif not name.startswith("?"):
            missing.append(name)
    if missing:
        raise InputError(f"the kernel {version} has no module {', '.join(missing)}")
    return tuple(closure.order)


def _underscored(name: str) -> str:
    return name.replace("-", "_")


class _Index:
    """Where the modules of one kernel are, and what those say that were asked for."""

    def __init__(self, tree: Tree, version: str) -> None:
        self._tree = tree
        self._paths: dict[str, str] = {}
        self._infos: dict[str, dict[str, list[str]]] = {}
        self._built_in: set[str] = set()
        self._built_in_aliases: set[str] = set()
        for folder in _module_folders(version):
            for path, entry in tree.under(folder):
                name = posixpath.basename(path)
                if SUFFIX.search(name) and entry.type == "file":
                    self._add(_underscored(SUFFIX.sub("", name)), path, f"{folder}/updates/")
            self._read_built_in(folder)

    def _read_built_in(self, folder: str) -> None:
        for path in self._text(f"{folder}/modules.builtin").split():
            self._built_in.add(_underscored(SUFFIX.sub("", posixpath.basename(path))))
        for field in self._text(f"{folder}/modules.builtin.modinfo").split("\0"):
            # MODULE.KEY=VALUE
            name_and_key, _, value = field.partition("=")
            if name_and_key.endswith(".alias"):
                self._built_in_aliases.add(_underscored(value))

    def _text(self, path: str) -> str:
        entry = self._tree.get(path)
        if entry is None or entry.type != "file" or entry.size > MAXIMUM_LIST:
            return ""
        return entry.read().decode("utf-8", "replace")

    def _add(self, name: str, path: str, updates: str) -> None:
        # depmod.d(5): what is in updates/ replaces what came with the kernel.
        if name not in self._paths or path.startswith(updates):
            self._paths[name] = path

    def knows(self, name: str) -> bool:
        """Whether there is such a module or built-in."""
        return _underscored(name) in self._paths or self.is_built_in(name)

    def is_built_in(self, name: str) -> bool:
        """Whether the kernel's image holds it (and no module replaces it)."""
        return _underscored(name) in self._built_in and _underscored(name) not in self._paths

    def path(self, name: str) -> str:
        """The file of a module that :meth:`knows`."""
        return self._paths[_underscored(name)]

    def info(self, name: str, key: str) -> list[str]:
        """The values that a module gives for *key* in its ``.modinfo``."""
        path = self.path(name)
        info = self._infos.get(path)
        if info is None:
            info = self._infos[path] = self._read_info(path)
        return info.get(key, [])

    def _read_info(self, path: str) -> dict[str, list[str]]:
        entry = self._tree.get(path)
        assert entry is not None
        info: dict[str, list[str]] = {}
        for field in section_bytes(read_module(entry, path), ".modinfo", path).split(b"\0"):
            key, _, value = field.decode("utf-8", "replace").partition("=")
            info.setdefault(key, []).append(value)
        return info

    def provider(self, alias: str) -> str | None:
        """The module that a soft dependency means, by name or alias; None for nothing to load."""
        wanted = _underscored(alias)
        if self.knows(wanted):
            return wanted
        if wanted in self._built_in_aliases:
            return None
        matches = [
            name
            for name in self._likely(wanted.removeprefix("crypto_"))
            if wanted in map(_underscored, self.info(name, "alias"))
        ]
        generic = [name for name in matches if name.endswith("_generic")]
        return next(iter([*generic, *matches]), None)

    def _likely(self, wanted: str) -> list[str]:
        """Modules whose file name resembles an algorithm's: blake2b_generic for blake2b_256."""
        names = []
        for name, path in sorted(self._paths.items()):
            stem = name.partition("_")[0]
            alike = wanted.startswith(stem) or stem.startswith(wanted)
            if alike and ALGORITHM.search(path):
                names.append(name)
        return names


class _Closure:
    def __init__(self, index: _Index) -> None:
        self.order: list[LoadModule] = []
        self._index = index
        self._seen: set[str] = set()

    def add(self, name: str, depth: int = 0) -> None:
        """Append *name* after all that it needs."""
        name = _underscored(name)
        if name in self._seen or self._index.is_built_in(name):
            return
        if depth > MAXIMUM_DEPTH:
            raise InputError(f"the dependencies of the kernel module {name} are too deep")
        self._seen.add(name)
        for alias in self._soft(name, "pre"):
            provider = self._index.provider(alias)
            if provider is not None:
                self.add(provider, depth + 1)
        for line in self._index.info(name, "depends"):
            for needed in filter(None, line.split(",")):
                if not self._index.knows(needed):
                    raise InputError(
                        f"the kernel module {name} needs {label(needed)}, which is missing"
                    )
                self.add(needed, depth + 1)
        self.order.append(LoadModule(self._index.path(name), name))
        for alias in self._soft(name, "post"):
            provider = self._index.provider(alias)
            if provider is not None:
                self.add(provider, depth + 1)

    def _soft(self, name: str, when: str) -> list[str]:
        """The names after ``pre:`` or ``post:`` (modprobe.d(5))."""
        wanted: list[str] = []
        for line in self._index.info(name, "softdep"):
            section = ""
            for word in line.split():
                if word in ("pre:", "post:"):
                    section = word
                elif section == f"{when}:":
                    wanted.append(word)
        if len(wanted) > MAXIMUM_SOFT:
            raise InputError(f"the kernel module {name} has {len(wanted)} soft dependencies")
        return wanted
