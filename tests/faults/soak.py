"""Builds in one process, one after the other or several at a time, and what it has after each.

``soak.py TARBALL CACHE FOLDER ROUNDS AT_ONCE`` writes a JSON list.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selfinstall import Request, build


def state(cache: Path, output: Path) -> dict[str, object]:
    """What the process, its folders and the cache hold now."""
    gc.collect()
    # What was given back to the allocator is not the program's any more.
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return {
        "memory": int(fields["VmRSS"].split()[0]),
        "threads": int(fields["Threads"]),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "children": [
            child
            for task in Path("/proc/self/task").iterdir()
            for child in (task / "children").read_text().split()
        ],
        "temporary": [
            path.name
            for folder in (Path(tempfile.gettempdir()), cache / "tmp")
            for path in folder.iterdir()
        ],
        "images": sorted(path.name for path in output.iterdir()),
        "cache": sum(path.stat().st_blocks * 512 for path in cache.rglob("*")),
    }


def main(tarball: str, cache: str, output: str, rounds: str, at_once: str) -> None:
    """See the module."""

    def one(number: int) -> None:
        build(
            Request(
                tarball=Path(tarball), output=Path(output) / f"{number}.img", cache=Path(cache),
                firmware="bios", accel="tcg", verify=False,
            )
        )  # fmt: skip

    states = []
    for _ in range(int(rounds)):
        with ThreadPoolExecutor(int(at_once)) as pool:
            list(pool.map(one, range(int(at_once))))
        states.append(state(Path(cache), Path(output)))
    json.dump(states, sys.stdout)


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
