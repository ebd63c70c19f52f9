"""How long the steps of a build take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from selfinstall.events import Event, OnEvent


class Clock:
    """Emits begin and end of each step and remembers how long it took, in seconds."""

    def __init__(self, on_event: OnEvent) -> None:
        self.on_event = on_event
        self.seconds: dict[str, float] = {}

    def telling(self, on_event: OnEvent) -> Clock:
        """A clock of the same seconds that tells *on_event*."""
        other = Clock(on_event)
        other.seconds = self.seconds
        return other

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside, as step *name*."""
        self.on_event(Event("begin", name))
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.seconds[name] = round(self.seconds.get(name, 0) + seconds, 3)
        self.on_event(Event("end", name, seconds=round(seconds, 3)))
