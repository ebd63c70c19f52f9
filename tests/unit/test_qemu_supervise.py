"""What counts as life, with a clock of our own and no process at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from selfinstall.errors import GuestHung, HostError
from selfinstall.qemu.accel import NoSignOfLife, Try, nothing
from selfinstall.qemu.argv import EVENTS
from selfinstall.qemu.oops import Oops, panic
from selfinstall.qemu.session import CONSOLE, QMP, STDERR, Exit
from selfinstall.qemu.supervise import Supervisor
from selfinstall.qemu.terminal import KEYBOARD


class Session:
    """Says something at every second."""

    def __init__(self, script: Callable[[int], list[tuple[str, bytes]]]) -> None:
        self.exit: Exit | None = None
        self.now = 0.0
        self.posted = b""
        self._script = script

    def read(self, timeout: float) -> list[tuple[str, bytes]]:
        self.now += 1
        return self._script(int(self.now))

    def post(self, name: str, data: bytes) -> None:
        self.posted += data

    def is_port(self, name: str) -> bool:
        return name != KEYBOARD


def answer(identity: str, value: Any) -> tuple[str, bytes]:
    return QMP, json.dumps({"return": value, "id": identity}).encode() + b"\n"


def watch(
    script: Callable[[int], list[tuple[str, bytes]]],
    *,
    until: int = 1000,
    attempt: Try | None = None,
    stall: float | None = 50,
) -> Supervisor:
    session = Session(script)
    supervisor = Supervisor(
        session,  # type: ignore[arg-type]
        attempt or Try("tcg", None, nothing),
        None,
        stall=stall,
        clock=lambda: session.now,
    )
    while session.now < until:
        supervisor.step()
        supervisor.judge()
    return supervisor


SIGNS: dict[str, Callable[[int], list[tuple[str, bytes]]]] = {
    "events": lambda n: [(EVENTS, b"{}\n")],
    "console": lambda n: [(CONSOLE, b"line %s\n" % (b"x" * (n % 97)))],
    "disk": lambda n: [answer("disks", [{"stats": {"wr_operations": n}}])],
}


@pytest.mark.parametrize("sign", SIGNS)
def test_life(sign: str) -> None:
    assert watch(SIGNS[sign]).exit is None


NO_SIGNS: dict[str, Callable[[int], list[tuple[str, bytes]]]] = {
    "nothing": lambda n: [],
    "repetition": lambda n: [(CONSOLE, b"[%d.1] still waiting\n" % n)],
    "disk": lambda n: [answer("disks", [{"stats": {"wr_operations": 5}}])],
    "state": lambda n: [answer("status", {"status": "running"})],
    "qemu": lambda n: [(STDERR, b"warning: odd %d\n" % n)],
    "keys": lambda n: [(KEYBOARD, b"x")],
}


@pytest.mark.parametrize("sign", NO_SIGNS)
def test_no_life(sign: str) -> None:
    with pytest.raises(GuestHung, match="50 s"):
        watch(NO_SIGNS[sign])


def test_limits_fit_the_accelerator() -> None:
    with pytest.raises(GuestHung, match="600 s"):
        watch(lambda n: [], stall=None)
    with pytest.raises(GuestHung, match="120 s") as caught:
        watch(lambda n: [], stall=None, attempt=Try("kvm", None, nothing))
    assert "--accel tcg" in (caught.value.hint or "")


def test_the_machine_is_asked_how_it_is() -> None:
    supervisor = watch(lambda n: [answer("capabilities", {})] if n == 3 else [], until=20)
    assert 4 <= supervisor.session.posted.count(b"query-blockstats") <= 9  # type: ignore[attr-defined]


def test_trial_begins_when_the_machine_runs() -> None:
    def script(n: int) -> list[tuple[str, bytes]]:
        return [answer("capabilities", {})] if n == 30 else []

    attempt = Try("kvm", 12, nothing)
    with pytest.raises(NoSignOfLife, match="12 s") as caught:
        watch(script, attempt=attempt, stall=None)
    assert not caught.value.certain
    watch(script, attempt=attempt, stall=None, until=41)


def test_a_trial_that_never_begins_ends_too() -> None:
    with pytest.raises(NoSignOfLife):
        watch(lambda n: [], attempt=Try("kvm", 12, nothing), stall=None)


def test_life_is_told_once_and_ends_the_trial() -> None:
    told: list[int] = []
    attempt = Try("kvm", 12, lambda: told.append(1))
    supervisor = watch(lambda n: [], attempt=attempt, until=1)
    supervisor.lives()
    supervisor.lives()
    assert told == [1]
    supervisor.doubt("too late")


def test_a_trial_without_an_end_is_not_decided_by_silence() -> None:
    with pytest.raises(GuestHung):
        watch(lambda n: [], attempt=Try("kvm", math.inf, nothing))


def test_a_stopped_cpu_is_certain_only_on_trial() -> None:
    def script(n: int) -> list[tuple[str, bytes]]:
        return [
            (STDERR, b"KVM internal error. Suberror: 1\n"),
            answer("status", {"status": "internal-error"}),
        ]

    with pytest.raises(NoSignOfLife) as caught:
        watch(script, attempt=Try("kvm", 12, nothing))
    assert caught.value.certain
    with pytest.raises(HostError, match="Suberror: 1"):
        watch(script, attempt=Try("kvm", None, nothing))


def test_panic_line() -> None:
    assert panic("[ 1.0] Kernel panic - not syncing: x y ") == "x y"
    assert panic("---[ end Kernel panic - not syncing: x ]---") == "x ]---"
    assert panic("panic=-1") is None


def test_ports_are_asked_for_once_qemu_takes_orders() -> None:
    session = Session(lambda n: [answer("capabilities", {})] if n == 2 else [])
    supervisor = Supervisor(
        session,  # type: ignore[arg-type]
        Try("tcg", None, nothing),
        None,
        stall=50,
        clock=lambda: session.now,
    )
    supervisor.ask_ports()
    supervisor.step()
    assert b"usernet" not in session.posted
    supervisor.step()
    supervisor.step()
    assert session.posted.count(b"info usernet") == 1


def test_a_panic_tells_how_it_began() -> None:
    oops = Oops()
    for line in (
        "[    0.9] Comm: one, before anything",
        "[    1.1] Oops: general protection fault, probably for non-canonical address 0x1",
        "[    1.1] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.12",
        "[    1.1] RIP: 0010:text_poke_memcpy+0x1/0x2",
        "[    1.2] BUG: another",
        "[    1.2] Kernel panic - not syncing: Fatal exception in interrupt",
        "[    1.3] Kernel panic - not syncing: another",
    ):
        oops.hear(line)
    assert str(oops) == (
        "Fatal exception in interrupt (it began with: Oops: general protection fault, probably "
        "for non-canonical address 0x1, RIP: 0010:text_poke_memcpy+0x1/0x2, in swapper/0)"
    )


@pytest.mark.parametrize(
    "line",
    [
        "Internal error: Oops: 96000004 [#1] SMP",
        "Unable to handle kernel NULL pointer dereference at virtual address 0",
        "BUG: kernel NULL pointer dereference, address: 0",
        "kernel BUG at mm/slub.c:1!",
    ],
)
def test_how_architectures_begin(line: str) -> None:
    oops = Oops()
    oops.hear(f"[    1.0][    T1] {line}")
    assert oops.panic is None
    oops.hear("Kernel panic - not syncing: x")
    assert str(oops) == f"x (it began with: {line})"
