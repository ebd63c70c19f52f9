"""An image's console on the user's terminal.

The bytes are relayed here rather than by qemu's own stdio device: qemu can
then be killed at any moment without leaving the terminal raw, a trial of KVM
can see whether the guest talks, and keys do not reach qemu as signals.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import select
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

from selfinstall import request
from selfinstall.events import Event, OnEvent
from selfinstall.qemu import accel
from selfinstall.qemu.accel import Try
from selfinstall.qemu.argv import Network
from selfinstall.qemu.boot import Boot, machine
from selfinstall.qemu.login import TRIAL, shows_life
from selfinstall.qemu.session import CONSOLE, Session, start
from selfinstall.qemu.supervise import Supervisor
from selfinstall.qemu.usernet import LOOPBACK, listening

#: To be told to the user before the terminal is handed over.
HOW_TO_QUIT = "Ctrl-a x ends the machine, Ctrl-a Ctrl-a sends Ctrl-a"

ESCAPE = 0x01
KEYBOARD = "keyboard"
#: Bytes typed or piped that may wait until the guest takes them.
_LARGEST_BACKLOG = 64 << 10
#: Lines of console after which KVM is not doubted any more for silence: a loader's menu
#: may wait for ever.
TALKATIVE = 6


class Keys:
    """Splits what is typed into bytes for the guest and orders for us."""

    def __init__(self) -> None:
        self.quit = False
        self._escaped = False

    def feed(self, data: bytes) -> bytes:
        """The bytes of *data* that are for the guest."""
        out = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if byte in b"xX":
                    self.quit = True
                    break
                if byte == ESCAPE:
                    out.append(ESCAPE)
                # Any other key after the escape is none of the guest's.
            elif byte == ESCAPE:
                self._escaped = True
            else:
                out.append(byte)
        return bytes(out)


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """The terminal *fd* without echo, line editing and signals; nothing when it is no terminal."""
    try:
        before = termios.tcgetattr(fd)
    except termios.error:
        yield
        return
    try:
        # At once: to wait until all was shown can take for ever.
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


def boot_interactive(
    boot: Boot,
    *,
    wanted: request.Accel,
    cache: Path,
    on_event: OnEvent,
    stdin: int = 0,
    stdout: int = 1,
) -> None:
    """Boot with the console on *stdin* and *stdout* until the machine ends or the user ends it.

    The end of a *stdin* that is no terminal does not end the machine.

    :param cache: the folder where it is remembered whether KVM works here.
    :raises HostError: qemu, KVM, firmware, memory or disk space of the host.
    :raises InputError: qemu cannot use the image.
    """
    accel.run(
        wanted,
        arch=boot.arch,
        known=accel.memory(cache, boot.arch, boot.emulator),
        kind=boot.firmware.name,
        step="boot",
        on_event=on_event,
        # A machine that writes to the image is not killed on a suspicion.
        trial=math.inf if boot.write else TRIAL,
        work=lambda attempt: _attempt(boot, attempt, on_event, stdin, stdout),
    )


def _attempt(boot: Boot, attempt: Try, on_event: OnEvent, stdin: int, stdout: int) -> None:
    with machine(boot, attempt.accel) as made:
        made = dataclasses.replace(made, reboots=True)
        with start(made) as session:
            # Nothing is hung that a person looks at.
            supervisor = Supervisor(session, attempt, None, stall=math.inf, drives=made.drives)
            early = _tell_ports(supervisor, made.network, on_event)
            with raw(stdin):
                if _write(stdout, early):
                    _relay(session, supervisor, stdin, stdout)


def _tell_ports(supervisor: Supervisor, network: Network | None, on_event: OnEvent) -> bytes:
    """Tell which ports qemu chose, while the terminal is still ours.

    :returns: what the console said meanwhile.
    """
    if network is None or all(forward.host for forward in network.forwards):
        return b""
    supervisor.ask_ports()
    said = b""
    while supervisor.qmp.usernet is None and supervisor.exit is None:
        said += b"".join(data for name, data in supervisor.step()[1] if name == CONSOLE)
        supervisor.judge()
    for forward in listening(supervisor.qmp.usernet or ""):
        message = f"port {forward.host} of {LOOPBACK} leads to port {forward.guest} of the machine"
        on_event(Event("note", "boot", message=message))
    return said


class _Keyboard:
    """Standard input, read no faster than the guest takes it."""

    def __init__(self, session: Session, fd: int) -> None:
        self._session = session
        self._fd = fd
        self._paused = False
        session.watch(fd, KEYBOARD)

    def throttle(self) -> None:
        """Stop or go on reading."""
        full = self._session.backlog(CONSOLE) > _LARGEST_BACKLOG
        if full and self._session.watches(KEYBOARD):
            self._session.forget(KEYBOARD)
            self._paused = True
        elif self._paused and not full:
            self._session.watch(self._fd, KEYBOARD)
            self._paused = False


def _relay(session: Session, supervisor: Supervisor, stdin: int, stdout: int) -> None:
    keys = Keys()
    keyboard = _Keyboard(session, stdin)
    while not keys.quit:
        lines, said = supervisor.step()
        for name, data in said:
            if name == CONSOLE:
                if not _write(stdout, data):
                    return
            elif name == KEYBOARD:
                # Who types sees something.
                supervisor.end_trial()
                session.post(CONSOLE, keys.feed(data))
        _learn(supervisor, lines)
        if supervisor.exit is not None and supervisor.exit.status == 0:
            return
        supervisor.judge()
        keyboard.throttle()


def _learn(supervisor: Supervisor, lines: list[str]) -> None:
    """What the console shows about KVM."""
    if any(shows_life(line) for line in (*lines, supervisor.console.partial)):
        supervisor.lives()
    elif supervisor.console.novel >= TALKATIVE:
        supervisor.end_trial()


def _write(fd: int, data: bytes) -> bool:
    """Write all of *data*; False when nobody reads it any more."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select((), (fd,), ())
        except BrokenPipeError:
            return False
    return True
