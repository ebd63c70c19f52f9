"""qemu-img: look at, convert and overlay disk images."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from selfinstall.errors import HostError, InputError, SelfinstallError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.host import bound, temporary_folder

#: Bytes of an answer that are read; ``info`` of a sane image takes one or two KiB.
LARGEST_ANSWER = 1 << 20
_PROGRESS = re.compile(rb"\((\d+\.\d+)/100%\)")
#: What does not depend on the image: the same call can succeed when the host is mended.
_HOST = re.compile(r"No space left|Disk quota|Permission denied|Read-only file system|Input/output")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """An image by ``qemu-img info``.

    :param format: as qemu calls it.
    :param virtual_size: of the disk, bytes.
    :param actual_size: bytes that the file takes on the host.
    :param parts: other files that it is made of: what backs it, where its data is.
    """

    format: str
    virtual_size: int
    actual_size: int
    parts: tuple[str, ...] = ()


def info(path: Path, format: str | None = None) -> Info:
    """What *path* holds; the format is detected unless given.

    A foreign image should be looked at once and its format then be named ever after, because
    a guest can write another format's header on a raw disk.

    :raises InputError: it is no image, or it cannot be read.
    """
    named = () if format is None else ("-f", format)
    answer = _run(("info", "-U", *named, "--output=json", "--", _absolute(path)), path)
    try:
        facts: dict[str, Any] = json.loads(answer)
        return Info(
            format=str(facts["format"]),
            virtual_size=int(facts["virtual-size"]),
            actual_size=int(facts.get("actual-size", 0)),
            parts=_parts(facts, _absolute(path)),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"qemu-img tells nonsense about {path}") from error


def _parts(facts: dict[str, Any], own: str) -> tuple[str, ...]:
    """The files that an image names, of those members of ``info`` in which formats do that."""
    data = facts.get("format-specific", {}).get("data", {})
    names = [facts.get("backing-filename"), data.get("data-file")]
    names += [extent.get("filename") for extent in data.get("extents", ())]
    return tuple(str(name) for name in names if name is not None and name != own)


def convert(
    source: Path,
    target: Path,
    *,
    source_format: str,
    format: str,
    options: str | None = None,
    step: str = "convert",
    on_event: OnEvent = ignore,
) -> None:
    """Copy *source* into a new image *target*; what is zero takes no space.

    Emits progress events of *step*, the unit being bytes of the virtual disk.

    :param options: of the target's format, as ``-o`` takes them.
    :raises HostError: qemu-img is missing, or the place does not take the file.
    :raises InputError: the source cannot be read.
    """
    total = info(source, source_format).virtual_size
    extra = () if options is None else ("-o", options)
    # -t unsafe: the caller syncs once, when all is done.
    command = (
        *("convert", "-p", "-t", "unsafe", "-f", source_format, "-O", format, *extra),
        *("--", _absolute(source), _absolute(target)),
    )
    last, rest = -1, b""

    def report(data: bytes) -> None:
        nonlocal last, rest
        said = rest + data
        rest = said[said.rfind(b")") + 1 :][-64:]
        for percent in _PROGRESS.findall(said):
            done = min(total, int(total * float(percent) / 100))
            if done > last:
                last = done
                on_event(Event("progress", step, done, total, "bytes"))

    _run(command, target, report)


def read_head(source: Path, format: str, target: Path, size: int) -> None:
    """Write the first *size* bytes of the disk in *source* to *target*, raw.

    :raises HostError: qemu-img is missing, or the place does not take the file.
    :raises InputError: the source cannot be read.
    """
    words = (f"if={_absolute(source)}", f"of={_absolute(target)}")
    _run(("dd", "-U", "-f", format, "-O", "raw", f"bs={size}", "count=1", *words), source)


@contextlib.contextmanager
def overlay(image: Path, format: str, folder: Path) -> Iterator[Path]:
    """A qcow2 in *folder* that takes what would be written to *image*, which is only read.

    :raises HostError: qemu-img is missing, or *folder* does not take the file.
    :raises InputError: the image cannot be used.
    """
    # A backing file's name may have 1023 bytes and is parsed for protocols; a link has neither
    # problem.
    link, path = folder / "base", folder / "overlay.qcow2"
    try:
        link.symlink_to(image.absolute())
    except OSError as error:
        raise HostError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        command = ("create", "-q", "-f", "qcow2", "-b", _absolute(link), "-F", format)
        try:
            _run((*command, "--", _absolute(path)), folder)
        except InputError as error:
            raise InputError(error.message.replace(str(link), str(image)), error.hint) from error
        yield path
    finally:
        path.unlink(missing_ok=True)
        link.unlink(missing_ok=True)


def _absolute(path: Path) -> str:
    # A relative name with a colon would be taken for a protocol.
    return os.fspath(path.absolute())


def _run(words: Sequence[str], path: Path, report: Callable[[bytes], None] | None = None) -> bytes:
    """Run qemu-img, return its standard output; also hand that to *report* as it comes."""
    program = shutil.which("qemu-img")
    if program is None:
        raise HostError("qemu-img is missing", "sudo apt install qemu-utils")
    answer = bytearray()
    with tempfile.TemporaryFile(dir=temporary_folder()) as complaints:
        try:
            process = subprocess.Popen(
                bound((program, *words)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        except OSError as error:
            raise HostError(f"cannot run {program}: {error.strerror}") from error
        with process, _killed(process):
            assert process.stdout is not None
            while chunk := os.read(process.stdout.fileno(), 64 << 10):
                if report is not None:
                    report(chunk)
                answer += chunk[: LARGEST_ANSWER - len(answer)]
        if process.returncode != 0:
            complaints.seek(0)
            raise _error(complaints.read(4096), process.returncode, path)
    return bytes(answer)


@contextlib.contextmanager
def _killed(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever ends the block early ends the process too."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


def _error(complaints: bytes, status: int, path: Path) -> SelfinstallError:
    """What qemu-img's first complaint amounts to."""
    lines = complaints.decode(errors="replace").strip().splitlines()
    said = lines[0].removeprefix("qemu-img: ")[:500] if lines else f"status {status}"
    if not _HOST.search(said):
        return InputError(f"qemu-img: {said}")
    hint = None
    if "No space left" in said or "quota" in said:
        folder = path if path.is_dir() else path.absolute().parent
        hint = f"free some space in {folder}"
    return HostError(f"qemu-img: {said}", hint)
