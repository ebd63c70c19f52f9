"""Ctrl-C and its relatives become one exception in the main thread, once."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from selfinstall.errors import Interrupted

if TYPE_CHECKING:
    # The type of the hook's argument exists for type checkers only.
    from sys import UnraisableHookArgs

#: Seconds until a lost signal is sent again.
_AGAIN = 0.02
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _nothing(signum: int, frame: FrameType | None) -> None:
    """Further signals do not disturb the clean-up.

    A function and not SIG_IGN, because programs that are started then would
    inherit that and survive their own termination.
    """


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it, the first of :data:`SIGNALS` raises :class:`Interrupted` in the main thread.

    Further ones are ignored until the context ends.  Signals that were
    ignored before (nohup, background jobs) stay ignored.  Outside the main
    thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in SIGNALS}
    ours = [s for s, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    hook = sys.unraisablehook

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for one in ours:
            signal.signal(one, _nothing)
        raise Interrupted(signum)

    def arm() -> None:
        for one in ours:
            signal.signal(one, interrupt)

    def unraisable(args: UnraisableHookArgs) -> None:
        # The signal came while a finalizer ran, which swallows exceptions: say it again, when
        # the finalizer has ended, and to the main thread, whose waiting it must end.
        if isinstance(args.exc_value, Interrupted):
            arm()
            again = (threading.main_thread().ident, args.exc_value.signum)
            threading.Timer(_AGAIN, signal.pthread_kill, again).start()
        else:
            hook(args)

    arm()
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for one in ours:
            signal.signal(one, before[one])
