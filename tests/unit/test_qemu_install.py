"""The installer's guest, played by a small program."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest
from qemu_helpers import FakeQemu

from selfinstall.errors import GuestFailed, GuestHung, HostError, SelfinstallError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.qemu import accel, install, messages, supervise
from selfinstall.qemu.answers import Job, Unwanted
from selfinstall.qemu.install import GuestReport, run_installer

GOOD = """
event("begin", "10-a"); event("end", "10-a", seconds=0.5)
event("begin", "20-b"); event("progress", "20-b", done=1, total=2, unit="bytes")
event("end", "20-b", seconds=1)
manifest(b"a\\t1\\n")
"""
VERDICT = 'event("verdict", ok=True)\n'
HOOKS = ("10-a", "20-b")


def play(tmp_path: Path, body: str, stall: float | None = None) -> tuple[GuestReport, list[Event]]:
    """Run the guest under emulation; nothing may be left of it, however it went."""
    fake = FakeQemu(tmp_path, body)
    events: list[Event] = []
    try:
        report = run_installer(
            lambda name: fake.machine(name),
            wanted="tcg",
            stall=stall,
            log=tmp_path / "log",
            hooks=HOOKS,
            cache=tmp_path / "cache",
            on_event=events.append,
        )
    finally:
        assert fake.starts == ["tcg"]
        assert fake.running() == []
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
    return report, events


def fails(tmp_path: Path, body: str, stall: float | None = None) -> GuestFailed:
    with pytest.raises(GuestFailed) as caught:
        play(tmp_path, body, stall)
    assert caught.value.log == tmp_path / "log"
    return caught.value


def test_success(tmp_path: Path) -> None:
    report, events = play(tmp_path, GOOD + VERDICT + 'console("bye\\r\\n"); done()')
    assert report.hooks == (("10-a", 0.5), ("20-b", 1.0))
    assert (report.accel, report.manifest, report.qemu_version) == ("tcg", b"a\t1\n", "7.2.0")
    assert report.max_rss > 1 << 20
    assert [event.event for event in events] == ["begin", "end", "begin", "progress", "end"]
    log = (tmp_path / "log").read_bytes()
    assert log.startswith(b"# ")
    assert b"-nodefaults" in log.splitlines()[0]
    assert log.endswith(b"bye\r\n")


def test_all_that_was_said_before_the_end_is_heard(tmp_path: Path) -> None:
    body = GOOD + 'manifest(b"x" * (3 << 20)); console("y" * 300000)\n' + VERDICT + "done()"
    report, _ = play(tmp_path, body)
    assert len(report.manifest) == (3 << 20) + 4
    assert (tmp_path / "log").stat().st_size > 300000


def test_no_verdict(tmp_path: Path) -> None:
    body = 'event("begin", "10-a"); console("one\\r\\n\\x1b[31mtwo\\r\\n"); done()'
    error = fails(tmp_path, body)
    assert "in 10-a without a verdict" in error.message
    assert (error.hook, error.last_words) == ("10-a", ("one", "two"))


def test_nothing_at_all(tmp_path: Path) -> None:
    assert "without a verdict" in fails(tmp_path, "done()").message


def test_restart_is_told(tmp_path: Path) -> None:
    body = 'tell(event="SHUTDOWN", data={"guest": True, "reason": "guest-reset"}); done()'
    assert "it restarted" in fails(tmp_path, body).message


def test_bad_verdict(tmp_path: Path) -> None:
    body = 'event("begin", "10-a"); event("verdict", "10-a", ok=False, message="exit status 1")\n'
    error = fails(tmp_path, body + "done()")
    assert error.message.endswith("10-a failed: exit status 1")
    assert error.hook == "10-a"


def test_first_verdict_stands(tmp_path: Path) -> None:
    bad = 'event("verdict", "10-a", ok=False, message="no")\n'
    assert "10-a failed: no" in fails(tmp_path, GOOD + bad + VERDICT + "done()").message


def test_bad_verdict_of_a_guest_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "FAREWELL", 0.1)
    body = 'event("verdict", "10-a", ok=False, message="no")\n'
    chatter = "while True: time.sleep(0.05); console('x' * operations)\n"
    assert "10-a failed: no" in fails(tmp_path, body + "moving = 1\n" + chatter, 1).message


def test_bad_verdict_counts_more_than_the_exit_status(tmp_path: Path) -> None:
    body = 'event("verdict", "10-a", ok=False, message="no"); done(1)'
    assert "10-a failed: no" in fails(tmp_path, body).message


def test_good_verdict_with_a_hook_missing(tmp_path: Path) -> None:
    error = fails(tmp_path, 'event("begin", "10-a"); event("end", "10-a")\n' + VERDICT + "done()")
    assert "20-b did not end" in error.message


def test_good_verdict_and_bad_exit(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="status 3"):
        play(tmp_path, GOOD + VERDICT + "done(3)")


def test_panic(tmp_path: Path) -> None:
    body = (
        'event("begin", "10-a")\n'
        'console("[ 1.0] Kernel panic - not syncing: Attempted to kill init!\\r\\n")\n'
        'console("x\\r\\n" * 90)\n'
    )
    error = fails(tmp_path, body + "done()")
    assert "its kernel panicked in 10-a: Attempted to kill init!" in error.message


def test_panic_after_the_verdict(tmp_path: Path) -> None:
    body = 'console("Kernel panic - not syncing: x\\r\\n"); done()'
    assert "panicked after its verdict" in fails(tmp_path, GOOD + VERDICT + body).message


def test_out_of_memory(tmp_path: Path) -> None:
    body = (
        'event("begin", "10-a"); console("Out of memory: Killed process 7 (dpkg)\\r\\n")\n'
        'event("verdict", "10-a", ok=False, message="exit status 137"); done()'
    )
    error = fails(tmp_path, body)
    assert "ran out of memory" in error.message
    assert "--memory" in (error.hint or "")


@pytest.mark.parametrize(
    ("stderr", "words", "hint"),
    [
        ("qemu-system-x: -m: cannot set up guest memory 'ram'", "cannot set up", "--memory"),
        ("qemu-system-x: warning: odd\\nqemu-system-x: error: no such disk", ": no such disk", ""),
    ],
)
def test_qemu_fails(tmp_path: Path, stderr: str, words: str, hint: str) -> None:
    with pytest.raises(HostError) as caught:
        play(tmp_path, f'print("{stderr}", file=sys.stderr); done(1)')
    assert words in caught.value.message
    assert "warning" not in caught.value.message
    assert hint in (caught.value.hint or "")


def test_qemu_is_killed(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="signal 9") as caught:
        play(tmp_path, GOOD + "os.kill(os.getpid(), 9)")
    assert "memory" in (caught.value.hint or "")


def test_qemu_is_missing(tmp_path: Path) -> None:
    fake = FakeQemu(tmp_path, "done()")
    fake.program.unlink()
    with pytest.raises(SelfinstallError, match=r"not found|No such file"):
        run_installer(
            fake.machine,
            wanted="tcg",
            stall=None,
            log=tmp_path / "log",
            hooks=(),
            cache=tmp_path,
            on_event=ignore,
        )


def test_silence(tmp_path: Path) -> None:
    body = 'signal.signal(signal.SIGTERM, signal.SIG_IGN); event("begin", "10-a"); for_ever()'
    error = fails(tmp_path, body, stall=1.0)
    assert isinstance(error, GuestHung)
    assert error.message == "the guest hung in 10-a: nothing moved for 1 s"
    assert (error.hook, error.exit_status) == ("10-a", 6)
    assert "--stall" in (error.hint or "")


def test_repetition_is_silence(tmp_path: Path) -> None:
    body = 'event("begin", "10-a")\nwhile True: console("stuck for 9s\\n"); time.sleep(0.02)'
    assert isinstance(fails(tmp_path, body, stall=1.0), GuestHung)


def test_no_power_off_after_the_verdict(tmp_path: Path) -> None:
    error = fails(tmp_path, GOOD + VERDICT + "for_ever()", stall=1.0)
    assert isinstance(error, GuestHung)
    assert "after its verdict" in error.message


def test_disk_is_life(tmp_path: Path) -> None:
    play(tmp_path, f"moving = 1; time.sleep(1.4)\n{GOOD}{VERDICT}done()", stall=1.0)


def test_garbage_and_floods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "LARGEST_LOG", 1 << 20)
    body = """
