"""What ``selfinstall inspect`` tells: facts as aligned lines or as JSON."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import posixpath
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selfinstall.cachefolder import Holding
from selfinstall.cli.arches import table
from selfinstall.cli.streams import printable
from selfinstall.cli.wording import size
from selfinstall.rootfs.facts import Kernel, RootfsFacts

#: What disk images begin with, as (offset, bytes).
_MAGIC = (
    (0, b"QFI\xfb"),  # qcow2
    (0, b"KDMV"),  # vmdk
    (0, b"# Disk DescriptorFile"),  # vmdk, descriptor
    (0, b"vhdxfile"),  # vhdx
    (0x40, b"\x7f\x10\xda\xbe"),  # vdi
    (512, b"EFI PART"),  # raw, GPT
)
_HEAD = 1024
#: An MBR's signature, and where a tar archive has its own.
_MBR = (510, b"\x55\xaa")
_TAR = (257, b"ustar")


def _has(head: bytes, mark: tuple[int, bytes]) -> bool:
    offset, magic = mark
    return head[offset : offset + len(magic)] == magic


def is_image_head(head: bytes) -> bool:
    """Whether a file that begins with *head* (1024 bytes) is a disk image."""
    if any(_has(head, mark) for mark in _MAGIC):
        return True
    return _has(head, _MBR) and not _has(head, _TAR)


def is_image(path: Path) -> bool:
    """Whether the file at *path* is a disk image.

    :raises OSError: when it cannot be read.
    """
    with path.open("rb") as stream:
        return is_image_head(stream.read(_HEAD))


def jsonable(value: Any) -> Any:
    """*value* in the types of JSON; bytes become their size and hash."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(one) for one in value]
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    return str(value) if isinstance(value, Path) else value


def to_json(value: Any) -> str:
    """*value*, a dataclass or a list of them, as one JSON document."""
    return json.dumps(jsonable(value), indent=2, ensure_ascii=False)


def _kernel(kernel: Kernel) -> str:
    initrd = f" with {kernel.initrd}" if kernel.initrd else ", no initrd"
    return f"{kernel.version} ({kernel.image}{initrd})"


def _rootfs_rows(facts: RootfsFacts) -> list[tuple[str, str]]:
    packed = facts.compression if facts.compression != "none" else "not compressed"
    rows = [
        ("file", facts.name),
        ("sha256", facts.sha256),
        ("packed", f"{size(facts.compressed_bytes)}, {packed}; {size(facts.tar_bytes)} of tar"),
        ("content", f"{size(facts.content_bytes)} in {facts.members} members"),
        ("architecture", facts.architecture),
        ("system", facts.pretty_name),
        ("suite", facts.suite or "unknown"),
        ("init", facts.init or "none"),
        ("merged /usr", "yes" if facts.merged_usr else "no"),
        ("host name", facts.hostname or "none"),
        ("machine id", "present" if facts.machine_id else "none"),
        ("packages", str(len(facts.packages))),
        ("not configured", str(len(facts.unconfigured))),
    ]
    if facts.held:
        rows += [("not installed", f"{len(facts.held)}, waiting for debootstrap's second stage")]
    rows += [("kernel", _kernel(kernel)) for kernel in facts.kernels] or [("kernel", "none")]
    rows += [("apt sources", path) for path, _ in facts.sources] or [("apt sources", "none")]
    folders = collections.Counter(posixpath.dirname(path) for path, _ in facts.keyrings)
    keyrings = ", ".join(f"{number} in {folder}" for folder, number in folders.items())
    return [*rows, ("keyrings", keyrings or "none")]


def held(found: Sequence[Holding]) -> str:
    """What the cache holds, as an aligned table with a heading."""
    rows = [("KIND", "NAME", "SIZE", "LAST USED", "WHAT IT IS")]
    for each in found:
        used = "-"
        if each.used is not None:
            used = datetime.fromtimestamp(each.used, UTC).strftime("%Y-%m-%d %H:%M UTC")
        rows.append((each.kind, each.name or "-", size(each.size), used, printable(each.content)))
    return table(rows)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and (name == "size" or name.endswith(("_bytes", "_size"))):
        return f"{value} ({size(value)})"
    return "none" if value is None else str(value)


def _rows(name: str, value: Any) -> list[tuple[str, str]]:
    """A JSON value as rows: lists repeat their name, objects stand in one line."""
    if isinstance(value, list):
        return [row for one in value for row in _rows(name, one)] or [(name, "none")]
    if isinstance(value, dict):
        inner = ", ".join(f"{key} {_cell(key, one)}" for key, one in value.items())
        return [(name, inner or "none")]
    return [(name, _cell(name, value))]


def to_text(facts: Any) -> str:
    """Facts about a tarball or an image as aligned ``key: value`` lines."""
    if isinstance(facts, RootfsFacts):
        rows = _rootfs_rows(facts)
    else:
        fields: dict[str, Any] = jsonable(facts)
        rows = [row for name, value in fields.items() for row in _rows(name, value)]
    width = max(len(name) for name, _ in rows) + 1
    return "\n".join(
        f"{(name.replace('_', ' ') + ':').ljust(width)} {printable(value)}" for name, value in rows
    )
