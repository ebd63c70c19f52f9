"""Questions of the guest's: work on the host for which a hook waits."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from selfinstall.events import Event, OnEvent
from selfinstall.qemu.argv import EVENTS
from selfinstall.qemu.session import Session

#: As what the work's progress is heard in :meth:`Session.read`.
ANSWERS = "answers"


class Unwanted(Exception):
    """Nobody waits for the work any more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """Work for which a hook waits.

    :param work: called in a thread of its own, with an ``on_event`` whose events are handed on
        in the thread that watches the guest, and which raises :class:`Unwanted` when the
        work is to end; and with a function that tells whether anybody still wants it.  What
        it raises ends the guest.
    :param ahead: it begins with the guest, and not only when the hook asks.
    """

    work: Callable[[OnEvent, Callable[[], bool]], None]
    ahead: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class _End:
    """A hook's job has ended, well or with an error."""

    hook: str
    error: BaseException | None


class Answers:
    """Answers questions, each when its job is done; the guest's word is not trusted to be sensible.

    :param jobs: by the hooks that ask for them; others are answered at once.
    :param on_event: hears of the jobs' progress.
    """

    def __init__(self, session: Session, jobs: Mapping[str, Job], on_event: OnEvent) -> None:
        self._session = session
        self._on_event = on_event
        self._ahead = [hook for hook in jobs if jobs[hook].ahead]
        self._jobs = dict(jobs)
        self._running: dict[str, threading.Thread] = {}
        self._awaited: set[str] = set()
        self._said: queue.SimpleQueue[Event | _End] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._ear, self._mouth = os.pipe()
        # A full pipe wakes the listener as well.
        os.set_blocking(self._mouth, False)

    def __enter__(self) -> Self:
        self._session.watch(self._ear, ANSWERS)
        for hook in self._ahead:
            self._begin(hook)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        # Before the wait for work that ends at its next step only.
        self._session.kill()
        for thread in self._running.values():
            thread.join()
        for end in (self._ear, self._mouth):
            os.close(end)

    @property
    def awaited(self) -> bool:
        """Whether the guest waits for work that goes on."""
        return bool(self._awaited)

    @property
    def owed(self) -> str | None:
        """A hook whose job began with the guest and has not ended; None when there is none."""
        return next((hook for hook in self._ahead if hook in self._running), None)

    def ask(self, hook: str) -> None:
        """The guest asks; it is answered at once when nobody cares, or when it asks twice."""
        if hook in self._jobs:
            self._begin(hook)
        if hook in self._running and hook not in self._awaited:
            self._awaited.add(hook)
        else:
            self._answer()

    def hear(self) -> None:
        """The jobs said something.

        :raises BaseException: what one of them raised.
        """
        while not self._said.empty():
            said = self._said.get()
            if isinstance(said, Event):
                self._on_event(said)
            else:
                self._end(said)

    def _begin(self, hook: str) -> None:
        job = self._jobs.pop(hook)
        thread = threading.Thread(target=self._work, args=(hook, job), daemon=True)
        self._running[hook] = thread
        thread.start()

    def _end(self, end: _End) -> None:
        self._running.pop(end.hook).join()
        if end.error is not None:
            raise end.error
        if end.hook in self._awaited:
            self._awaited.remove(end.hook)
            self._answer()

    def _answer(self) -> None:
        self._session.post(EVENTS, b"\n")

    # In the jobs' threads.

    def _work(self, hook: str, job: Job) -> None:
        error = None
        try:
            job.work(self._tell, lambda: not self._stopped.is_set())
        except BaseException as raised:  # noqa: BLE001  # raised where the guest is watched
            error = raised
        self._say(_End(hook, error))

    def _tell(self, event: Event) -> None:
        if self._stopped.is_set():
            raise Unwanted
        self._say(event)

    def _say(self, said: Event | _End) -> None:
        self._said.put(said)
        with contextlib.suppress(BlockingIOError):
            os.write(self._mouth, b".")
