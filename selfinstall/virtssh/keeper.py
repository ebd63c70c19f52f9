"""The process that holds a machine between the commands of the setup script.

It ends when it is told to, and when the machine fails; qemu, overlay and
firmware variables go with it.  The state folder and the console's log in it
are the commands' to remove.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import socket
import time
from pathlib import Path

from selfinstall import request
from selfinstall.errors import BootFailed, GuestHung, HostError, SelfinstallError
from selfinstall.events import ignore
from selfinstall.host import workspace
from selfinstall.qemu import accel, usernet
from selfinstall.qemu.accel import Try
from selfinstall.qemu.argv import Forward, Machine, Network
from selfinstall.qemu.boot import Boot, machine
from selfinstall.qemu.login import TRIAL, dead_end, is_up, shows_life
from selfinstall.qemu.session import Session, start
from selfinstall.qemu.supervise import Log, Supervisor, open_log
from selfinstall.virtssh import control
from selfinstall.virtssh.control import Order
from selfinstall.virtssh.probe import Probe

#: The port of ssh in the machine.
SSH = 22
CONTROL = "control"
#: Seconds at most between two looks at the ssh port.
STEP = 1.0


class Ending(enum.Enum):
    """Why a machine was ended, or ended itself."""

    QUIT = enum.auto()
    REVERT = enum.auto()
    OFF = enum.auto()
    AGAIN = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What the keeper is started for.

    :param stall: seconds of silence that end the wait for ssh; None for the accelerator's.
    :param cache: the folder where it is remembered whether KVM works here, None for nowhere.
    """

    boot: Boot
    wanted: request.Accel
    stall: float | None
    cache: Path | None


class Keeper:
    """Runs the machine and serves orders."""

    def __init__(self, job: Job, listener: socket.socket, log: Log) -> None:
        self.waiting: list[Order] = []
        self._job = job
        self._listener = listener
        self._log = log
        self._port = 0

    def work(self, attempt: Try) -> None:
        """Run the machine until somebody says that it shall end."""
        while True:
            with machine(self._job.boot, attempt.accel) as made:
                ending = self._on_one_disk(made, attempt)
            if ending is Ending.QUIT:
                return
            # It has shown that it lives; and it comes back at another port, so that no
            # connection to the old one is taken for one to the new.
            attempt = Try(attempt.accel, None, accel.nothing)
            self._port = 0

    def _on_one_disk(self, made: Machine, attempt: Try) -> Ending:
        self._log.begin(made)
        while True:
            ending = self._run(made, attempt)
            if ending is Ending.OFF:
                ending = self._while_off()
            if ending is not Ending.AGAIN:
                return ending
            attempt = Try(attempt.accel, None, accel.nothing)

    def _run(self, made: Machine, attempt: Try) -> Ending:
        network = Network(forwards=(Forward(self._port, SSH),))
        with start(dataclasses.replace(made, reboots=True, network=network)) as session:
            session.watch(self._listener.fileno(), CONTROL, lambda: b"order")
            supervisor = Supervisor(
                session, attempt, self._log, stall=self._job.stall, drives=made.drives
            )
            run = Run(session, supervisor, self.waiting)
            try:
                return run.until_told(self._listener)
            finally:
                self._port = run.port or self._port
                self.waiting += run.until_restart

    def _while_off(self) -> Ending:
        """The machine powered off, or its emulator does not know how to restart it."""
        while True:
            order = control.accept(self._listener)
            if order is None:
                continue
            if order.command == "quit":
                self.waiting.append(order)
                return Ending.QUIT
            if order.command == "wait":
                order.answer(HostError("the machine has powered off"))
                continue
            self.waiting.append(order)
            return Ending.REVERT if order.command == "revert" else Ending.AGAIN


