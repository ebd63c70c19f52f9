"""Watching over a running guest: what all kinds of guests have in common.

Reads everything that qemu says, keeps the console's log, and raises when the
guest is hung, the host's disk is full, qemu fails, or a trial of KVM ends.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from selfinstall.errors import GuestHung, HostError
from selfinstall.qemu import session as ports
from selfinstall.qemu.accel import NoSignOfLife, Try
from selfinstall.qemu.argv import Drive, Machine, pasteable
from selfinstall.qemu.console import Console
from selfinstall.qemu.messages import printable
from selfinstall.qemu.oops import panic
from selfinstall.qemu.qmp import ASK_PORTS, POLL, QUIT, Qmp
from selfinstall.qemu.session import Exit, Session
from selfinstall.qemu.watchdog import LIMITS, Watchdog

#: Seconds between two looks at the machine's state and disks.
INTERVAL = 2.0
#: Bytes of console that the log takes; a guest must not fill the host's disk with it.
LARGEST_LOG = 64 << 20
#: Bytes of qemu's own complaints that are looked at; the first say most.
_STDERR = 16 << 10
_PREFIX = re.compile(r"^\S*qemu\S*: (?:error: )?")


class Log:
    """The console's log: raw bytes as they came, after a line that starts the machine by hand."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self._stream = stream
        self._room = LARGEST_LOG

    def write(self, data: bytes) -> None:
        """Append *data*; :class:`HostError` when the host's disk does not take it."""
        if self._room <= 0:
            return
        self._room -= len(data)
        if self._room <= 0:
            data += b"\n[the rest of the console was not kept]\n"
        try:
            self._stream.write(data)
        except OSError as error:
            raise HostError(f"cannot write {self.path}: {error.strerror}") from error

    def begin(self, machine: Machine) -> None:
        """Head what follows with the machine's command line."""
        self.write(b"# " + pasteable(machine).encode(errors="surrogateescape") + b"\n")


@contextlib.contextmanager
def open_log(path: Path, head: bytes = b"") -> Iterator[Log]:
    """A new log at *path*, replacing what was there; :class:`HostError` when it cannot be.

    :param head: what it begins with.
    """
    try:
        stream = path.open("wb", buffering=0)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error
    with stream:
        log = Log(path, stream)
        log.write(head)
        yield log


