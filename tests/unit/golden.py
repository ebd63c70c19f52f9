"""Golden files: what is generated, compared with what was looked at and found right.

``SELFINSTALL_UPDATE_GOLDEN=1`` writes them anew; a missing one fails.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "golden"


def check(name: str, text: str) -> None:
    """Compare *text* with the golden file *name*."""
    path = FOLDER / name
    if os.environ.get("SELFINSTALL_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.exists(), f"no golden file {name}: SELFINSTALL_UPDATE_GOLDEN=1 makes it"
    assert text == path.read_text(), f"{name} differs; SELFINSTALL_UPDATE_GOLDEN=1 takes it over"
