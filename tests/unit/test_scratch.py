"""Temporary folders, image names and their locks, with makers that die."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from selfinstall import Request, cachefolder, host, pipeline, scratch
from selfinstall.errors import HostError
from selfinstall.events import Event
from selfinstall.image.seal import publish, unfinished
from selfinstall.packages import hostapt

#: A process that makes something, says so, and waits to be killed.
MAKER = """
import sys
from pathlib import Path
from selfinstall.host import workspace
from selfinstall.image.seal import unfinished
from selfinstall.packages.cache import Cache
from selfinstall.layers.store import Store
kind, place = sys.argv[1], Path(sys.argv[2])
made = {
    "workspace": lambda: workspace(place),
    "image": lambda: unfinished(place / "a.img", private=False),
    "cache": lambda: Cache(place)._temporary(),
    "layer": lambda: Store(place).making(),
}[kind]()
with made as path:
    if path.is_dir():
        (path / "content").write_text("x")
    print(path, flush=True)
    sys.stdin.read()
"""


def killed(kind: str, place: Path) -> Path:
    """What a process left that made *kind* in *place* and was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", MAKER, kind, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        # While it lives it keeps what it has.
        with again(kind, place) as other:
            assert path.exists() and path != other
        process.send_signal(signal.SIGKILL)
    assert path.exists()
    return path


def again(kind: str, place: Path):  # type: ignore[no-untyped-def]
    """The same in this process; of an image only one can be made at a time."""
    from selfinstall.layers.store import Store
    from selfinstall.packages.cache import Cache

    return {
        "workspace": lambda: host.workspace(place),
        "image": lambda: unfinished(place / "b.img", private=False),
        "cache": lambda: Cache(place)._temporary(),
        "layer": lambda: Store(place).making(),
    }[kind]()


@pytest.mark.parametrize("kind", ["workspace", "cache", "layer"])
def test_the_next_one_removes_what_a_killed_one_left(tmp_path: Path, kind: str) -> None:
    left = killed(kind, tmp_path)
    with again(kind, tmp_path) as path:
        assert not left.exists() and path.exists()
    assert not path.exists()


def test_clearing_the_cache_removes_what_killed_builds_left(tmp_path: Path) -> None:
    left = [killed(kind, tmp_path) for kind in ("cache", "layer")]
    cachefolder.clear(tmp_path, ["lists"])
    assert not any(path.exists() for path in left)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_next_build_of_an_image_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    left = killed("image", tmp_path)
    other = tmp_path / ".a.img2.01234567.part"
    other.touch()
    with unfinished(tmp_path / "b.img", private=False):
        assert left.exists()
    with unfinished(tmp_path / "a.img", private=False) as path:
        assert not left.exists()
        publish(path, tmp_path / "a.img")
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "a.img"]


def test_only_one_makes_an_image(tmp_path: Path) -> None:
    output = tmp_path / "a.img"
    with unfinished(output, private=False) as path:
        said = r"another build is making .*a\.img"
        with pytest.raises(HostError, match=said), unfinished(output, private=False):
            pass
        assert path.exists()
        publish(path, output)
    with unfinished(output, private=False):
        pass
    assert list(tmp_path.iterdir()) == [output]


def test_many_who_want_the_same_name_get_it_one_by_one(tmp_path: Path) -> None:
    """The lock's file comes and goes, and still no two have it."""
    output, inside, most, refused = tmp_path / "a.img", [], [], []

    def want() -> None:
        for _ in range(200):
            try:
                with unfinished(output, private=False):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except HostError:
                refused.append(1)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1} and len(most) + len(refused) == 800
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    names = ("selfinstall-work-short", "selfinstall-tests.abcdefgh", "selfinstall-work-ABCDEFGH")
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "selfinstall-work-abcdefgh").symlink_to(tmp_path / "target")
    (tmp_path / "selfinstall-work-abcdefg1").write_text("a file")
    before = sorted(tmp_path.iterdir())
    with host.workspace(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == before


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "selfinstall-work-abcdefgh"
    left.mkdir()

    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(scratch.fcntl, "flock", none)
    with host.workspace(tmp_path), unfinished(tmp_path / "a.img", private=False) as path:
        assert path.exists()
    assert list(tmp_path.iterdir()) == [left]


def test_a_program_ends_with_who_started_it(tmp_path: Path) -> None:
    """apt, which would go on downloading for nobody."""
    text = """
import os, subprocess, sys
from pathlib import Path
from selfinstall.packages.hostapt import started
with started(["sh", "-c", "echo $$ >&2; exec sleep 60"], Path("/"), os.environ, errors=sys.stderr):
    sys.stdin.read()
"""
    assert hostapt.started
    with subprocess.Popen(
        [sys.executable, "-c", text],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stderr is not None
        child = os.pidfd_open(int(process.stderr.readline()))
        process.kill()
    assert select.select([child], [], [], 10)[0] == [child]
    os.close(child)


@pytest.mark.parametrize("home", ["/proc/none", ""])
def test_a_home_that_cannot_be_written_costs_the_cache_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    events: list[Event] = []
    request = Request(tarball=Path("x"))
    found = pipeline._with_cache(request, tmp_path, events.append)
    assert found.cache == tmp_path / "cache" and not found.use_cache
    assert events[0].event == "warning" and "nothing is kept" in (events[0].message or "")
    # A folder that was named is the user's word.
    named = dataclasses.replace(request, cache=Path("/proc/none"))
    assert pipeline._with_cache(named, tmp_path, events.append) == named
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pipeline._with_cache(request, tmp_path, events.append) == request
    assert len(events) == 1
