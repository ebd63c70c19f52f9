"""What this program is: a hash of its own source, by which what it left can be known again."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from collections.abc import Iterator
from importlib.resources.abc import Traversable


@functools.cache
def fingerprint() -> str:
    """A hash of this program's files: another version differs, whatever it calls itself."""
    digest = hashlib.sha256()
    for path, file in sorted(_walk(importlib.resources.files("selfinstall"), "")):
        digest.update(f"{path}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if not entry.is_dir():
            yield f"{path}{entry.name}", entry
        elif entry.name != "__pycache__":
            yield from _walk(entry, f"{path}{entry.name}/")
