"""Hosts that lack what others have: KVM, namespaces, a home that can be written, a /dev, a /sys."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from harness import CLEANUP, Run, Stage, Table, failed, private_mounts

#: What a plain container has not, made so in a mount namespace.
CONTAINER = """
mount -t tmpfs tmpfs /sys
mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys
echo 0 >/proc/sys/user/max_user_namespaces 2>/dev/null && exit 98
mkdir "$TMPDIR/dev"
for name in null zero random urandom; do
    : >"$TMPDIR/dev/$name"
    mount --bind /dev/$name "$TMPDIR/dev/$name"
done
mount --rbind "$TMPDIR/dev" /dev
exec "$@"
"""
NO_KVM = 'mount --bind /dev/null /dev/kvm || :\nexec "$@"'
NO_NAMESPACES = """
echo 0 >/proc/sys/user/max_user_namespaces || exit 99
unshare --user true 2>/dev/null && exit 98
exec "$@"
"""
HOSTS = {"a plain container": CONTAINER, "no KVM": NO_KVM, "no namespaces": NO_NAMESPACES}


def until_the_guest_works(run: Run) -> None:
    run.until("end", "20-partition")
    run.signal(signal.SIGTERM)
    failed(run.end(CLEANUP), 143, "interrupted")


@pytest.mark.parametrize("host", HOSTS)
def test_a_poor_host(complete: Path, tmp_path: Path, table: Table, host: str) -> None:
    stage = Stage(tmp_path, complete)
    before = (*private_mounts(), "sh", "-euc", HOSTS[host], "sh")
    with table.point("host", host), stage.start("--accel", "auto", before=before) as run:
        until_the_guest_works(run)
        # The place where the test's own /dev was made.
        for path in (stage.tmp / "dev").glob("*"):
            path.unlink()
        if (stage.tmp / "dev").exists():
            (stage.tmp / "dev").rmdir()
        stage.kept()
    table.settle()


def test_a_home_that_cannot_be_written(
    complete: Path,
    tmp_path: Path,
    table: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(tmp_path, complete)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    script = 'mount -t tmpfs -o ro tmpfs "$HOME" && exec "$@"'
    words = [w for w in stage.command() if w not in ("--cache", str(stage.cache))]
    stage.command = lambda *_: words  # type: ignore[method-assign]
    before = (*private_mounts(), "sh", "-euc", script, "sh")
    with table.point("host", "read-only home"), stage.start(before=before) as run:
        until_the_guest_works(run)
        assert any(m.endswith("nothing is kept for later builds") for m in run.messages)
        stage.kept()
        assert list(home.iterdir()) == []
    table.settle()


def test_temporary_files_on_another_file_system(
    complete: Path,
    tmp_path: Path,
    table: Table,
) -> None:
    stage = Stage(tmp_path, complete)
    script = 'mount -t tmpfs -o size=3G tmpfs "$TMPDIR" && exec "$@"'
    before = (*private_mounts(), "sh", "-euc", script, "sh")
    with table.point("host", "TMPDIR elsewhere"), stage.start(before=before) as run:
        until_the_guest_works(run)
        stage.kept()
    table.settle()
