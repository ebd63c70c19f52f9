"""Logs of consoles that outlive what wrote them, since somebody will want to read them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from selfinstall.host import temporary_folder


def kept(log: Path) -> Path | None:
    """A copy of *log* that nobody removes, among temporary files; None when there is no log."""
    if not log.exists():
        return None
    descriptor, name = tempfile.mkstemp(
        prefix="selfinstall-", suffix=".log", dir=temporary_folder()
    )
    with os.fdopen(descriptor, "wb") as copy, log.open("rb") as stream:
        shutil.copyfileobj(stream, copy)
    return Path(name)
