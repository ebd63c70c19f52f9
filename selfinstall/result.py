"""What a build gives back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A finished image.

    :param image: where it is.
    :param manifest: what is in it and how it was made (see docs/library.md).
    :param seconds: wall time of each step and of each of the guest's hooks.
    :param log: the guest's console, None when it was not kept.
    """

    image: Path
    manifest: dict[str, Any]
    seconds: dict[str, float]
    log: Path | None
