"""What apt once decided, for as long as nothing that it decided from has changed.

apt needs two seconds for a decision; whether its sources have changed, it is asked each time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from selfinstall.fingerprint import fingerprint
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.resolution import Package, Resolution, Step

#: Folders of the root in which apt finds what it decides from, and files.
_FOLDERS = ("lists", "sources.list.d", "debs", "held")
_FILES = ("apt.conf", "status")
#: What apt computes from the others.
_COMPUTED = ("lock", "pkgcache.bin", "srcpkgcache.bin")


def remembered(
    root: AptRoot, question: Sequence[Sequence[str]], decide: Callable[[], Resolution]
) -> Resolution:
    """What *decide* gives, or gave when it was asked the same *question* of the same sources.

    :param root: with index files that are up to date.
    """
    key = _key(root, question)
    known = root.cache.recall(key)
    if known is not None:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return _parsed(json.loads(known))
    resolution = decide()
    root.cache.remember(key, json.dumps(dataclasses.asdict(resolution)).encode())
    return resolution


def _key(root: AptRoot, question: Sequence[Sequence[str]]) -> str:
    files = {path.relative_to(root.folder).as_posix(): _sha256(path) for path in _files(root)}
    version = root.run("apt-get", "--version").stdout
    text = json.dumps([fingerprint(), version, question, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _files(root: AptRoot) -> Iterator[Path]:
    yield from (root.folder / name for name in _FILES)
    for name in _FOLDERS:
        folder = root.folder / name
        if folder.is_dir():
            yield from (p for p in folder.iterdir() if p.is_file() and p.name not in _COMPUTED)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parsed(found: dict[str, Any]) -> Resolution:
    return Resolution(
        packages=tuple(Package(**package) for package in found["packages"]),
        steps=tuple(Step(s["action"], tuple(s["packages"])) for s in found["steps"]),
    )
