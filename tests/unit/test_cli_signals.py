"""Signals: one exception, one line, a clean-up that nothing disturbs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from selfinstall.cli.signals import SIGNALS, interruptible
from selfinstall.errors import Interrupted

#: A build that waits for ever, and cleans up when its standard input says so.
PROGRAM = """
import sys, time, types
stub = types.ModuleType("selfinstall.pipeline")

def build(request, on_event):
    try:
        print("building", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        sys.stdin.readline()
        print("clean", flush=True)

stub.build = build
stub.make_plan = None
sys.modules["selfinstall.pipeline"] = stub
sys.argv = ["selfinstall", "--tarball", "a"]
from selfinstall.__main__ import main
sys.exit(main())
"""


@contextlib.contextmanager
def building(**keywords: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keywords,  # type: ignore[call-overload]
    ) as process:
        try:
            assert process.stdout.readline() == "building\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_build_after_its_clean_up(number: signal.Signals) -> None:
    with building() as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "cleaning\n"
        # Impatience does not disturb.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate("\n", timeout=10)
    assert out == "clean\n"
    assert err == f"selfinstall: error: interrupted by signal {int(number)}\n"
    assert process.returncode == 128 + number


def test_an_ignored_hangup_stays_ignored() -> None:
    with building(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate("\n", timeout=10)
    assert process.returncode == 143


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Interrupted) as caught, interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(10)
    assert caught.value.exit_status == 143
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_in_a_finalizer_is_not_lost() -> None:
    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):  # the handler runs somewhere in here
                pass

    with pytest.raises(Interrupted), interruptible():
        victim = Finalized()
        del victim
        threading.Event().wait(10)


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_a_signal_while_the_first_is_taken_out_of_a_finalizer_is_not_lost(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a busy host: the thread that says it again is quicker than the one that started it."""

    start = threading.Thread.start

    def busy(thread: threading.Thread) -> None:
        start(thread)
        os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass

    monkeypatch.setattr(threading.Thread, "start", busy)
    with pytest.raises(Interrupted), interruptible():
        victim = Finalized()
        del victim
        threading.Event().wait(10)
    assert threading.active_count() == 1


def test_other_threads_do_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def inside() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]