raw(os.urandom(4000).replace(b"\\n", b"") + b"\\n[]\\n" + b"x" * 100000 + b"\\n")
console("z" * (4 << 20))
"""
    _, events = play(tmp_path, body + GOOD + VERDICT + "done()")
    assert [event.event for event in events[:3]] == ["note"] * 3
    assert (tmp_path / "log").stat().st_size < 2 << 20
    assert (tmp_path / "log").read_bytes().endswith(b"was not kept]\n")


def test_too_many_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST_MESSAGES", 20)
    body = 'while True: event("note", message="x")'
    assert "more than 20 messages" in fails(tmp_path, body).message


def test_too_large_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "LARGEST_MANIFEST", 1 << 20)
    assert "manifest" in fails(tmp_path, 'while True: manifest(b"x" * 65536)').message


def test_full_disk_of_the_host(tmp_path: Path) -> None:
    body = """
event("begin", "10-a")
tell(event="BLOCK_IO_ERROR", data={"nospace": True})
for_ever()
"""
    with pytest.raises(HostError, match="no space left"):
        play(tmp_path, body)


def test_unwritable_log(tmp_path: Path) -> None:
    fake = FakeQemu(tmp_path, "done()")
    with pytest.raises(HostError, match="cannot write"):
        run_installer(
            fake.machine,
            wanted="tcg",
            stall=None,
            log=tmp_path / "no" / "log",
            hooks=(),
            cache=tmp_path,
            on_event=ignore,
        )
    assert fake.starts == []


def test_interruption(tmp_path: Path) -> None:
    fake = FakeQemu(tmp_path, GOOD + "for_ever()")

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_installer(
            fake.machine,
            wanted="tcg",
            stall=None,
            log=tmp_path / "log",
            hooks=(),
            cache=tmp_path,
            on_event=interrupt,
        )
    assert len(fake.starts) == 1
    assert fake.running() == []


def test_qemu_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    fake = FakeQemu(tmp_path, "for_ever()")
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from qemu_helpers import AMD64, FakeQemu
from selfinstall.qemu.argv import Machine
from selfinstall.qemu.emulator import Emulator
from selfinstall.qemu.session import start
emulator = Emulator(program={str(fake.program)!r}, version="7.2.0", sandbox=False)
with start(Machine(arch=AMD64, emulator=emulator, accel="tcg", memory=64)) as session:
    print(session.pid, flush=True)
    while session.exit is None:
        session.read(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        end = time.monotonic() + 5
        while not fake.starts and time.monotonic() < end:
            time.sleep(0.01)
        parent.kill()
    assert fake.starts == ["tcg"]
    assert Path(f"/proc/{pid}").exists() is False or fake.running() == []


# --- accelerators --------------------------------------------------------------------------


def installer(
    fake: FakeQemu,
    tmp_path: Path,
    wanted: Literal["auto", "kvm", "tcg"],
    stall: float | None = None,
    fresh: Callable[[], None] = accel.nothing,
    jobs: Mapping[str, Job] | None = None,
    on_event: OnEvent | None = None,
) -> tuple[GuestReport, list[Event]]:
    events: list[Event] = []
    report = run_installer(
        fake.machine,
        wanted=wanted,
        stall=stall,
        fresh=fresh,
        jobs=jobs or {},
        log=tmp_path / "log",
        hooks=HOOKS,
        cache=tmp_path / "cache",
        on_event=on_event or events.append,
    )
    assert fake.running() == []
    return report, events


@pytest.fixture
def kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose /dev/kvm opens."""
    monkeypatch.setattr(accel, "obstacle", lambda arch: None)


