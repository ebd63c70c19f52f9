"""A build, a fault at one moment of it, and what must hold afterwards.

Whatever happens, the user has either a good image or the old state and a reason: see
:meth:`Stage.kept`.  Each (fault, point) is a row of the table (:class:`Table`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SELFINSTALL = [sys.executable, "-m", "selfinstall"]
#: ``all``: every point; else a sample of them.
WHOLE = os.environ.get("SELFINSTALL_FAULTS") == "all"
#: Repeats the same random moments.
SEED = os.environ.get("SELFINSTALL_FAULTS_SEED") or str(random.SystemRandom().randrange(10**6))
OLD = b"an older image of the same name\n"
#: Seconds that an interrupted build may take to clean up, on a host that does other things too.
CLEANUP = 30
#: Seconds until what a dead build started is dead too.
ORPHANS = 10
#: Builds with these share the layer of the fixture ``warm``.
LAYERED = ("--firmware", "bios", "--no-verify")
_MARK = "FAULT_HARNESS"


class Table:
    """Collects the rows of one test; broken points fail it at its end."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record
        self.broken: list[str] = []

    @contextlib.contextmanager
    def point(self, fault: str, point: str) -> Iterator[None]:
        """One row: what is done inside keeps the promise, or an assertion says what is broken."""
        began = time.monotonic()
        why = ""
        try:
            yield
        except (AssertionError, subprocess.TimeoutExpired) as error:
            why = str(error).strip() or repr(error)
            self.broken.append(f"{fault}, {point}: {why}")
        row = {
            "fault": fault,
            "point": point,
            "kept": not why,
            "seconds": round(time.monotonic() - began, 1),
            "why": why[:500],
        }
        self._record("fault", row)

    def settle(self) -> None:
        """To be called last."""
        if self.broken:
            pytest.fail(f"seed {SEED}\n" + "\n".join(self.broken))


class Run:
    """A running command."""

    def __init__(self, process: subprocess.Popen[str], mark: str) -> None:
        self.process = process
        self.seen: list[tuple[str, str]] = []
        self.messages: list[str] = []
        self._mark = mark

    def until(self, event: str, step: str) -> None:
        """Read events up to this one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            self.seen.append((said["event"], said["step"]))
            self.messages.append(said.get("message") or "")
            if self.seen[-1] == (event, step):
                return
        _, errors = self.process.communicate()
        raise AssertionError(f"no {event} of {step}: {errors}")

    def pause(self, seconds: float) -> None:
        """Let the build go on for *seconds*; it may end in them."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)  # as a terminal does
        else:
            self.process.send_signal(number)

    def end(self, timeout: float | None = None) -> tuple[int, str]:
        """Exit status and standard error."""
        _, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, errors

    def children(self, program: str) -> list[int]:
        """Process ids of what the build runs now under that name."""
        return [pid for pid, name in processes(self._mark) if name.startswith(program[:15])]


class Stage:
    """Folders of a test's own, an old image, and builds on them."""

    def __init__(self, folder: Path, tarball: Path, cache: Path | None = None) -> None:
        self.tarball = tarball
        self.out, self.tmp = folder / "out", folder / "tmp"
        self.cache = cache or folder / "cache"
        for path in (self.out, self.tmp, self.cache):
            path.mkdir(parents=True, exist_ok=True)
        self.output = self.out / "x.qcow2"
        self.output.write_bytes(OLD)
        self.mark = uuid.uuid4().hex
        #: Of the builds' environment.
        self.more: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.tmp), _MARK: self.mark, **self.more}

    def command(self, *options: str | Path) -> list[str]:
        words = ["--json", "--tarball", self.tarball, "-o", self.output, "--cache", self.cache]
        return [*SELFINSTALL, *map(str, words), "--accel", "tcg", *map(str, options)]

    @contextlib.contextmanager
    def start(self, *options: str | Path, before: tuple[str, ...] = ()) -> Iterator[Run]:
        """A build that does not outlive the block."""
        with subprocess.Popen(
            [*before, *self.command(*options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,
        ) as process:
            try:
                yield Run(process, self.mark)
            finally:
                process.kill()

    def build(self, *options: str | Path, before: tuple[str, ...] = ()) -> tuple[int, str]:
        """A build from end to end."""
        with self.start(*options, before=before) as run:
            return run.end()

    def kept(self, *, new: bool = False) -> None:
        """Nothing is half-done and nothing left."""
        end = time.monotonic() + ORPHANS
        while (left := processes(self.mark)) and time.monotonic() < end:
            _wait_for(left[0][0], end - time.monotonic())
        assert left == [], f"processes left: {left}"
        assert [p.name for p in self.out.iterdir()] == [self.output.name], list(self.out.iterdir())
        with self.output.open("rb") as stream:
            content = stream.read(len(OLD))
        assert (content != OLD) if new else (content == OLD), content
        assert [p.name for p in self.tmp.iterdir() if p.suffix != ".log"] == []
        self.sound()

    def sound(self) -> None:
        """What is in the cache is whole, and nothing in it half-written."""
        tmp = self.cache / "tmp"
        assert not tmp.is_dir() or list(tmp.iterdir()) == [], list(tmp.iterdir())
        for record in self.cache.glob("layers/*/record.json"):
            for name, facts in json.loads(record.read_text())["files"].items():
                assert record.with_name(name).stat().st_size == facts["size"], record
        for folder in ("repacked", "derived"):
            for record in (self.cache / folder).glob("*.json"):
                content = next(
                    p for p in (record.with_suffix(""), record.with_suffix(".deb")) if p.exists()
                )
                digest = hashlib.sha256(content.read_bytes()).hexdigest()
                assert json.loads(record.read_text())["sha256"] == digest, record

    def next_run(self) -> None:
        """The next build of the same image, as far as to where it has cleared up."""
        with self.start() as run:
            run.until("begin", "inspect")
            run.signal(signal.SIGTERM)
            status, errors = run.end(CLEANUP)
            assert status == 128 + signal.SIGTERM, errors


def processes(mark: str) -> list[tuple[int, str]]:
    """(id, name) of each process that inherited *mark*; zombies have lost it."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                    name = (folder / "comm").read_text().strip()
                    found.append((int(folder.name), name))
    return found


def _wait_for(pid: int, seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [], max(0.0, seconds))
        finally:
            os.close(descriptor)


def one_error(said: str) -> str:
    """The one line that names the cause."""
    errors = [line for line in said.splitlines() if line.startswith("selfinstall: error: ")]
    assert len(errors) == 1 and "Traceback" not in said, said
    return errors[0]


def failed(result: tuple[int, str], status: int, *words: str) -> None:
    """The exit status, one error, and these words in what was said."""
    assert result[0] == status, f"status {result[0]}, not {status}: {result[1]}"
    one_error(result[1])
    lacking = [word for word in words if word not in result[1]]
    assert lacking == [], f"{lacking} not in {result[1]}"


def hook(folder: Path, text: str) -> Path:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    return path


def private_mounts() -> list[str]:
    """The words that give a command mounts of its own, as users may have them."""
    words = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("this user may make no namespaces")
        pytest.skip("this user may make no namespaces")
    return words
