"""Stubs for the library behind the command line, so that its tests build nothing."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfinstall.cli.run import run
from selfinstall.events import Event


@dataclasses.dataclass(frozen=True)
class FakeResult:
    image: Path


@dataclasses.dataclass(frozen=True)
class FakeReport:
    firmware: str
    seconds: float


class FakePlan:
    def to_json(self) -> str:
        return '{"plan": true}'

    def to_text(self) -> str:
        return "the plan\n"


class Library:
    """Stands in for the modules that the verbs call; keeps what it was asked."""

    def __init__(self) -> None:
        self.request: Any = None
        self.calls: list[dict[str, Any]] = []
        self.events: list[Event] = []
        self.act: Callable[[], None] = lambda: None

    def _go(self, on_event: Callable[[Event], None]) -> None:
        for event in self.events:
            on_event(event)
        self.act()

    def build(self, request: Any, on_event: Any) -> FakeResult:
        self.request = request
        self._go(on_event)
        return FakeResult(request.output or Path("out.img"))

    def make_plan(self, request: Any, on_event: Any) -> FakePlan:
        self.request = request
        self._go(on_event)
        return FakePlan()

    def verify(self, image: Path, *, on_event: Any, **keywords: Any) -> tuple[FakeReport, ...]:
        self.calls.append({"image": image, **keywords})
        self._go(on_event)
        return (FakeReport("bios", 12.34), FakeReport("efi", 120.0))

    def boot(self, image: Path, *, on_event: Any, **keywords: Any) -> int:
        self.calls.append({"image": image, **keywords})
        self._go(on_event)
        return 0

    def printed(self, image: Path, style: str, *, on_event: Any, **keywords: Any) -> str:
        self.calls.append({"image": image, "style": style, **keywords})
        return f"<{style}/>\n"

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        functions = {
            "pipeline": {"build": self.build, "make_plan": self.make_plan},
            "verification": {"verify": self.verify},
            "boot": {"boot": self.boot, "printed": self.printed},
        }
        for name, members in functions.items():
            module = types.ModuleType(f"selfinstall.{name}")
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, module.__name__, module)


def raising(error: BaseException) -> Callable[[], None]:
    """A function that raises *error*."""

    def act() -> None:
        raise error

    return act


def command(line: str) -> int:
    """Run a command line whose words hold no blanks."""
    return run(line.split())
