"""Questions of the guest's: work on the host for which a hook waits."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from selfinstall.qemu.argv import EVENTS
from selfinstall.qemu.session import Session

#: As what the work's progress is heard in :meth:`Session.read`.
ANSWERS = "answers"
_GOES_ON, _DONE = b".", b"!"

#: Called with the hook's name, and with a function that it calls now and then: to say that
#: it gets on, and to learn whether anybody still waits.  It raises nothing.
OnAsk = Callable[[str, Callable[[], bool]], None]


class Answers:
    """Answers one question at a time; the guest's word is not trusted to be sensible."""

    def __init__(self, session: Session, on_ask: OnAsk | None) -> None:
        self._session = session
        self._on_ask = on_ask
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._pipe: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        for end in self._pipe or ():
            os.close(end)

    def ask(self, hook: str) -> None:
        """The guest asks; it is answered at once when nobody cares, or when it asks twice."""
        if self._on_ask is None or self._thread is not None:
            self._answer()
            return
        self._pipe = os.pipe()
        self._session.watch(self._pipe[0], ANSWERS)
        self._thread = threading.Thread(target=self._work, args=(self._on_ask, hook), daemon=True)
        self._thread.start()

    def hear(self, data: bytes) -> None:
        """What the work said."""
        if _DONE in data:
            assert self._thread is not None
            self._thread.join()
            self._thread = None
            self._close()
            self._answer()

    def _work(self, on_ask: OnAsk, hook: str) -> None:
        with self._saying() as say:
            on_ask(hook, say)

    @contextlib.contextmanager
    def _saying(self) -> Iterator[Callable[[], bool]]:
        assert self._pipe is not None
        end = self._pipe[1]

        def say() -> bool:
            os.write(end, _GOES_ON)
            return not self._stopped.is_set()

        try:
            yield say
        finally:
            os.write(end, _DONE)

    def _close(self) -> None:
        assert self._pipe is not None
        if self._session.watches(ANSWERS):
            self._session.forget(ANSWERS)
        for end in self._pipe:
            os.close(end)
        self._pipe = None

    def _answer(self) -> None:
        self._session.post(EVENTS, b"\n")