BROKEN = {
    "abort": "print('qemu-system-x: error: failed to set MSR', file=sys.stderr); os.abort()",
    "refusal": "print('failed to initialize KVM', file=sys.stderr); done(1)",
    "silence": "for_ever()",
    "internal": "status = 'internal-error'; tell(event='STOP'); for_ever()",
    "panic": "console('Kernel panic - not syncing: odd\\n'); done()",
}


@pytest.mark.usefixtures("kvm")
@pytest.mark.parametrize("how", BROKEN)
def test_fallback_is_remembered(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "silence":
        monkeypatch.setattr(accel, "TRIAL", 0.3)
    fake = FakeQemu(tmp_path, f"if kvm:\n    {BROKEN[how]}\n{GOOD}{VERDICT}done()")
    report, events = installer(fake, tmp_path, "auto")
    assert report.accel == "tcg"
    assert (events[0].event, events[0].step) == ("warning", "installer")
    assert "KVM" in (events[0].message or "")
    report, events = installer(fake, tmp_path, "auto")
    assert events[0].event == "begin"
    assert fake.starts == ["kvm", "tcg", "tcg"]


@pytest.mark.usefixtures("kvm")
def test_working_kvm_is_remembered_and_then_not_on_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeQemu(tmp_path, GOOD + VERDICT + "done()")
    assert installer(fake, tmp_path, "auto")[0].accel == "kvm"
    monkeypatch.setattr(accel, "TRIAL", 0.1)
    slow = FakeQemu(tmp_path, "time.sleep(0.4)\n" + GOOD + VERDICT + "done()")
    assert installer(slow, tmp_path, "auto")[0].accel == "kvm"
    assert fake.starts == ["kvm", "kvm"]


@pytest.mark.usefixtures("kvm")
def test_a_dead_guest_does_not_convict_kvm(tmp_path: Path) -> None:
    fake = FakeQemu(tmp_path, "console('Kernel panic - not syncing: x\\n'); done()")
    for _ in range(2):
        with pytest.raises(GuestFailed, match="panicked: x"):
            installer(fake, tmp_path, "auto")
    assert fake.starts == ["kvm", "tcg", "kvm", "tcg"]


@pytest.mark.usefixtures("kvm")
def test_asked_for_kvm_does_not_fall_back(tmp_path: Path) -> None:
    fake = FakeQemu(tmp_path, BROKEN["abort"])
    with pytest.raises(HostError, match="do not run under this host's KVM") as caught:
        installer(fake, tmp_path, "kvm")
    assert "failed to set MSR" in caught.value.message
    assert caught.value.hint == "use --accel tcg"
    assert fake.starts == ["kvm"]


def test_asked_for_kvm_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda arch: ("/dev/kvm is missing", None))
    fake = FakeQemu(tmp_path, "done()")
    with pytest.raises(HostError, match="/dev/kvm is missing"):
        installer(fake, tmp_path, "kvm")
    assert fake.starts == []