class Supervisor:
    """Watches one session.

    :param stall: seconds of silence after which the guest is hung; None for the accelerator's.
    :param drives: the machine's; messages name the folder that it writes to.
    :ivar alive: the guest has shown the life that its trial asked for.
    """

    def __init__(
        self,
        session: Session,
        attempt: Try,
        log: Log | None,
        *,
        stall: float | None,
        drives: tuple[Drive, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.console = Console()
        self.qmp = Qmp()
        self.alive = False
        self.started = clock()
        self.stderr = b""
        self._attempt = attempt
        self._on_trial = attempt.trial is not None
        self._trial = math.inf if attempt.trial is None else attempt.trial
        self._log = log
        self._limit = LIMITS[attempt.accel] if stall is None else stall
        self._interval = min(INTERVAL, self._limit / 4)
        self._written = next((drive.path for drive in drives if not drive.read_only), None)
        self._clock = clock
        self._polled = self.started
        self._asks_ports = False
        self._watchdog = Watchdog(self._limit, self.started)

    @property
    def exit(self) -> Exit | None:
        """How qemu ended, None while it runs."""
        return self.session.exit

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self.started

    @property
    def last_words(self) -> tuple[str, ...]:
        """The console's last lines."""
        return self.console.last_words()

    @property
    def log_path(self) -> Path | None:
        """Where the console is kept."""
        return self._log.path if self._log else None

    def lives(self) -> None:
        """The guest showed the life that its trial asks for."""
        if not self.alive:
            self.alive = True
            self.end_trial()
            self._attempt.on_life()

    def end_trial(self) -> None:
        """Nothing that comes now shall count against KVM, though nothing speaks for it yet."""
        self._on_trial = False
        self._watchdog.limit = self._limit

    def doubt(self, reason: str) -> None:
        """The guest failed in a way that KVM may be the cause of: that ends a trial."""
        if self._on_trial and math.isfinite(self._trial):
            raise NoSignOfLife(reason, certain=False)

    def step(self, wait: float = INTERVAL) -> tuple[list[str], list[tuple[str, bytes]]]:
        """Wait a moment for news.

        :param wait: seconds at most.
        :returns: new lines of the console; and the raw bytes of the console, the ports and
            what else is watched, as (name, bytes) in the order they came.
        :raises HostError: the log cannot be written.
        """
        lines: list[str] = []
        rest: list[tuple[str, bytes]] = []
        novel = self.console.novel
        for name, data in self.session.read(min(wait, self._interval, self._watchdog.remaining)):
            if name == ports.CONSOLE:
                self._keep(data)
                lines += self.console.feed(data)
                rest.append((name, data))
            elif name == ports.STDERR:
                self._keep(data)
                self.stderr = (self.stderr + data)[:_STDERR]
            elif name == ports.QMP:
                self._machine(data)
            else:
                rest.append((name, data))
        now = self._clock()
        spoke = any(name != ports.CONSOLE and self.session.is_port(name) for name, _ in rest)
        if spoke or self.console.novel != novel:
            self._watchdog.alive(now)
        return lines, rest

    def judge(self) -> None:
        """Raise when there is reason to; to be called after the news of :meth:`step` were used.

        :raises GuestHung: nothing moved for too long.
        :raises NoSignOfLife: the trial failed.
        :raises HostError: the host's disk is full, or qemu failed.
        """
        now = self._clock()
        if self.exit is not None:
            self._ended()
        else:
            self._running(now)

    def stir(self) -> None:
        """The guest waits for the host, which is no silence of its own."""
        self._watchdog.alive(self._clock())

    def quit(self) -> None:
        """Ask qemu to end."""
        self.session.post(ports.QMP, QUIT)

    def ask_ports(self) -> None:
        """Ask which ports lead into the machine; :attr:`qmp` has the answer some steps later.

        qemu takes no order before the handshake, so the question may have to wait for it.
        """
        if self.qmp.ready:
            self.session.post(ports.QMP, ASK_PORTS)
        else:
            self._asks_ports = True

    def complaint(self) -> str:
        """What qemu itself wrote first, warnings and its name aside; empty when it is silent."""
        lines = [_PREFIX.sub("", n) for n in self.stderr.decode(errors="replace").splitlines()]
        sayings = [n for n in lines if n.strip() and not n.startswith("warning:")]
        return (printable(sayings[0]) or "")[:300] if sayings else ""

    def _keep(self, data: bytes) -> None:
        if self._log is not None:
            self._log.write(data)

    def _machine(self, data: bytes) -> None:
        was_ready = self.qmp.ready
        reply = self.qmp.feed(data)
        if reply:
            self.session.post(ports.QMP, reply)
        now = self._clock()
        if self.qmp.operations is not None:
            self._watchdog.disk(now, self.qmp.operations)
        if self.qmp.ready and not was_ready:
            # Only now does the guest run: loading a large initrd was no silence of its own.
            self._watchdog.alive(now)
            if self._asks_ports:
                self.ask_ports()
            if self._on_trial:
                self._watchdog.limit = min(self._trial, self._limit)

    def _running(self, now: float) -> None:
        if self.qmp.status == "internal-error":
            self._internal_error()
        if self.qmp.status == "io-error" or self.qmp.no_space:
            self._write_failed()
        if self._watchdog.look(now):
            self._hung()
        if self.qmp.ready and now - self._polled >= self._interval:
            self._polled = now
            self.session.post(ports.QMP, POLL)

    def _write_failed(self) -> None:
        reason = "no space left" if self.qmp.no_space else "input/output error"
        where = f"into {self._written.parent}" if self._written else "the disk image"
        raise HostError(
            f"qemu cannot write {where}: {reason}",
            "free some space there, or choose another folder (-o, TMPDIR)",
        )

    def _internal_error(self) -> None:
        reason = "the virtual CPU stopped with an internal error"
        if self._on_trial:
            raise NoSignOfLife(reason, certain=True)
        raise HostError(
            f"{reason}: {self.complaint()}",
            "use --accel tcg" if self._attempt.accel == "kvm" else None,
        )

    def _hung(self) -> None:
        seconds = self._watchdog.limit
        self.doubt(f"no sign of life for {seconds:g} s")
        hint = "a limit of more seconds can be set with --stall"
        if self._attempt.accel == "kvm":
            hint += "; --accel tcg does without KVM"
        raise GuestHung(
            f"the guest hung: nothing moved for {seconds:g} s",
            hint,
            last_words=self.last_words,
            log=self.log_path,
        )

    def _ended(self) -> None:
        """qemu is gone: was it qemu's or the host's fault?"""
        assert self.exit is not None
        status = self.exit.status
        if self._on_trial:
            panics = [text for line in self.console.last_words(100) if (text := panic(line))]
            ended = f"its kernel panicked: {panics[0]}" if panics else "the guest ended at once"
            said = self.complaint() if status else ended
            certain = status < 0 or (status != 0 and b"kvm" in self.stderr.lower())
            raise NoSignOfLife(said or f"qemu ended with status {status}", certain=certain)
        if status == 0:
            return
        if status < 0:
            cause = f"qemu was ended by signal {-status}"
            hint = "the host may lack memory; see --memory" if status == -9 else None
        else:
            cause, hint = f"qemu ended with status {status}", None
        if said := self.complaint():
            cause = f"{cause}: {said}"
            if "allocate memory" in said or "guest memory" in said:
                hint = "the host lacks memory for the guest; see --memory"
        raise HostError(cause, hint)
