"""Booting an image until its system is up, which is when it asks who wants to log in."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from selfinstall import request
from selfinstall.errors import BootFailed, GuestHung
from selfinstall.events import Event, OnEvent
from selfinstall.qemu import accel
from selfinstall.qemu.accel import Try
from selfinstall.qemu.argv import AccelName
from selfinstall.qemu.boot import Boot, machine
from selfinstall.qemu.oops import Oops
from selfinstall.qemu.session import CONSOLE, start
from selfinstall.qemu.supervise import Log, Supervisor, open_log

#: Seconds of silence that end a trial of KVM.  OVMF alone is quiet for some.
TRIAL = 15.0
#: Seconds that qemu gets to end when it is asked to.
FAREWELL = 10.0
CANCEL = "cancel"

# A kernel message may already stand behind the prompt.
_LOGIN = re.compile(r"^(?!Last )\S+ login: *(?:$|\[ *\d+\.\d+\])")
#: User space runs: KVM is all right, whatever becomes of the boot.
_USER_SPACE = re.compile(
    r"\[  OK  \]|^Begin: |^Welcome to (?!GRUB)|systemd\[1\]|INIT: version|A start job is running"
    r"|Loading, please wait"
)
#: GRUB's menu counts down, and boots the chosen entry at once when Enter is pressed.
_COUNTDOWN = re.compile(r"will be executed automatically in \d+s")
_ENTER = b"\r"
_PANIC = "its kernel panicked"


def _compiled(*ends: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), reason) for pattern, reason in ends)


#: What ends a boot before there is a kernel.
_LOADER_ENDS = _compiled(
    # SeaBIOS, which shows its screen on the serial console too, puts a blank before the >.
    (r"^grub rescue ?>", "GRUB did not find its files (rescue prompt)"),
    (r"^grub ?>", "GRUB found no configuration (prompt)"),
    (r"^UEFI Interactive Shell|^Shell>", "the firmware found no boot loader (UEFI shell)"),
    (r"No bootable device|Boot failed: not a bootable disk", "the firmware found no boot loader"),
    (r"BdsDxe: No bootable option", "the firmware found no boot loader"),
)
_SYSTEM_ENDS = _compiled(
    (r"VFS: Unable to mount root", "its kernel found no root file system"),
    (r"Kernel panic", _PANIC),
    (
        r"You are in emergency mode|Give root password for maintenance"
        r"|Press Enter for maintenance|Cannot open access to console, the root account",
        "the system stopped in emergency mode",
    ),
    (r"^\(initramfs\)", "the initramfs gave up and opened its shell"),
    (r"^dracut:.*# ?$", "the initramfs gave up and opened its shell"),
)
_DEAD_ENDS = (*_SYSTEM_ENDS, *_LOADER_ENDS)
_UNLOADED = frozenset(reason for _, reason in _LOADER_ENDS)
#: Seconds of silence that end a boot by several emulated CPUs, as one then tries it again.
_PATIENCE = 120.0
#: A program asks where the cursor is (ECMA-48, DSR 6), and its answer: in the last corner of
#: the smallest screen.  systemd 257 asks so for the size, and waits 0.3 s twice for nothing.
_WHERE = b"\x1b[6n"
_HERE = b"\x1b[24;80R"


class Cancelled(Exception):
    """The boot was given up because its outcome does not matter any more."""


class _NotLoaded(BootFailed):
    """No kernel was started, so CPUs do not matter."""


class _Cursor:
    """Answers for the terminal that is not there."""

    def __init__(self) -> None:
        self._rest = b""

    def answer(self, data: bytes) -> bytes:
        """What to send for *data*, which may end anywhere."""
        *asked, rest = (self._rest + data).split(_WHERE)
        self._rest = rest[-len(_WHERE) + 1 :]
        return _HERE * len(asked)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BootReport:
    """A boot that reached the login prompt.

    :param seconds: from qemu's start to the prompt.
    :param accel: what ran the guest.
    :param console: its last lines.
    """

    seconds: float
    accel: AccelName
    console: tuple[str, ...]


def is_up(line: str) -> bool:
    """Whether *line* of a console is a login prompt."""
    return _LOGIN.search(line) is not None


def shows_life(line: str) -> bool:
    """Whether *line* of a console shows that user space runs."""
    return _USER_SPACE.search(line) is not None or is_up(line)


def dead_end(line: str) -> str | None:
    """Why a boot whose console shows *line* will not get further, None when it may."""
    return next((reason for pattern, reason in _DEAD_ENDS if pattern.search(line)), None)


def counts_down(line: str) -> bool:
    """Whether *line* of a console is of a menu that waits for Enter, though not for ever."""
    return _COUNTDOWN.search(line) is not None


def boot_until_up(
    boot: Boot,
    *,
    wanted: request.Accel,
    stall: float | None,
    log: Path,
    cache: Path,
    step: str,
    on_event: OnEvent,
    cancel: int | None = None,
    fallback: bool = False,
) -> BootReport:
    """Boot until the login prompt, then end the machine.

    :param wanted: the accelerator asked for.
    :param stall: seconds of silence after which the boot has failed; None for the accelerator's.
    :param log: the console's log, written anew.
    :param cache: the folder where it is remembered whether KVM works here.
    :param step: the events' step (``verify-bios``); begins and ends here.
    :param cancel: a descriptor that becomes readable when the boot shall be given up.
    :param fallback: what does not come up with several emulated CPUs is tried with one, whose
        outcome counts: a kernel that changes its own code meanwhile may die by qemu's fault.
    :raises Cancelled: it did.
    :raises BootFailed: the system did not come up.
    :raises InputError: qemu cannot use the image.
    :raises HostError: qemu, KVM, firmware, memory or disk space of the host.
    """
    on_event(Event("begin", step))
    with open_log(log) as kept:

        def work(attempt: Try) -> BootReport:
            if not fallback or attempt.accel != "tcg" or boot.smp == 1:
                return _attempt(boot, attempt, stall, kept, cancel)
            patience = _PATIENCE if stall is None else min(stall, _PATIENCE)
            try:
                return _attempt(boot, attempt, patience, kept, cancel)
            except _NotLoaded:
                raise
            except BootFailed as failure:
                message = f"emulated with {boot.smp} CPUs, {failure.message}; once more with one"
                on_event(Event("warning", step, message=message))
            return _attempt(dataclasses.replace(boot, smp=1), attempt, stall, kept, cancel)

        report = accel.run(
            wanted,
            arch=boot.arch,
            known=accel.memory(cache, boot.arch, boot.emulator),
            kind=boot.firmware.name,
            step=step,
            on_event=on_event,
            trial=TRIAL,
            work=work,
        )
    on_event(Event("end", step, seconds=report.seconds))
    return report


def _attempt(
    boot: Boot, attempt: Try, stall: float | None, log: Log, cancel: int | None
) -> BootReport:
    with machine(boot, attempt.accel) as made:
        # The firmware's own "No bootable device" is to be read.
        made = dataclasses.replace(made, serial_screen=True, frugal=True)
        log.begin(made)
        with start(made) as session:
            if cancel is not None:
                session.watch(cancel, CANCEL)
            supervisor = Supervisor(session, attempt, log, stall=stall, drives=made.drives)
            _watch(supervisor, boot.firmware.title)
            report = BootReport(
                seconds=supervisor.seconds, accel=attempt.accel, console=supervisor.last_words
            )
            _leave(supervisor)
    return report


def _watch(supervisor: Supervisor, firmware: str) -> None:
    """Return when the system is up.

    A loader's menu is not waited for: Enter, once, and only when its countdown is seen, as
    elsewhere a key may stop a boot (U-Boot).
    """
    oops = Oops()
    cursor = _Cursor()
    entered = False
    while True:
        lines, said = supervisor.step()
        if any(name == CANCEL for name, _ in said):
            raise Cancelled
        if answer := b"".join(cursor.answer(data) for name, data in said if name == CONSOLE):
            supervisor.session.post(CONSOLE, answer)
        for line in lines:
            oops.hear(line)
        for line in (*lines, supervisor.console.partial):
            if shows_life(line):
                supervisor.lives()
            if not entered and counts_down(line):
                entered = True
                supervisor.session.post(CONSOLE, _ENTER)
            if is_up(line):
                return
            if (reason := dead_end(line)) is not None:
                if reason == _PANIC:
                    supervisor.doubt(line.strip())
                    reason = f"{reason}: {oops}" if oops.panic is not None else reason
                kind = _NotLoaded if reason in _UNLOADED else BootFailed
                raise _failure(supervisor, firmware, reason, kind=kind)
        try:
            supervisor.judge()
        except GuestHung as hung:
            reason = f"{hung.message} before a login prompt came"
            raise _failure(supervisor, firmware, reason, hung.hint) from None
        if supervisor.exit is not None:
            ways = {"guest-reset": "it restarted", "guest-shutdown": "it powered off"}
            reason = ways.get(supervisor.qmp.shutdown or "", "it ended")
            raise _failure(supervisor, firmware, f"{reason} before a login prompt came")


def _failure(
    supervisor: Supervisor,
    firmware: str,
    reason: str,
    hint: str | None = None,
    kind: type[BootFailed] = BootFailed,
) -> BootFailed:
    return kind(
        f"the image does not boot under {firmware}: {reason}",
        hint,
        last_words=supervisor.last_words,
        log=supervisor.log_path,
    )


def _leave(supervisor: Supervisor) -> None:
    """Ask qemu to end; what does not listen is killed by the session."""
    supervisor.quit()
    end = supervisor.seconds + FAREWELL
    while supervisor.exit is None and (left := end - supervisor.seconds) > 0:
        supervisor.step(left)
