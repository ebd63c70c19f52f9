"""What a build writes to, as strace(1) sees it: its temporary folder, the cache, and the output."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from harness import LAYERED, WHOLE, Stage, Table

TRACE = (
    "strace", "-ff", "-qq", "-y", "-s", "4096", "--seccomp-bpf",
    "-e", "trace=file", "-e", "status=successful", "-e", "signal=none",
)  # fmt: skip
#: What changes a file or a folder by its name; opening it is looked at by its flags.
CHANGES = re.compile(
    r"(creat|mkdir|mknod|rename|unlink|rmdir|link|symlink|chmod|l?chown|truncate|utime|futimes"
    r"|[fl]?setxattr|[fl]?removexattr|mount|umount|acct|swapon)"
)
CALL = re.compile(r"(\w+)\((.*)\) = \d+(?:<(.*)>(?:\(deleted\))?)?$")
NAME = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
#: No files; and whatever lies in the folder in which a program of ours was started.
HARMLESS = re.compile(r"/dev/(null|tty|kvm)$|/proc/self/(cwd/|fd/|task/)|(pipe|socket|anon_inode):")


def changed(line: str) -> list[str]:
    """The paths that a traced call may have changed."""
    call = CALL.match(line)
    if call is None:
        return []
    name, words, opened = call.groups()
    if name in ("open", "openat", "openat2"):
        writes = re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", words)
        return [opened or words] if writes else []
    if not CHANGES.match(name):
        return []
    return [os.path.join(folder, path) for folder, path in NAME.findall(words)]  # noqa: PTH118


def test_lines_of_strace_are_understood() -> None:
    assert changed('openat(AT_FDCWD</x>, "/etc/passwd", O_WRONLY|O_CREAT, 0666) = 3</etc/pa>') == [
        "/etc/pa"
    ]
    assert changed('openat(AT_FDCWD</x>, "a", O_RDONLY|O_CLOEXEC) = 3</x/a>') == []
    assert changed('rename("/a", "/b") = 0') == ["/a", "/b"]
    assert changed('unlinkat(7</x/y>, "z", AT_REMOVEDIR) = 0') == ["/x/y/z"]
    assert changed('readlink("/proc/self/exe", "/usr/bin/x", 4095) = 10') == []
    assert changed("+++ exited with 0 +++") == []


@pytest.mark.parametrize("layered", [True, False] if WHOLE else [True])
def test_a_build_writes_to_its_own_folders_only(
    complete: Path,
    tmp_path: Path,
    warm: Path,
    table: Table,
    layered: bool,
) -> None:
    if subprocess.run(["strace", "true"], capture_output=True, check=False).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("no strace, or it may not trace")
        pytest.skip("no strace, or it may not trace")
    stage = Stage(tmp_path, complete, warm if layered else None)
    (tmp_path / "home").mkdir(mode=0o500)
    stage.more["HOME"] = str(tmp_path / "home")
    stage.more["PYTHONDONTWRITEBYTECODE"] = "1"
    traces = tmp_path / "traces"
    traces.mkdir()
    options = LAYERED if layered and not WHOLE else LAYERED[:2]
    with table.point("writes elsewhere", "with a layer" if layered else "without a layer"):
        status, errors = stage.build(*options, before=(*TRACE, "-o", str(traces / "t")))
        assert status == 0, errors
        stage.kept(new=True)
        paths = {
            path
            for trace in traces.iterdir()
            for line in trace.read_text(errors="replace").splitlines()
            for path in changed(line)
        }
        mine = tuple(f"{folder}/" for folder in (stage.tmp, stage.out, stage.cache))
        # It saw something: the image getting its name, and the emulator's disk.
        assert str(stage.output) in paths
        elsewhere = {
            path for path in paths if not f"{path}/".startswith(mine) and not HARMLESS.match(path)
        }
        assert elsewhere == set()
    table.settle()
