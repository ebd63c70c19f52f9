"""Programs and the shared libraries that they need, as the target's own loader would find them.

The files come from a stranger's tarball: sizes and counts are checked before
they are believed, and whatever the parser stumbles over is the file's fault.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import posixpath
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_D_TAG

from selfinstall.errors import InputError, SelfinstallError
from selfinstall.initramfs.merged import Found, MergedTree, merged_path
from selfinstall.rootfs.source import label
from selfinstall.rootfs.tree import Tree

PROGRAM_FOLDERS = ("usr/sbin", "usr/bin")
#: Programs and libraries are far smaller.
MAXIMUM_FILE = 128 << 20
MAXIMUM_SEGMENTS = 512
#: Modules have some hundred, vmlinux too.
MAXIMUM_SECTIONS = 1 << 13
#: libLLVM's, a large one, has 3 KiB.
MAXIMUM_DYNAMIC = 1 << 20
MAXIMUM_STRING = 4096
#: Libraries that one file names; the most known are some hundred.
MAXIMUM_NEEDED = 1 << 12
#: Of what is read of a module: the aliases of the largest have some 100 KiB.
MAXIMUM_SECTION = 1 << 20
#: The kernel reads that much of a script to find ``#!`` (BINPRM_BUF_SIZE).
SCRIPT_HEAD = 256


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Dynamic:
    """What a program or library says to the loader.

    :param kind: word size and ``e_machine``; the loader passes over libraries of another kind.
    :param interpreter: absolute path of the loader, None for libraries and static programs.
    :param needed: names of libraries (DT_NEEDED).
    :param rpath: folders for its own libraries and theirs (DT_RPATH).
    :param runpath: folders for its own libraries only (DT_RUNPATH).
    """

    kind: tuple[int, str]
    interpreter: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


@contextlib.contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Turn every failure of a parser into an InputError about *name*."""
    try:
        yield
    except SelfinstallError:
        raise
    except Exception as error:
        # pyelftools raises its own errors, but also what Python raises on odd values.
        raise InputError(f"{name} is damaged: not a sound ELF file ({error})") from error


def open_elf(content: bytes, name: str) -> ELFFile:
    """Parse the ELF header of *content*, with counts that cannot keep a reader busy for ever.

    :raises InputError: naming *name*, when it is no sound ELF file.
    """
    with _blaming(name):
        elf = ELFFile(io.BytesIO(content))
        header, structs = elf.header, elf.structs
        segments, sections = header["e_phnum"], header["e_shnum"]
        if segments > MAXIMUM_SEGMENTS or sections > MAXIMUM_SECTIONS:
            raise InputError(f"{name} is damaged: {segments} segments, {sections} sections")
        if segments and header["e_phentsize"] != structs.Elf_Phdr.sizeof():
            raise InputError(f"{name} is damaged: odd size of program headers")
        # With no section count in the header, pyelftools asks the first section, unbounded.
        if header["e_shoff"] and (
            not sections or header["e_shentsize"] != structs.Elf_Shdr.sizeof()
        ):
            raise InputError(f"{name} is damaged: odd section headers")
    return elf


def section_bytes(content: bytes, section: str, name: str) -> bytes:
    """The bytes of an ELF file's section as they are, empty when it has none.

    :raises InputError: naming *name*, when it is no sound ELF file.
    """
    elf = open_elf(content, name)
    with _blaming(name):
        headers = _headers(elf, "Elf_Shdr", elf.header["e_shoff"], elf.header["e_shnum"])
        if not headers:
            return b""
        names = headers[elf.header["e_shstrndx"]]["sh_offset"]
        for found in headers:
            if _string(content, names + found["sh_name"]) == section:
                start, size = found["sh_offset"], found["sh_size"]
                if start + size > len(content) or size > MAXIMUM_SECTION:
                    raise InputError(f"{name} is damaged: {section} of {size} bytes at {start}")
                return content[start : start + size]
        return b""


def _headers(elf: ELFFile, kind: str, start: int, count: int) -> list[Any]:
    """The program or section headers as they are.

    pyelftools makes objects of them, and some of these look through all others.
    """
    form = getattr(elf.structs, kind)
    places = range(start, start + count * form.sizeof(), form.sizeof()) if start else ()
    return [struct_parse(form, elf.stream, place) for place in places]


