"""Which accelerator: KVM where guests really run under it, found out by trying, and remembered.

That ``/dev/kvm`` opens proves little: on some hosts (nested virtualisation,
half-emulated CPU features) qemu then aborts, or the guest never says a word.
A guest under unproven KVM is on trial: when no sign of life comes, the same
work begins again under emulation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from selfinstall import request
from selfinstall.arch import Arch
from selfinstall.errors import HostError
from selfinstall.events import Event, OnEvent
from selfinstall.qemu.argv import AccelName
from selfinstall.qemu.emulator import Emulator
from selfinstall.scratch import private_folder

T = TypeVar("T")

KVM = Path("/dev/kvm")
#: Seconds of silence after which a guest on trial is given up.  Under KVM the first event
#: and the first console line come within two.
TRIAL = 12.0
_LARGEST_FILE = 64 << 10


class NoSignOfLife(Exception):
    """A guest on trial did not come to life.

    :param reason: what was seen, for people.
    :param certain: it cannot have been the guest's own fault.
    """

    def __init__(self, reason: str, *, certain: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.certain = certain


@dataclasses.dataclass(frozen=True, slots=True)
class Try:
    """One run under one accelerator.

    :param accel: which.
    :param trial: raise :class:`NoSignOfLife` when the guest ends, or is silent for so many
        seconds, before it showed life; None when the accelerator is not in doubt.
    :param on_life: to be called once when the guest shows life.
    """

    accel: AccelName
    trial: float | None
    on_life: Callable[[], None]


def nothing() -> None:
    """An ``on_life`` for when nothing is to be learnt."""


class Memory:
    """What was found out about KVM here, for as long as this host stays booted.

    :param folder: where ``accel.json`` lies; it need not exist nor be writable.
    :param key: names host boot, kernel, CPU, qemu and architecture.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._file = folder / "accel.json"
        self._key = key
        self._boot = key.partition(" ")[0]

    def works(self, kind: str) -> bool | None:
        """Whether guests that start as *kind* run under KVM; None when that was not tried yet.

        Bad counts for every kind, good only for the one that was seen: firmware
        uses other features of the CPU than a kernel that is started directly.
        """
        found = self._read().get(self._key, {})
        if found.get("bad"):
            return False
        return True if kind in found.get("good", []) else None

    def learn(self, kind: str, works: bool) -> None:
        """Remember a finding.  A cache that cannot be written only costs the next trial."""
        known = self._read()
        mine = known.setdefault(self._key, {})
        if works:
            mine["good"] = sorted({*mine.get("good", []), kind})
            mine.pop("bad", None)
        else:
            mine.clear()
            mine["bad"] = True
        with contextlib.suppress(OSError):
            self._write(known)

    def _read(self) -> dict[str, dict[str, Any]]:
        """What is known of this host boot; damage and other boots' findings are left out."""
        try:
            with self._file.open("rb") as stream:
                known = json.loads(stream.read(_LARGEST_FILE))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(known, dict):
            return {}
        return {
            key: {
                "bad": entry.get("bad") is True,
                "good": [k for k in _list(entry.get("good")) if isinstance(k, str)],
            }
            for key, entry in known.items()
            if isinstance(entry, dict) and key.startswith(f"{self._boot} ")
        }

    def _write(self, known: dict[str, dict[str, Any]]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with private_folder(self._file.parent, ".accel-") as folder:
            new = folder / self._file.name
            new.write_text(json.dumps(known, indent=1), encoding="utf-8")
            new.replace(self._file)


def memory(folder: Path, arch: Arch, emulator: Emulator) -> Memory:
    """The memory for this host as it is booted now."""
    boot = _line("/proc/sys/kernel/random/boot_id", "") or "unknown"
    cpu = _line("/proc/cpuinfo", "model name") or _line("/proc/cpuinfo", "") or "unknown"
    cpu = cpu.partition(":")[2].strip() or cpu
    parts = (boot, os.uname().release, emulator.version, cpu, arch.name)
    return Memory(folder, " | ".join(parts))


def obstacle(arch: Arch) -> tuple[str, str | None] | None:
    """Why KVM is out of the question here, with a hint; None when it can be tried."""
    device = KVM
    machine = os.uname().machine
    if machine not in arch.qemu.kvm_hosts:
        return f"a {machine} host does not run {arch.name} guests under KVM", None
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"{device} is missing", "load the kernel's kvm module, or leave it to --accel auto"
    except PermissionError:
        return f"{device} may not be opened", 'sudo adduser "$USER" kvm, then log in again'
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}", None
    return None


def run(
    wanted: request.Accel,
    *,
    arch: Arch,
    known: Memory,
    kind: str,
    step: str,
    on_event: OnEvent,
    work: Callable[[Try], T],
    trial: float | None = None,
) -> T:
    """Do *work* under the accelerator that was asked for, or under the best that works.

    :param kind: what starts the guest: ``direct``, or the firmware's name.
    :param step: where the warning about a failed trial belongs.
    :param trial: seconds of silence that end a trial, None for :data:`TRIAL`.
    :raises HostError: KVM was asked for and does not work here.
    """
    if wanted == "tcg":
        return work(Try("tcg", None, nothing))
    stop = obstacle(arch)
    if wanted == "kvm":
        if stop is not None:
            raise _unusable(stop)
        doubt = None if known.works(kind) else float("inf")
        try:
            return work(Try("kvm", doubt, lambda: known.learn(kind, True)))
        except NoSignOfLife as error:
            raise HostError(
                f"guests do not run under this host's KVM: {error.reason}", "use --accel tcg"
            ) from error
    if stop is not None:
        return work(Try("tcg", None, nothing))
    works = known.works(kind)
    if works is not None:
        return work(Try("kvm" if works else "tcg", None, nothing))
    try:
        return work(Try("kvm", TRIAL if trial is None else trial, lambda: known.learn(kind, True)))
    except NoSignOfLife as error:
        failure = error
    message = f"guests do not run under this host's KVM ({failure.reason}); emulating instead"
    on_event(Event("warning", step, message=message))
    if failure.certain:
        known.learn(kind, False)
    # Otherwise the guest itself may be dead; only its life under emulation convicts KVM.
    return work(Try("tcg", None, lambda: known.learn(kind, False)))


def likely(wanted: request.Accel, arch: Arch, known: Memory, kind: str) -> AccelName:
    """What :func:`run` would begin with; nothing is tried.

    :raises HostError: KVM was asked for and cannot be used.
    """
    if wanted == "tcg":
        return "tcg"
    stop = obstacle(arch)
    if wanted == "kvm" and stop is not None:
        raise _unusable(stop)
    if wanted == "kvm" or (stop is None and known.works(kind) is not False):
        return "kvm"
    return "tcg"


def _unusable(stop: tuple[str, str | None]) -> HostError:
    return HostError(f"KVM cannot be used: {stop[0]}", stop[1] or "use --accel tcg")


def _line(file: str, start: str) -> str | None:
    """The first line of *file* that begins with *start* and is not empty, or None."""
    with (
        contextlib.suppress(OSError),
        Path(file).open(encoding="utf-8", errors="replace") as stream,
    ):
        return next((n.strip() for n in stream if n.strip() and n.startswith(start)), None)
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
