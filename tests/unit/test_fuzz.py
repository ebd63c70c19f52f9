"""A short run of the fuzzers, and the tarballs that are hostile by design, made small.

The long runs are ``python3 -m tests.fuzz --minutes N`` and ``--hostile``; see docs/security.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.fuzz.hostile import CASES, measured  # noqa: E402
from tests.fuzz.targets import CORPUS, TARGETS  # noqa: E402

#: Of the full size.
SMALL = 0.002


def test_a_short_run_of_every_fuzzer_finds_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--inputs", "20", "--findings", tmp_path / "found"],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "found").exists()
    told = {line.split()[0] for line in done.stdout.splitlines()}
    assert told == {*TARGETS, "together"}


def test_the_fuzzer_tells_crashes_hangs_and_hunger(tmp_path: Path) -> None:
    """A fuzzer that finds nothing anywhere proves nothing."""
    text = (
        "from tests.fuzz import __main__ as main, targets, worker\n"
        "worker.PATIENCE, main.ATTEMPTS = 0.3, 1\n"
        "def run(data, folder):\n"
        "    if b'crash' in data: raise KeyError('x')\n"
        "    if b'hang' in data:\n"
        "        while True: pass\n"
        "    if b'eat' in data: bytearray(600 << 20)\n"
        "    if b'die' in data: import os; os.abort()\n"
        "seeds = [b'fine', b'crash', b'hang', b'eat', b'die']\n"
        "targets.TARGETS.clear()\n"
        "targets.TARGETS['x'] = targets.Target(name='x', seeds=seeds, run=run)\n"
        "raise SystemExit(main.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text, "--inputs", "1", "--findings", tmp_path / "found"],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    for words in ("KeyError at", "Hang at", "MemoryError at", "the process ended with status -6"):
        assert words in done.stdout, done.stdout
    found = {path.read_bytes() for path in (tmp_path / "found").iterdir()}
    assert {b"crash", b"hang", b"eat", b"die"} <= found


def test_the_corpus_belongs_to_fuzzers_and_is_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= TARGETS.keys()
    assert sum(path.stat().st_size for path in files) < 1 << 20


@pytest.mark.parametrize("name", CASES)
def test_hostile_tarballs_are_taken_or_refused_as_they_should_be(name: str, tmp_path: Path) -> None:
    told, _, _ = measured(CASES[name], SMALL, tmp_path)
    assert CASES[name].wanted(SMALL) in told
    assert told.isprintable()
    # Not a member, by whatever name: only what inspection itself was told to write.
    assert list(tmp_path.iterdir()) == []
