"""What a kernel says when it dies.  Pure."""

from __future__ import annotations

import re

_PANIC = re.compile(r"Kernel panic - not syncing:([^\n]*)")
#: How the kernel's architectures begin the story that ends in a panic.
_FIRST = re.compile(
    r"\b(?:Oops\b|BUG: |kernel BUG at |Internal error: |general protection fault"
    r"|[Uu]nable to handle kernel )"
)
_PLACE = re.compile(r"\b(?:RIP|EIP|pc|PC is at|NIP|epc|Krnl PSW)\b ?: ?\S.*")
_TASK = re.compile(r"\bComm: (\S+)")
_STAMP = re.compile(r"^\s*(?:<\d>)?\s*\[\s*\d+\.\d+\](?:\[\s*[CT]\d+\])?\s*")
_LONGEST = 200


def panic(line: str) -> str | None:
    """Why the kernel panicked, by this line of its console; None when it does not say that."""
    found = _PANIC.search(line)
    return found[1].strip()[:_LONGEST] if found else None


class Oops:
    """Listens to a console for a kernel's death.

    :ivar panic: why it panicked, None as long as it did not.
    """

    def __init__(self) -> None:
        self.panic: str | None = None
        self._first: str | None = None
        self._place: str | None = None
        self._task: str | None = None

    def hear(self, line: str) -> None:
        """Take one line."""
        if self.panic is not None:
            return
        self.panic = panic(line)
        if self._first is None:
            if _FIRST.search(line):
                self._first = _STAMP.sub("", line).strip()[:_LONGEST]
            return
        if self._task is None and (task := _TASK.search(line)):
            self._task = task[1][:_LONGEST]
        if self._place is None and (place := _PLACE.search(line)):
            self._place = place[0].strip()[:_LONGEST]

    def __str__(self) -> str:
        """The panic and how it began, in one line."""
        story = [self._first, self._place, f"in {self._task}" if self._task else None]
        began = ", ".join(part for part in story if part)
        return f"{self.panic} (it began with: {began})" if began else str(self.panic)
