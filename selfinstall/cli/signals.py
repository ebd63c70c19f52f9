"""Ctrl-C and its relatives become one exception in the main thread, once."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from selfinstall.errors import Interrupted

if TYPE_CHECKING:
    # The type of the hook's argument exists for type checkers only.
    from sys import UnraisableHookArgs

#: Seconds until a lost signal is sent again, and then each time.
_AGAIN = 0.02
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _within(frame: FrameType | None, code: CodeType) -> bool:
    """Whether *code* runs in *frame*, or in one that waits for it."""
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it, the first of :data:`SIGNALS` raises :class:`Interrupted` in the main thread.

    Further ones do nothing until the context ends: not SIG_IGN, because programs that are
    started then would inherit that and survive their own termination.  Signals that were
    ignored before (nohup, background jobs) stay ignored.  Outside the main
    thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in SIGNALS}
    ours = [s for s, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    hook = sys.unraisablehook
    main = threading.main_thread().ident
    assert main is not None
    armed, ended = True, threading.Event()
    threads: list[threading.Thread] = []

    def interrupt(signum: int, frame: FrameType | None) -> None:
        # An exception out of the hook below would be lost, as one out of a finalizer.
        nonlocal armed
        if armed and not _within(frame, unraisable.__code__):
            armed = False
            raise Interrupted(signum)

    def again(signum: int) -> None:
        while armed and not ended.wait(_AGAIN):
            signal.pthread_kill(main, signum)

    def unraisable(args: UnraisableHookArgs) -> None:
        nonlocal armed
        # The signal came while a finalizer ran, which swallows exceptions: say it again until
        # one gets through, and to the main thread, whose waiting it must end.
        if isinstance(args.exc_value, Interrupted):
            armed = True
            threads.append(threading.Thread(target=again, args=(args.exc_value.signum,)))
            threads[-1].start()
        else:
            hook(args)

    for one in ours:
        signal.signal(one, interrupt)
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook
        ended.set()
        for thread in threads:
            thread.join()
        for one in ours:
            signal.signal(one, before[one])
