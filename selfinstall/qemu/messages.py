"""What the guest says about its work: JSON objects, one a line, on the events port.

::

    {"event":"begin","hook":"40-unpack"}
    {"event":"progress","hook":"40-unpack","done":N,"total":N,"unit":"bytes"}
    {"event":"end","hook":"40-unpack","seconds":1.2}
    {"event":"note","hook":"40-unpack","message":"…"}      (or "warning")
    {"event":"ask","hook":"34-root"}                       (the host answers with a line)
    {"event":"verdict","ok":true}
    {"event":"verdict","ok":false,"hook":"50-configure","message":"exit status 1"}

The guest runs code of the tarball's, so nothing that it says is trusted: what
does not fit is left out with a note, and everything is bounded.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from selfinstall.events import Event, Kind, Unit

#: The step that events without a (sane) hook belong to.
GUEST = "guest"
LONGEST_LINE = 4096
MOST_MESSAGES = 100_000
#: Notes about what was left out; after so many the guest's nonsense is not worth more.
MOST_COMPLAINTS = 10
#: JavaScript's bound for whole numbers, 8 PiB as bytes.
LARGEST = 2**53

_HOOK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+"
)
_UNITS: tuple[Unit, ...] = get_args(Unit)
_KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A hook waits until the host has done something and answers."""

    hook: str


class TooManyMessages(Exception):
    """The guest talks without end."""


class Decoder:
    """Turns the port's bytes into events."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        self._messages = 0
        self._complaints = 0

    def feed(self, data: bytes) -> Iterator[Event | Question]:
        """The events whose lines *data* completes.

        :raises TooManyMessages: the guest has said more than :data:`MOST_MESSAGES`.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif len(line) > LONGEST_LINE:
                yield from self._complain("a line that is too long")
            elif line.strip():
                yield from self._line(line)
        if len(rest) > LONGEST_LINE:
            if not self._skipping:
                yield from self._complain("a line that is too long")
            self._skipping = True
            rest = b""
        self._rest = b"" if self._skipping else rest

    def _line(self, line: bytes) -> Iterator[Event | Question]:
        self._messages += 1
        if self._messages > MOST_MESSAGES:
            raise TooManyMessages(f"it sent more than {MOST_MESSAGES} messages")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            yield from self._complain("a line that is not JSON")
            return
        event = _event(message) if isinstance(message, dict) else None
        if event is None:
            yield from self._complain("a message that makes no sense")
        else:
            yield event

    def _complain(self, what: str) -> Iterator[Event | Question]:
        self._complaints += 1
        if self._complaints <= MOST_COMPLAINTS:
            yield Event("note", GUEST, message=f"left out {what} from the guest")


def _event(message: dict[str, Any]) -> Event | Question | None:
    """What a message is; None when it is of no known kind or lacks what its kind needs."""
    kind = message.get("event")
    hook = message.get("hook")
    named = isinstance(hook, str) and _HOOK.fullmatch(hook) is not None
    step = str(hook) if named else GUEST
    if kind == "ask" and named:
        return Question(step)
    if kind not in _KINDS or not (named or kind in ("note", "warning", "verdict")):
        return None
    match kind:
        case "begin":
            return Event("begin", step)
        case "progress":
            done = _whole(message.get("done"))
            total = _whole(message.get("total"))
            unit = message.get("unit")
            unit = unit if unit in _UNITS else None
            return None if done is None else Event("progress", step, done, total, unit)
        case "end":
            return Event("end", step, seconds=_seconds(message.get("seconds")))
        case "verdict":
            ok = message.get("ok")
            if not isinstance(ok, bool):
                return None
            return Event("verdict", step, ok=ok, message=printable(message.get("message")))
        case _:
            text = printable(message.get("message"))
            return Event(kind, step, message=text) if text else None


def printable(value: Any) -> str | None:
    """A text on one line, without control characters and what turns the direction of writing."""
    return _UNPRINTABLE.sub(" ", value).strip() if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
    return value if fits else None


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= LARGEST else None
