"""When a guest counts as hung.  Pure: times are handed in."""

from __future__ import annotations

from selfinstall.qemu.argv import AccelName

#: Seconds without a sign of life.  Emulated, one step of a large package's script or a
#: file system check takes minutes on a loaded host.
LIMITS: dict[AccelName, float] = {"kvm": 120.0, "tcg": 600.0}
#: The most that may pass between two looks, seconds.  What is longer was no silence of the
#: guest's: the host slept, or this process was stopped.
LONGEST_LOOK = 10.0


class Watchdog:
    """Counts seconds of silence.

    :param limit: how many are too many.
    :param now: any steadily growing clock, seconds.
    """

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self._silent = 0.0
        self._last = now
        self._operations: int | None = None

    def alive(self, now: float) -> None:
        """The guest did something."""
        self._silent = 0.0
        self._last = now

    def disk(self, now: float, operations: int) -> None:
        """The guest has done so many disk operations up to now; new ones are life."""
        if self._operations is not None and operations != self._operations:
            self.alive(now)
        self._operations = operations

    def look(self, now: float) -> bool:
        """Whether the guest is hung.  To be called at least every :data:`LONGEST_LOOK` seconds."""
        self._silent += min(max(now - self._last, 0.0), LONGEST_LOOK)
        self._last = now
        return self._silent >= self.limit

    @property
    def remaining(self) -> float:
        """Seconds of silence that are left, as of the last look."""
        return max(self.limit - self._silent, 0.0)
