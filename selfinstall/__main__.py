"""The ``selfinstall`` program; the only place where exceptions have become exit statuses."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence

from selfinstall.cli.run import run


def _open_streams() -> None:
    """Give closed standard streams to /dev/null, so that no file of a build gets their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _flush() -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        # Nobody reads any more; keep the interpreter from finding out again at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(act: Callable[[Sequence[str]], int] = run) -> int:
    """Run the command line that this process was started with; its exit status."""
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names are bytes; those that are no text come out as they went in.
        sys.stdout.reconfigure(errors="surrogateescape")
    status = act(sys.argv[1:])
    _flush()
    return status


def build_qemu() -> int:
    """The program ``selfinstall-build-qemu``."""
    from selfinstall.cli import build_qemu

    return main(build_qemu.run)


if __name__ == "__main__":
    sys.exit(main())
