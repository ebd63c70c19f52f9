"""Full disks of the host: the temporary folder, the image's and the cache's, at several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import WHOLE, Stage, Table, failed, private_mounts

#: KiB; the kernel's and initramfs's, the tarball's, and the disk's first bytes.
LIMITS = [10, 4_000, 50_000, 300_000] if WHOLE else [10, 100_000]


@pytest.mark.parametrize("limit", LIMITS)
def test_a_full_folder_for_temporary_files(
    complete: Path,
    tmp_path: Path,
    table: Table,
    limit: int,
) -> None:
    """A file-size limit stands in for a full disk: both end a write early."""
    stage = Stage(tmp_path, complete)
    before = ("sh", "-c", f'ulimit -f {limit * 2}; exec "$@"', "sh")
    with table.point("host's disk full", f"temporary files of {limit} KiB"):
        result = stage.build("--no-cache", before=before)
        failed(result, 4, "no space left in")
        stage.kept()
    table.settle()


#: What each folder gets, in MiB, and what comes of it.
SIZES = [("out", 1), ("out", 20), ("out", 150), ("tmp", 1), ("tmp", 100), ("tmp", 300)]


@pytest.mark.parametrize(("which", "size"), SIZES if WHOLE else [("out", 20), ("tmp", 100)])
def test_a_small_file_system(
    complete: Path,
    tmp_path: Path,
    table: Table,
    which: str,
    size: int,
) -> None:
    stage = Stage(tmp_path, complete)
    # The disk is raw, so that it grows in the image's folder.
    stage.output = stage.out / "x.img"
    (stage.out / "x.qcow2").unlink()
    stage.output.write_bytes(b"")
    folder = {"out": stage.out, "tmp": stage.tmp}[which]
    script = (
        f'mount -t tmpfs -o size={size}M tmpfs "$0" || exit 99; "$@"; status=$?; '
        'left=$(find "$0" -mindepth 1 ! -name "*.log"); [ -z "$left" ] || echo "left: $left" >&2; '
        "exit $status"
    )
    before = (*private_mounts(), "sh", "-c", script, str(folder))
    with table.point("host's disk full", f"{which} of {size} MiB"):
        result = stage.build("--no-cache", before=before)
        failed(result, 4, "o space left", str(folder))
        assert "left: " not in result[1], result[1]
        assert list(stage.tmp.iterdir()) == []
    table.settle()


@pytest.mark.parametrize("size", [1, 300] if WHOLE else [1])
def test_a_full_cache_costs_the_layer_only(
    complete: Path,
    tmp_path: Path,
    table: Table,
    size: int,
) -> None:
    """With a tarball that needs no packages."""
    stage = Stage(tmp_path, complete)
    script = f'mount -t tmpfs -o size={size}M tmpfs "$0" || exit 99; exec "$@"'
    before = (*private_mounts(), "sh", "-c", script, str(stage.cache))
    with (
        table.point("host's disk full", f"cache of {size} MiB"),
        stage.start("--no-verify", before=before) as run,
    ):
        run.until("begin", "guest")
        assert any("no layer is kept" in message for message in run.messages), run.messages
        status, errors = run.end() if WHOLE else (0, "")
        assert status == 0, errors
    table.settle()
