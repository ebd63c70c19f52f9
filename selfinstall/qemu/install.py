"""Running the installer guest to its verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from selfinstall import request
from selfinstall.errors import GuestFailed, GuestHung
from selfinstall.events import Event, OnEvent
from selfinstall.qemu import accel
from selfinstall.qemu.accel import Try, nothing
from selfinstall.qemu.answers import ANSWERS, Answers, Job
from selfinstall.qemu.argv import EVENTS, MANIFEST, AccelName, Channel, Machine
from selfinstall.qemu.messages import Decoder, Question, TooManyMessages
from selfinstall.qemu.oops import Oops
from selfinstall.qemu.session import start
from selfinstall.qemu.supervise import Log, Supervisor, open_log

CHANNELS = (Channel(name=EVENTS), Channel(name=MANIFEST))
LARGEST_MANIFEST = 16 << 20
_NO_JOBS: Mapping[str, Job] = MappingProxyType({})
#: Seconds that a guest gets to end by itself after it said that it failed; its console's
#: last lines come in that time.
FAREWELL = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GuestReport:
    """An installation that went well.

    :param hooks: (name, seconds by the guest's clock) in the order they ended.
    :param cpu_seconds: of qemu.
    :param max_rss: of qemu, bytes.
    :param accel: what ran the guest.
    :param manifest: what came over the manifest port.
    :param qemu_version: of the emulator.
    """

    hooks: tuple[tuple[str, float], ...]
    cpu_seconds: float
    max_rss: int
    accel: AccelName
    manifest: bytes
    qemu_version: str


def run_installer(
    machine_for: Callable[[AccelName], Machine],
    *,
    wanted: request.Accel,
    stall: float | None,
    log: Path,
    head: bytes = b"",
    hooks: tuple[str, ...],
    cache: Path,
    on_event: OnEvent,
    fresh: Callable[[], None] = nothing,
    jobs: Mapping[str, Job] = _NO_JOBS,
) -> GuestReport:
    """Run the installer until it powered off with the verdict that all went well.

    The guest's begin, progress, end, note and warning messages are handed to
    *on_event* with the hook as step; its verdict is not, being the outcome of this call.
    What a job raises, or *on_event*, ends the guest and is raised.

    :param machine_for: the machine under an accelerator; its console, QMP and channels are
        made here.  Called again when KVM failed, before the guest did anything.
    :param wanted: the accelerator asked for.
    :param stall: seconds of silence after which the guest is hung; None for the accelerator's.
    :param log: the console's log, written anew.
    :param head: what the log begins with.
    :param hooks: what must have ended for a good verdict to be believed.
    :param cache: the folder where it is remembered whether KVM works here.
    :param fresh: called before each attempt: makes the disks what the guest shall find.
    :param jobs: what the host does while the guest runs, by the hook that asks for its end;
        anew for each attempt.
    :raises GuestFailed: a hook failed, or the guest ended without a verdict.
    :raises GuestHung: nothing moved for too long.
    :raises HostError: qemu, KVM, memory or disk space of the host.
    """
    first = machine_for("tcg")
    with open_log(log, head) as kept:
        return accel.run(
            wanted,
            arch=first.arch,
            known=accel.memory(cache, first.arch, first.emulator),
            kind="direct",
            step="installer",
            on_event=on_event,
            work=lambda attempt: _attempt(
                machine_for(attempt.accel), attempt, stall, kept, hooks, on_event, fresh, jobs
            ),
        )


def _attempt(
    machine: Machine,
    attempt: Try,
    stall: float | None,
    log: Log,
    hooks: tuple[str, ...],
    on_event: OnEvent,
    fresh: Callable[[], None],
    jobs: Mapping[str, Job],
) -> GuestReport:
    fresh()
    machine = dataclasses.replace(machine, channels=CHANNELS)
    log.begin(machine)
    with start(machine) as session, Answers(session, jobs, on_event) as answers:
        supervisor = Supervisor(session, attempt, log, stall=stall, drives=machine.drives)
        guest = _Guest(supervisor, hooks, on_event, answers)
        guest.run()
    assert session.exit is not None
    return GuestReport(
        hooks=tuple(guest.ended.items()),
        cpu_seconds=session.exit.cpu_seconds,
        max_rss=session.exit.max_rss,
        accel=attempt.accel,
        manifest=bytes(guest.manifest),
        qemu_version=machine.emulator.version,
    )


class _Guest:
    """The guest's story as it is told."""

    def __init__(
        self,
        supervisor: Supervisor,
        hooks: tuple[str, ...],
        on_event: OnEvent,
        answers: Answers,
    ) -> None:
        self.ended: dict[str, float] = {}
        self.manifest = bytearray()
        self._supervisor = supervisor
        self._hooks = hooks
        self._on_event = on_event
        self._answers = answers
        self._decoder = Decoder()
        self._hook: str | None = None
        self._verdict: Event | None = None
        self._verdict_at = 0.0
        self._oops = Oops()
        self._starved = False

    def run(self) -> None:
        """Until qemu is gone; returns only when all went well."""
        supervisor = self._supervisor
        while supervisor.exit is None:
            lines, said = supervisor.step()
            for line in lines:
                self._oops.hear(line)
                self._starved |= "Out of memory: Killed" in line
            for name, data in said:
                self._hear(name, data)
            if self._answers.awaited:
                supervisor.stir()
            if self._failed_for_good():
                break
            self._judge()
        self._conclude()

    def _hear(self, name: str, data: bytes) -> None:
        if name == MANIFEST:
            self.manifest += data
            if len(self.manifest) > LARGEST_MANIFEST:
                raise self._failure(f"its manifest is larger than {LARGEST_MANIFEST >> 20} MiB")
        elif name == ANSWERS:
            self._answers.hear()
        elif name == EVENTS:
            try:
                for event in self._decoder.feed(data):
                    self._supervisor.lives()
                    if isinstance(event, Question):
                        self._answers.ask(event.hook)
                    else:
                        self._take(event)
            except TooManyMessages as error:
                raise self._failure(str(error)) from None

    def _take(self, event: Event) -> None:
        if event.event == "verdict":
            # The first one stands.
            if self._verdict is None:
                self._verdict = event
                self._verdict_at = self._supervisor.seconds
            return
        if event.event == "begin":
            self._hook = event.step
        elif event.event == "end":
            self._hook = None
            self.ended[event.step] = event.seconds or 0.0
        self._on_event(event)

    def _failed_for_good(self) -> bool:
        verdict = self._verdict
        if verdict is None or verdict.ok:
            return False
        return self._supervisor.seconds - self._verdict_at > FAREWELL

    def _judge(self) -> None:
        if self._supervisor.exit is not None and self._verdict is not None and not self._verdict.ok:
            return  # whatever became of qemu then, the guest's own word says more
        try:
            self._supervisor.judge()
        except GuestHung as hung:
            raise self._place(hung) from None

    def _place(self, hung: GuestHung) -> GuestHung:
        """*hung* with the hook in which it happened."""
        where = f" in {self._hook}" if self._hook else ""
        if self._verdict is not None:
            where = " after its verdict, when it should have powered off"
        head, _, tail = hung.message.partition(":")
        return GuestHung(
            f"{head}{where}:{tail}",
            hung.hint,
            hook=self._hook,
            last_words=hung.last_words,
            log=hung.log,
        )

    def _conclude(self) -> None:
        verdict = self._verdict
        if verdict is None:
            raise self._without_verdict()
        if not verdict.ok:
            hook = verdict.step if verdict.step in self._hooks else self._hook
            said = verdict.message or "no reason given"
            raise self._failure(f"{verdict.step} failed: {said}", hook)
        if self._oops.panic is not None:
            raise self._failure(f"its kernel panicked after its verdict: {self._oops}")
        missing = [hook for hook in self._hooks if hook not in self.ended]
        if missing:
            raise self._failure(f"it claims success, but {missing[0]} did not end", missing[0])
        if (owed := self._answers.owed) is not None:
            raise self._failure(f"it claims success, but {owed} did not wait for the host", owed)

    def _without_verdict(self) -> GuestFailed:
        where = f" in {self._hook}" if self._hook else ""
        if self._oops.panic is not None:
            return self._failure(f"its kernel panicked{where}: {self._oops}")
        ways = {"guest-reset": "it restarted", "guest-shutdown": "it powered off"}
        ended = ways.get(self._supervisor.qmp.shutdown or "", "it ended")
        return self._failure(f"{ended}{where} without a verdict")

    def _failure(self, message: str, hook: str | None = None) -> GuestFailed:
        hint = None
        if self._starved:
            message += " (it ran out of memory)"
            hint = "give it more with --memory"
        return GuestFailed(
            f"the guest failed: {message}",
            hint,
            hook=hook or self._hook,
            last_words=self._supervisor.last_words,
            log=self._supervisor.log_path,
        )