def read_answer() -> str:
    return 'assert ports["org.selfinstall.events"].recv(9) == b"\\n"\n'


def test_a_hook_that_asks_waits_for_the_work_on_the_host(tmp_path: Path) -> None:
    """The guest is silent for longer than --stall meanwhile, and so is the work."""
    asked: list[bool] = []

    def work(tell: OnEvent, go_on: Callable[[], bool]) -> None:
        time.sleep(0.8)
        asked.append(go_on())

    body = 'event("begin", "10-a"); event("ask", "10-a")\n' + read_answer()
    fake = FakeQemu(tmp_path, body + GOOD + VERDICT + "done()")
    report, _ = installer(fake, tmp_path, "tcg", stall=0.5, jobs={"10-a": Job(work)})
    assert asked == [True]
    assert dict(report.hooks).keys() == set(HOOKS)


def test_a_hook_that_asks_where_nobody_cares_is_answered(tmp_path: Path) -> None:
    play(tmp_path, 'event("ask", "10-a")\n' + read_answer() + GOOD + VERDICT + "done()")


def test_work_ends_with_a_guest_that_does_not_wait(tmp_path: Path) -> None:
    stopped: list[bool] = []

    def work(tell: OnEvent, go_on: Callable[[], bool]) -> None:
        while go_on():
            time.sleep(0.01)
        stopped.append(True)

    body = 'event("ask", "10-a"); event("ask", "10-a")\n' + read_answer() + GOOD + VERDICT
    fake = FakeQemu(tmp_path, body + "done()")
    installer(fake, tmp_path, "tcg", jobs={"10-a": Job(work)})
    assert stopped == [True]


def endless(told: list[str]) -> Job:
    """Work that begins with the guest, and goes on until nobody wants it."""

    def work(tell: OnEvent, go_on: Callable[[], bool]) -> None:
        try:
            while True:
                tell(Event("progress", "unpack"))
                time.sleep(0.01)
        except Unwanted:
            told.append("unwanted")
            raise

    return Job(work, ahead=True)


