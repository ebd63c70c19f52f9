from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfinstall.arch import get
from selfinstall.errors import BootFailed
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.qemu.login import BootReport, Cancelled
from selfinstall.verification import cpus_each, side_by_side

GOOD = BootReport(seconds=1.0, accel="tcg", console=())


def until_cancelled(cancel: int) -> BootReport:
    """A boot that ends only when it is told to."""
    ready, _, _ = select.select([cancel], [], [], 10)
    assert ready, "nobody gave up"
    raise Cancelled


def run(boot_one: Callable[[Any, OnEvent, int], BootReport], on_event: OnEvent) -> list[BootReport]:
    return side_by_side(boot_one, ["a", "b"], on_event)  # type: ignore[list-item]


def test_reports_come_in_order_and_events_in_the_callers_thread() -> None:
    heard: list[tuple[str, int]] = []
    first_done = threading.Event()

    def boot_one(name: Any, tell: OnEvent, cancel: int) -> BootReport:
        tell(Event("note", name))
        if name == "a" and (os.cpu_count() or 1) > 1:
            assert first_done.wait(10)
        first_done.set()
        return BootReport(seconds=1.0, accel="tcg", console=(name,))

    reports = run(boot_one, lambda event: heard.append((event.step, threading.get_ident())))
    assert [report.console for report in reports] == [("a",), ("b",)]
    assert sorted(heard) == [("a", threading.get_ident()), ("b", threading.get_ident())]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="boots run one after the other")
def test_a_failure_ends_the_other() -> None:
    def boot_one(name: Any, tell: OnEvent, cancel: int) -> BootReport:
        if name == "b":
            raise BootFailed("the image does not boot")
        return until_cancelled(cancel)

    with pytest.raises(BootFailed):
        run(boot_one, ignore)


def test_an_interruption_ends_both() -> None:
    def boot_one(name: Any, tell: OnEvent, cancel: int) -> BootReport:
        tell(Event("begin", name))
        return until_cancelled(cancel)

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(boot_one, interrupt)


def test_no_descriptor_is_left() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    run(lambda name, tell, cancel: GOOD, ignore)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("arch", "host", "cores", "boots", "cpus"),
    [
        ("amd64", "x86_64", 2, 1, 2),
        ("amd64", "x86_64", 2, 2, 1),
        ("amd64", "x86_64", 16, 2, 2),
        ("amd64", "x86_64", 1, 2, 1),
        ("amd64", "aarch64", 16, 1, 1),
        ("arm64", "x86_64", 16, 1, 1),
    ],
)
def test_cpus(
    monkeypatch: pytest.MonkeyPatch, arch: str, host: str, cores: int, boots: int, cpus: int
) -> None:
    """No more than the host has, and one where qemu would run several in turn."""
    monkeypatch.setattr("platform.machine", lambda: host)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert cpus_each(get(arch), boots) == cpus
