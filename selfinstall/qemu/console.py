"""What the guest's serial console says, as lines for people and patterns.  Pure."""

from __future__ import annotations

import re
from collections import deque

#: Bytes of raw console that are kept for the last words.
TAIL = 64 << 10
#: Bytes after which a line is cut, whatever the guest thinks.
LONGEST_LINE = 4096
#: Distinct lines that are remembered to tell a new one from one that repeats for ever.
REMEMBERED = 64

# Moving the cursor begins a line of its own for our purpose.
_MOVE = re.compile(r"\x1b\[[0-9;]*[HfABEFd]")
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS and the like
    r"|[ -/]+[0-~]"  # character sets
    r"|[0-Z\\^-~])"  # all the short ones
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Time stamps, counters, addresses and the stars of systemd's spinner.
_VOLATILE = re.compile(r"[0-9a-fA-F]*[0-9][0-9a-fA-F]*|[*\s]+")


def clean(text: str) -> str:
    """*text* without escape sequences and control characters, but for newlines and tabs."""
    text = _MOVE.sub("\n", text).replace("\r", "\n")
    return _CONTROL.sub("", _ESCAPE.sub("", text))


class Console:
    """Takes raw bytes, gives whole lines; keeps the tail.

    :ivar partial: the line that the cursor stands in, cleaned; prompts are found there.
    :ivar novel: counts lines that were unlike all recent ones.  A guest that repeats the
        same complaint for ever (soft lockup, a start job without limit) is not alive by that.
    """

    def __init__(self) -> None:
        self.partial = ""
        self.novel = 0
        self.bytes = 0
        self._pending = b""
        self._tail = bytearray()
        self._recent: deque[str] = deque(maxlen=REMEMBERED)

    def feed(self, data: bytes) -> list[str]:
        """Take *data*; returns the lines that it completed."""
        self.bytes += len(data)
        self._tail += data
        del self._tail[:-TAIL]
        lines = []
        *whole, self._pending = (self._pending + data).split(b"\n")
        for raw in whole:
            lines += self._whole(raw)
        while len(self._pending) > LONGEST_LINE:
            lines += self._whole(self._pending[:LONGEST_LINE])
            self._pending = self._pending[LONGEST_LINE:]
        # A carriage return may be half of a line's end or go back to overwrite it.
        self.partial = (
            clean(self._pending.decode(errors="replace")).rstrip("\n").rpartition("\n")[2]
        )
        for line in (*lines, self.partial):
            self._judge(line)
        return lines

    def _whole(self, raw: bytes) -> list[str]:
        text = clean(raw[: 4 * LONGEST_LINE].decode(errors="replace"))
        return [line for line in text.split("\n") if line.strip()]

    def _judge(self, line: str) -> None:
        fixed = _VOLATILE.sub("", line[:200])
        if fixed and fixed not in self._recent:
            self._recent.append(fixed)
            self.novel += 1

    def last_words(self, count: int = 15) -> tuple[str, ...]:
        """The last *count* lines that hold something."""
        text = clean(self._tail.decode(errors="replace"))
        lines = [line.strip()[:300] for line in text.split("\n")]
        return tuple([line for line in lines if line][-count:])