def parse_dynamic(content: bytes, name: str) -> Dynamic:
    """What an ELF file says to the loader.

    :raises InputError: naming *name*, when it is no sound ELF file.
    """
    elf = open_elf(content, name)
    with _blaming(name):
        interpreter = None
        tags: dict[int, list[int]] = {}
        segments = _headers(elf, "Elf_Phdr", elf.header["e_phoff"], elf.header["e_phnum"])
        for segment in segments:
            if segment["p_type"] == "PT_INTERP":
                interpreter = _string(content, segment["p_offset"])
            elif segment["p_type"] == "PT_DYNAMIC" and not tags:
                tags = _tags(elf, content, segment, name)
        return Dynamic(
            kind=(elf.elfclass, str(elf.header["e_machine"])),
            interpreter=interpreter,
            needed=tuple(_strings(segments, content, tags, "DT_NEEDED")),
            rpath=_folders(segments, content, tags, "DT_RPATH"),
            runpath=_folders(segments, content, tags, "DT_RUNPATH"),
        )


def _tags(elf: ELFFile, content: bytes, segment: Any, name: str) -> dict[int, list[int]]:
    """The values of each dynamic tag, up to DT_NULL."""
    start, size = segment["p_offset"], segment["p_filesz"]
    if size > MAXIMUM_DYNAMIC or start + size > len(content):
        raise InputError(f"{name} is damaged: dynamic segment of {size} bytes")
    form = struct.Struct(
        ("<" if elf.little_endian else ">") + ("qQ" if elf.elfclass == 64 else "iI")
    )
    tags: dict[int, list[int]] = {}
    for tag, value in form.iter_unpack(content[start : start + size - size % form.size]):
        if tag == ENUM_D_TAG["DT_NULL"]:
            break
        tags.setdefault(tag, []).append(value)
    return tags


def _strings(
    segments: list[Any], content: bytes, tags: dict[int, list[int]], tag: str
) -> Iterator[str]:
    offsets = tags.get(ENUM_D_TAG[tag], [])
    if not offsets:
        return
    address = tags[ENUM_D_TAG["DT_STRTAB"]][0]
    loaded = (s for s in segments if s["p_type"] == "PT_LOAD")
    inside = (s for s in loaded if 0 <= address - s["p_vaddr"] < s["p_filesz"])
    segment = next(inside, None)
    if segment is None:
        raise ValueError("its string table is in no segment")
    if len(offsets) > MAXIMUM_NEEDED:
        raise ValueError(f"{len(offsets)} times {tag}")
    table = address - segment["p_vaddr"] + segment["p_offset"]
    for offset in offsets:
        yield _string(content, table + offset)


def _folders(
    segments: list[Any], content: bytes, tags: dict[int, list[int]], tag: str
) -> tuple[str, ...]:
    found = _strings(segments, content, tags, tag)
    return tuple(part for value in found for part in value.split(":") if part)


def _string(content: bytes, start: int) -> str:
    end = content.index(b"\0", start, start + MAXIMUM_STRING)
    return content[start:end].decode()


def find_program(tree: Tree | MergedTree, name: str) -> str | None:
    """The path of the program *name* with merged /usr, None when the tree has none.

    :param name: a name, looked for as root's PATH would, or a path.
    """
    view = tree if isinstance(tree, MergedTree) else MergedTree(tree)
    places = [name] if "/" in name else [f"{folder}/{name}" for folder in PROGRAM_FOLDERS]
    for place in places:
        found = view.file(place)
        if found is not None and found.entry.mode & 0o111:
            return merged_path(place)
    return None


def library_closure(
    tree: Tree | MergedTree, programs: Iterable[str], multiarch: str
) -> tuple[str, ...]:
    """Everything that *programs* need to start: loaders, libraries, the interpreters of scripts.

    :param programs: names or paths.
    :param multiarch: the GNU triplet of the library folders.
    :returns: sorted paths with merged /usr; symbolic links are not followed in them.
    :raises InputError: a program or library is missing or damaged.
    """
    closure = _Closure(tree if isinstance(tree, MergedTree) else MergedTree(tree), multiarch)
    for program in programs:
        closure.add(program)
    return tuple(sorted(closure.paths))


