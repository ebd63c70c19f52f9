"""What happens during a build, as values.

The core emits events and never prints.  The terminal view and ``--json``
are two readers of the same stream; an embedding program is a third.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Literal

Kind = Literal["begin", "progress", "end", "note", "warning", "verdict"]
Unit = Literal["bytes", "packages", "steps"]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    :param event: the kind.
    :param step: where: ``inspect``, ``packages``, ``initramfs``, a guest hook's
        name (``40-unpack``), ``convert``, ``verify-bios`` …
    :param done: how much of *total* is done (progress).
    :param total: how much there is, None while unknown.
    :param unit: what *done* and *total* count.
    :param seconds: how long the step took (end).
    :param message: a sentence for people (note, warning, verdict).
    :param ok: the verdict.
    """

    event: Kind
    step: str
    done: int | None = None
    total: int | None = None
    unit: Unit | None = None
    seconds: float | None = None
    message: str | None = None
    ok: bool | None = None

    def to_json(self) -> str:
        """One line of JSON without the fields that are None."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return json.dumps(fields, ensure_ascii=False)


OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An ``on_event`` for those who do not want to hear."""