@pytest.mark.parametrize("first", ["the guest", "the work"])
def test_work_that_begins_with_the_guest(tmp_path: Path, first: str) -> None:
    """Whoever is there first waits; events are told in the thread that watches."""
    threads: set[int] = set()
    told: list[Event] = []

    def work(tell: OnEvent, go_on: Callable[[], bool]) -> None:
        time.sleep(0.7 if first == "the guest" else 0)
        tell(Event("progress", "unpack", done=1))
        tell(Event("end", "unpack"))

    def on_event(event: Event) -> None:
        threads.add(threading.get_ident())
        told.append(event)

    pause = "" if first == "the guest" else "time.sleep(0.7)\n"
    body = pause + 'event("ask", "10-a")\n' + read_answer() + GOOD + VERDICT
    fake = FakeQemu(tmp_path, body + "done()")
    jobs = {"10-a": Job(work, ahead=True)}
    installer(fake, tmp_path, "tcg", stall=1.0, jobs=jobs, on_event=on_event)
    assert threads == {threading.get_ident()}
    assert [f"{event.event} {event.step}" for event in told] == [
        "progress unpack", "end unpack", "begin 10-a", "end 10-a",
        "begin 20-b", "progress 20-b", "end 20-b",
    ]  # fmt: skip


def test_work_that_fails_ends_the_guest_at_once(tmp_path: Path) -> None:
    def work(tell: OnEvent, go_on: Callable[[], bool]) -> None:
        raise HostError("no space left in /there")

    fake = FakeQemu(tmp_path, "for_ever()")
    began = time.monotonic()
    with pytest.raises(HostError, match="no space left in /there"):
        installer(fake, tmp_path, "tcg", jobs={"10-a": Job(work, ahead=True)})
    assert time.monotonic() - began < 5
    assert fake.running() == [] and threading.active_count() == 1


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        ('event("verdict", "10-a", ok=False, message="no"); done()', "10-a failed: no"),
        ("done()", "without a verdict"),
        ("os.kill(os.getpid(), 9)", "signal 9"),
        ("for_ever()", "hung"),
        (GOOD + VERDICT + "done()", "10-a did not wait for the host"),
    ],
)
def test_work_ends_with_the_guest(tmp_path: Path, body: str, raised: str) -> None:
    """Progress of the host's is no life of a guest that does not wait for it."""
    told: list[str] = []
    fake = FakeQemu(tmp_path, body)
    with pytest.raises(SelfinstallError, match=raised):
        installer(fake, tmp_path, "tcg", stall=1.0, jobs={"10-a": endless(told)})
    assert told == ["unwanted"]
    assert fake.running() == [] and threading.active_count() == 1


def test_an_interruption_ends_guest_and_work(tmp_path: Path) -> None:
    told: list[str] = []
    fake = FakeQemu(tmp_path, "for_ever()")

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        installer(fake, tmp_path, "tcg", jobs={"10-a": endless(told)}, on_event=interrupt)
    assert told == ["unwanted"]
    assert fake.running() == [] and threading.active_count() == 1


@pytest.mark.usefixtures("kvm")
def test_another_attempt_finds_a_new_disk_and_work_that_begins_anew(tmp_path: Path) -> None:
    story: list[str] = []

    def work(tell: OnEvent, go_on: Callable[[], bool]) -> None:
        story.append("begun")
        while go_on() and len(story) < 4:
            time.sleep(0.01)
        story.append("ended" if go_on() else "given up")

    body = "if kvm: time.sleep(0.3); os.abort()\n"
    asks = 'event("ask", "10-a")\n' + read_answer()
    fake = FakeQemu(tmp_path, body + asks + GOOD + VERDICT + "done()")
    jobs = {"10-a": Job(work, ahead=True)}
    installer(fake, tmp_path, "auto", fresh=lambda: story.append("fresh"), jobs=jobs)
    assert fake.starts == ["kvm", "tcg"]
    assert story == ["fresh", "begun", "given up", "fresh", "begun", "ended"]


def test_disks_are_made_before_each_attempt(tmp_path: Path) -> None:
    made: list[int] = []
    fake = FakeQemu(tmp_path, GOOD + VERDICT + "done()")
    installer(fake, tmp_path, "tcg", fresh=lambda: made.append(len(fake.starts)))
    assert made == [0]
