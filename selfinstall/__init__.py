"""selfinstall: from a Debian rootfs tarball to an image that boots by itself.

The library's front: :func:`build`, :func:`make_plan`, :func:`verify`, the
values they take and give, and the tree of errors they raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfinstall.errors import SelfinstallError
    from selfinstall.events import Event
    from selfinstall.pipeline import build, make_plan
    from selfinstall.plan import Plan
    from selfinstall.request import Request
    from selfinstall.result import Result
    from selfinstall.verification import verify

__all__ = [
    "Event",
    "Plan",
    "Request",
    "Result",
    "SelfinstallError",
    "build",
    "make_plan",
    "verify",
]

_HOMES = {
    "Event": "events",
    "Plan": "plan",
    "Request": "request",
    "Result": "result",
    "SelfinstallError": "errors",
    "build": "pipeline",
    "make_plan": "pipeline",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    # Late, so that `selfinstall doctor` runs where a Python module is missing.
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
