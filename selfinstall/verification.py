"""Booting a finished image by its own firmware and loader until its system is up."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfinstall import arch as arches
from selfinstall import request
from selfinstall.arch import Arch
from selfinstall.errors import InputError, UsageError
from selfinstall.events import OnEvent, ignore
from selfinstall.host import workspace
from selfinstall.image.inspect import ImageFacts, inspect_image
from selfinstall.packages.cache import folder_or
from selfinstall.qemu.argv import AccelName
from selfinstall.qemu.boot import Boot
from selfinstall.qemu.emulator import find as find_emulator
from selfinstall.qemu.login import boot_until_up

#: MiB; what the field's tools give a test machine at least (Debian bug 1059840).
MEMORY = 1024


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """One boot that reached the login prompt.

    :param firmware: what started it.
    :param seconds: until the prompt.
    :param accel: what ran the machine.
    """

    firmware: str
    seconds: float
    accel: AccelName


def verify(
    image: Path,
    *,
    arch: str | None = None,
    firmware: tuple[str, ...] | None = None,
    accel: request.Accel = "auto",
    memory: int | None = None,
    smp: int | None = None,
    qemu: Path | None = None,
    stall: float | None = None,
    cache: Path | None = None,
    log: Path | None = None,
    on_event: OnEvent = ignore,
) -> tuple[Verified, ...]:
    """Boot *image* under each firmware; what it writes goes to an overlay that is thrown away.

    :param arch: its architecture; None for what its partition table names, or the host's.
    :param firmware: names of firmware; None for all that its boot loaders serve.
    :param memory: MiB.
    :param stall: seconds of silence that end a boot; None for the accelerator's limit.
    :param cache: the cache's folder; None for the user's.
    :param log: where to keep the consoles, one behind the other; None for nowhere.
    :raises InputError: there is no such image, or it holds no boot loader for a firmware.
    :raises HostError: the host lacks qemu or firmware.
    :raises BootFailed: it does not come up.
    """
    facts = inspect_image(image)
    chosen = arch_of(facts, arch)
    names = firmware or _firmwares(facts, chosen)
    with workspace() as work:
        verified = []
        for name in names:
            boot = machine(facts, chosen, name, memory=memory, smp=smp, qemu=qemu, scratch=work)
            with _log(log, work, name) as path:
                report = boot_until_up(
                    boot,
                    wanted=accel,
                    stall=stall,
                    log=path,
                    cache=folder_or(cache, work),
                    step=f"verify-{name}",
                    on_event=on_event,
                )
            verified.append(
                Verified(firmware=name, seconds=round(report.seconds, 1), accel=report.accel)
            )
    return tuple(verified)


def arch_of(facts: ImageFacts, name: str | None) -> Arch:
    """The architecture of an image: as asked, as its partition table says, or the host's.

    :raises InputError: what was asked for is not what the image says.
    :raises UsageError: nothing says.
    """
    if name is not None:
        if facts.arch is not None and facts.arch != name:
            raise InputError(f"{facts.path} is {facts.arch}, not {name}", "leave out --arch")
        return arches.get(name)
    if facts.arch is not None:
        return arches.get(facts.arch)
    for arch in arches.all_arches().values():
        if platform.machine() in arch.qemu.kvm_hosts:
            return arch
    raise UsageError(
        f"{facts.path} does not say what architecture it is for", "name it with --arch"
    )


def machine(
    facts: ImageFacts,
    arch: Arch,
    firmware: str,
    *,
    memory: int | None,
    smp: int | None,
    qemu: Path | None,
    scratch: Path | None = None,
    write: bool = False,
) -> Boot:
    """The machine that boots an image.

    :raises HostError: the emulator is missing or too old.
    :raises UsageError: the architecture has no such firmware.
    """
    return Boot(
        arch=arch,
        emulator=find_emulator(arch, qemu),
        image=facts.path,
        format=facts.format,
        firmware=arch.firmware(firmware),
        memory=memory or MEMORY,
        smp=smp or 1,
        scratch=scratch,
        write=write,
    )


def _firmwares(facts: ImageFacts, arch: Arch) -> tuple[str, ...]:
    """All that the image has a boot loader for; of an image that does not tell, all there are."""
    if facts.label is None:
        raise InputError(f"{facts.path} has no partition table", "is it an image of a whole disk?")
    return facts.bootable_firmwares(arch) or tuple(f.name for f in arch.firmwares)


@contextmanager
def _log(kept: Path | None, work: Path, name: str) -> Iterator[Path]:
    """A log of this boot's own, appended to the one that is kept, whatever happened."""
    path = work / f"{name}.log"
    try:
        yield path
    finally:
        if kept is not None and path.exists():
            with kept.open("ab") as stream:
                stream.write(path.read_bytes())