class Run:
    """One run of qemu, until an order ends it.

    :ivar port: of the host's loopback, which leads to ssh; 0 while unknown.
    :ivar until_restart: orders whose machine has not restarted yet.
    """

    def __init__(self, session: Session, supervisor: Supervisor, waiting: list[Order]) -> None:
        self.port = 0
        self._session = session
        self._supervisor = supervisor
        self._waiting = waiting
        self.until_restart: list[Order] = []
        self._probe: Probe | None = None
        self._up = False
        self._prompt = False
        self._restarts = 0
        self._told_restarts = 0
        supervisor.ask_ports()

    def until_told(self, listener: socket.socket) -> Ending:
        """Serve until an order ends the run, or the machine ends.

        :raises BootFailed: ssh does not come up.
        :raises GuestHung: the machine does not restart, or hangs before its prompt.
        """
        while True:
            lines, said = self._supervisor.step(STEP)
            self._read(lines)
            self._look_for_restart()
            self._look_for_ssh(said)
            if any(name == CONTROL for name, _ in said):
                order = control.accept(listener)
                if order is not None and (ending := self._obey(order)) is not None:
                    return ending
            if any(order.command == "wait" and order.gone for order in self._waiting):
                # Who wanted the machine ended before it was there.
                return Ending.QUIT
            self._judge()
            if self._supervisor.exit is not None:
                return self._ended()

    def _obey(self, order: Order) -> Ending | None:
        if order.command in ("quit", "revert"):
            self._waiting.append(order)
            return Ending.QUIT if order.command == "quit" else Ending.REVERT
        if order.command == "wait-reboot" and self._restarts == self._told_restarts:
            self.until_restart.append(order)
        elif self._up:
            self._told_restarts = self._restarts
            order.answer(self.port)
        else:
            self._waiting.append(order)
        return None

    def _read(self, lines: list[str]) -> None:
        for line in (*lines, self._supervisor.console.partial):
            if shows_life(line):
                self._supervisor.lives()
            if self._up:
                continue
            self._prompt = self._prompt or is_up(line)
            if (reason := dead_end(line)) is not None:
                self._supervisor.doubt(line.strip())
                raise self._failure(f"the image does not boot: {reason}")

    def _look_for_restart(self) -> None:
        if self._supervisor.qmp.resets == self._restarts:
            return
        self._restarts = self._supervisor.qmp.resets
        self._up = self._prompt = False
        self._waiting += self.until_restart
        self.until_restart.clear()

    def _look_for_ssh(self, said: list[tuple[str, bytes]]) -> None:
        if self._up:
            return
        if self._probe is None:
            ports = usernet.listening(self._supervisor.qmp.usernet or "")
            if not ports:
                return
            self.port = ports[0].host
            self._probe = Probe(self._session, self.port)
        if self._probe.answered(said, time.monotonic()):
            self._supervisor.lives()
            self._up = True
            if self._waiting:
                self._told_restarts = self._restarts
            for order in self._waiting:
                order.answer(self.port)
            self._waiting.clear()

    def _judge(self) -> None:
        if self._up and not self.until_restart:
            # Who only runs tests may be silent.
            self._supervisor.stir()
        try:
            self._supervisor.judge()
        except GuestHung as hung:
            raise self._silence(hung) from None

    def _silence(self, hung: GuestHung) -> SelfinstallError:
        if self.until_restart:
            return self._failure(f"the machine did not restart: {hung.message}", hung.hint)
        if not self._prompt:
            return hung
        if self._probe is not None and self._probe.refused:
            return self._failure(
                f"the system is up and nothing in it listens at port {SSH}",
                "an image built with --ssh-key has an ssh server",
            )
        return self._failure(
            f"the system is up and does not answer at port {SSH}; has it no network?",
            "images get their address by DHCP on the first network card",
        )

    def _ended(self) -> Ending:
        """The machine ended itself, which some do that were told to restart."""
        if self.until_restart:
            return Ending.AGAIN
        if not self._up:
            raise self._failure("the machine ended before its ssh server answered")
        return Ending.OFF

    def _failure(self, message: str, hint: str | None = None) -> BootFailed:
        return BootFailed(
            message,
            hint,
            last_words=self._supervisor.last_words,
            log=self._supervisor.log_path,
        )


def keep(job: Job, listener: socket.socket, log_path: Path) -> None:
    """Hold the machine of *job* until an order on *listener* ends it, or it fails."""
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(workspace())
        log = stack.enter_context(open_log(log_path))
        job = dataclasses.replace(job, boot=dataclasses.replace(job.boot, scratch=work))
        keeper = Keeper(job, listener, log)
        try:
            boot = job.boot
            accel.run(
                job.wanted,
                arch=boot.arch,
                known=accel.memory(job.cache or work, boot.arch, boot.emulator),
                kind=boot.firmware.name,
                step="boot",
                on_event=ignore,
                trial=TRIAL,
                work=keeper.work,
            )
        except SelfinstallError as error:
            for order in keeper.waiting:
                order.answer(error)
            raise