class _Closure:
    def __init__(self, tree: MergedTree, multiarch: str) -> None:
        self.paths: set[str] = set()
        self._tree = tree
        # Debian's loader has no other defaults; the initramfs has no ld.so.cache.
        self._defaults = (f"usr/lib/{multiarch}", "usr/lib", "usr/lib64")
        self._lib = f"lib/{multiarch}"
        self._parsed: dict[str, Dynamic] = {}
        self._added: set[str] = set()

    def add(self, program: str) -> None:
        """Add what *program* needs."""
        path = find_program(self._tree, program)
        found = None if path is None else self._tree.file(path)
        if found is None:
            raise InputError(f"the program {program} is missing")
        if found.path in self._added:
            return
        self._added.add(found.path)
        head = self._content(found)[:SCRIPT_HEAD]
        if head.startswith(b"#!"):
            self._add_script(found.path, head)
        else:
            self._add_elf(found)

    def _add_script(self, path: str, head: bytes) -> None:
        words = head[2:].split(b"\n")[0].decode("utf-8", "replace").split()
        if not words:
            raise InputError(f"the script {path} names no interpreter")
        wanted = words[:1]
        if posixpath.basename(words[0]) == "env":
            wanted += [word for word in words[1:] if not word.startswith("-")][:1]
        for word in wanted:
            interpreter = find_program(self._tree, word)
            if interpreter is None:
                raise InputError(f"{label(path)} needs {label(word)}, which is missing")
            self.paths.add(interpreter)
            self.add(interpreter)

    def _add_elf(self, program: Found) -> None:
        """Load as ld.so(8) does: breadth first, each name once for one program."""
        root = self._dynamic(program)
        if root.interpreter is not None:
            interpreter = self._tree.file(root.interpreter)
            if interpreter is None:
                raise InputError(
                    f"{label(program.path)} needs {label(root.interpreter)}, which is missing"
                )
            self.paths.add(merged_path(root.interpreter))
        loaded: set[str] = set()
        # (object, folder for $ORIGIN, DT_RPATH folders of those that led to it)
        queue: list[tuple[Dynamic, str, tuple[str, ...]]] = [
            (root, posixpath.dirname(program.path), ())
        ]
        for parent, origin, inherited in queue:
            rpath = (*self._expand(parent.rpath, origin), *inherited)
            # DT_RUNPATH switches every DT_RPATH off.
            own = self._expand(parent.runpath, origin) if parent.runpath else rpath
            for name in parent.needed:
                if name in loaded:
                    continue
                loaded.add(name)
                path = self._library(name, own, parent.kind, program.path)
                self.paths.add(path)
                found = self._tree.file(path)
                assert found is not None
                queue.append((self._dynamic(found), posixpath.dirname(path), rpath))

    def _expand(self, folders: tuple[str, ...], origin: str) -> tuple[str, ...]:
        expanded = folders
        for word, value in (("ORIGIN", f"/{origin}"), ("LIB", self._lib)):
            expanded = tuple(
                f.replace(f"${{{word}}}", value).replace(f"${word}", value) for f in expanded
            )
        return expanded

    def _library(
        self, name: str, folders: tuple[str, ...], kind: tuple[int, str], program: str
    ) -> str:
        places = [name] if "/" in name else [f"{f}/{name}" for f in (*folders, *self._defaults)]
        for place in places:
            found = self._tree.file(place)
            if found is not None and self._dynamic(found).kind == kind:
                return merged_path(place)
        raise InputError(
            f"{label(program)} needs the library {label(name)}, which is missing",
            "the package that holds it is not installed, or keeps it outside the default folders",
        )

    def _dynamic(self, found: Found) -> Dynamic:
        parsed = self._parsed.get(found.path)
        if parsed is None:
            parsed = self._parsed[found.path] = parse_dynamic(self._content(found), found.path)
        return parsed

    def _content(self, found: Found) -> bytes:
        if found.entry.size > MAXIMUM_FILE:
            raise InputError(f"{found.path} is too large for a program: {found.entry.size} bytes")
        return found.entry.read()
