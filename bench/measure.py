"""Running one command and what it cost: time, CPU, memory, of it and all that it started."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

#: Seconds between looks at the memory of the processes.
SAMPLE = 0.2
#: Seconds that an interrupted command has to clean up.
GRACE = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """Whom a command runs as: an ordinary user of this machine."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a command took.

    :param status: its exit status, negative for a signal.
    :param wall: seconds.
    :param user: CPU seconds in user mode of it and of all descendants that were waited for
        (wait4(2)), emulators among them.
    :param system: the same in the kernel.
    :param machine_cpu: CPU seconds of the whole machine meanwhile (/proc/stat): adds the
        kernel's own threads, which write for loop devices, and whatever else ran.
    :param max_rss: bytes of the largest process (wait4).
    :param host_rss: peak bytes of the command's own process.
    :param rss: peak bytes of the largest process of each name, as far as it was seen.
    """

    status: int
    wall: float
    user: float
    system: float
    machine_cpu: float
    max_rss: int
    host_rss: int
    rss: Mapping[str, int]


def measure(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: Path,
    user: User | None = None,
    timeout: float = 3600.0,
) -> Cost:
    """Run *argv* to its end; nothing is raised for its failing.

    :param output: a file for what it says, standard error included.
    :param user: None for the caller.
    :param timeout: seconds after which it is ended.
    """
    with output.open("wb") as stream:
        before = machine_cpu_seconds(Path("/proc/stat").read_text())
        began = time.monotonic()
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=user.groups if user else None,
        )
        with _ended(process, timeout), _sampling(process.pid) as peaks:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
    return Cost(
        status=process.returncode,
        wall=round(wall, 3),
        user=round(usage.ru_utime, 3),
        system=round(usage.ru_stime, 3),
        machine_cpu=round(machine_cpu_seconds(Path("/proc/stat").read_text()) - before, 2),
        max_rss=usage.ru_maxrss * 1024,
        host_rss=peaks.get(process.pid, ("", 0))[1],
        rss=_largest(peaks.values()),
    )


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes], timeout: float) -> Iterator[None]:
    """See to it that the process and its group end, when time or the caller's patience is over."""
    timer = threading.Timer(timeout, _signal_group, (process.pid, signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        yield
    except BaseException:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired, ChildProcessError):
            process.wait(GRACE)
        _signal_group(process.pid, signal.SIGKILL)
        raise
    finally:
        timer.cancel()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


@contextlib.contextmanager
def _sampling(pid: int) -> Iterator[dict[int, tuple[str, int]]]:
    """Look at the tree below *pid* every now and then: name and peak bytes by process id."""
    peaks: dict[int, tuple[str, int]] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE):
            for number in _tree(pid):
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{number}/status").read_text()
                    name, peak = parse_status(status)
                    peaks[number] = (name, max(peak, peaks.get(number, ("", 0))[1]))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def _tree(pid: int) -> Iterator[int]:
    """*pid* and its descendants (CONFIG_PROC_CHILDREN; without it, *pid* alone)."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield from _tree(int(child))


def parse_status(text: str) -> tuple[str, int]:
    """Name and peak resident bytes (VmHWM) out of ``/proc/PID/status``; 0 for one that ended."""
    fields = dict(line.partition(":")[::2] for line in text.splitlines())
    peak = fields.get("VmHWM", "0").split()
    return fields.get("Name", "").strip(), int(peak[0]) * 1024 if peak else 0


def machine_cpu_seconds(text: str) -> float:
    """CPU seconds that all CPUs were busy since boot, out of ``/proc/stat``.

    The first line: user nice system idle iowait irq softirq steal guest guest_nice (proc(5)),
    the last two of which are in the first two already.
    """
    user, nice, system, _idle, _iowait, irq, softirq = map(int, text.split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _largest(found: Iterable[tuple[str, int]]) -> dict[str, int]:
    largest: dict[str, int] = {}
    for name, peak in found:
        largest[name] = max(peak, largest.get(name, 0))
    return dict(sorted(largest.items(), key=lambda item: -item[1])[:8])
