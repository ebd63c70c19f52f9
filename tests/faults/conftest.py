"""A cache with the layer of the tarball: made once for all who begin with it."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from harness import LAYERED, Stage


@pytest.fixture(scope="session")
def warm(complete: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each of pytest's processes has a cache of its own, for what lies in it must be still."""
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    with (common / "warm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = common / "warm" / "cache"
        if not first.exists():
            stage = Stage(common / "warm-making", complete)
            status, errors = stage.build(*LAYERED)
            assert status == 0, errors
            stage.kept(new=True)
            stage.cache.parent.rename(first.parent)
    mine = tmp_path_factory.mktemp("warm") / "cache"
    # Nobody changes a layer's files.
    shutil.copytree(first, mine, copy_function=os.link)
    return mine
