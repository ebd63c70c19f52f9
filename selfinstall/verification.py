"""Booting a finished image by its own firmware and loader until its system is up."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from selfinstall import arch as arches
from selfinstall import request
from selfinstall.arch import Arch
from selfinstall.errors import GuestFailed, InputError, UsageError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.host import workspace
from selfinstall.image import export
from selfinstall.image.export import Exported
from selfinstall.image.inspect import ImageFacts, inspect_image
from selfinstall.packages.cache import folder_or
from selfinstall.qemu.argv import AccelName
from selfinstall.qemu.boot import Boot
from selfinstall.qemu.emulator import find as find_emulator
from selfinstall.qemu.firmware import first_usable
from selfinstall.qemu.login import BootReport, boot_until_up

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
    exported: Exported | None = None,
    on_event: OnEvent = ignore,
) -> tuple[Verified, ...]:
    """Boot *image* under each firmware; what it writes goes to an overlay that is thrown away.

    :param arch: its architecture; None for what its partition table names, or the host's.
    :param firmware: names of firmware; None for all that its boot loaders serve.
    :param memory: MiB.
    :param smp: guest CPUs; None for as many as make it fastest, and for one where they fail.
    :param stall: seconds of silence that end a boot; None for the accelerator's limit.
    :param cache: the cache's folder; None for the user's.
    :param log: where to keep the consoles, one behind the other; None for nowhere.
    :param exported: kernel and initramfs of an image without a boot loader; None for
        those that lie beside it.
    :raises InputError: there is no such image, or it holds no boot loader for a firmware.
    :raises HostError: the host lacks qemu or firmware.
    :raises BootFailed: it does not come up.
    """
    facts = inspect_image(image)
    chosen = arch_of(facts, arch)
    direct = exported or export.beside(image)
    names = firmware or usable_firmwares(facts, chosen, direct, qemu)
    cpus = smp or cpus_each(chosen, len(names))
    boots = [
        machine(facts, chosen, name, direct=direct, memory=memory, smp=cpus, qemu=qemu)
        for name in names
    ]
    with workspace() as work:

        def boot_one(boot: Boot, tell: OnEvent, cancel: int) -> BootReport:
            scratch = work / boot.firmware.name
            scratch.mkdir()
            return boot_until_up(
                dataclasses.replace(boot, scratch=scratch),
                wanted=accel,
                stall=stall,
                log=work / f"{boot.firmware.name}.log",
                cache=folder_or(cache, work),
                step=f"verify-{boot.firmware.name}",
                on_event=tell,
                cancel=cancel,
                fallback=smp is None,
            )

        try:
            reports = side_by_side(boot_one, boots, on_event)
        except GuestFailed as error:
            error.log = log
            raise
        finally:
            if log is not None:
                _append(log, [work / f"{name}.log" for name in names])
    return tuple(
        Verified(firmware=name, seconds=round(report.seconds, 1), accel=report.accel)
        for name, report in zip(names, reports, strict=True)
    )


def cpus_each(arch: Arch, boots: int) -> int:
    """Guest CPUs for each of so many *boots* that begin at once, 1 at least."""
    if platform.machine() not in arch.qemu.kvm_hosts:
        return 1
    return max(1, min(arch.qemu.cpus, (os.cpu_count() or 1) // boots))


def side_by_side(
    boot_one: Callable[[Boot, OnEvent, int], BootReport], boots: Sequence[Boot], on_event: OnEvent
) -> list[BootReport]:
    """Boot all, as many at once as the host has CPUs; *on_event* is called in this thread alone.

    What goes wrong in one, or here (a signal), ends the others at once.

    :param boot_one: gets a boot, where to tell events, and a descriptor that becomes
        readable when it shall give up.
    """
    news: SimpleQueue[Event | None] = SimpleQueue()
    with contextlib.ExitStack() as stack:
        pipes = [os.pipe() for _ in boots]
        for end in itertools.chain.from_iterable(pipes):
            stack.callback(os.close, end)
        pool = stack.enter_context(ThreadPoolExecutor(min(len(boots), os.cpu_count() or 1)))
        try:
            running = [
                pool.submit(boot_one, boot, news.put, reader)
                for boot, (reader, _) in zip(boots, pipes, strict=True)
            ]
            for future in running:
                future.add_done_callback(lambda _: news.put(None))
            while not all(future.done() for future in running):
                event = news.get()
                if event is not None:
                    on_event(event)
                elif failed := next((f for f in running if f.done() and f.exception()), None):
                    failed.result()
            while not news.empty():
                if (event := news.get()) is not None:
                    on_event(event)
            return [future.result() for future in running]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for _, writer in pipes:
                os.write(writer, b"x")
            raise


def arch_of(facts: ImageFacts, name: str | None) -> Arch:
    """The architecture of an image: as asked, as its partition table says, or the host's.

    :raises InputError: what was asked for is not what the image says.
    :raises UsageError: nothing says.
    """
    if name is not None:
        if facts.arches and name not in facts.arches:
            known = " or ".join(facts.arches)
            raise InputError(f"{facts.path} is {known}, not {name}", "leave out --arch")
        return arches.get(name)
    if facts.arches:
        # Architectures that share a type share the machine too.
        return arches.get(facts.arches[0])
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
    direct: Exported | None = None,
    memory: int | None,
    smp: int | None,
    qemu: Path | None,
    scratch: Path | None = None,
    write: bool = False,
) -> Boot:
    """The machine that boots an image.

    :param direct: what lies beside an image without a boot loader.
    :raises HostError: the emulator is missing or too old.
    :raises UsageError: the architecture has no such firmware.
    :raises InputError: there is no kernel to start directly.
    """
    directly = firmware == arches.DIRECT.name
    if directly and direct is None:
        kernel = export.names(facts.path)[0]
        raise InputError(
            f"{facts.path} has no boot loader, and there is no {kernel.name} beside it",
            f"selfinstall export {facts.path} takes kernel and initramfs out of the image",
        )
    return Boot(
        arch=arch,
        emulator=find_emulator(arch, qemu),
        image=facts.path,
        format=facts.format,
        firmware=arch.firmware(firmware),
        direct=direct if directly else None,
        memory=memory or MEMORY,
        smp=smp or 1,
        scratch=scratch,
        write=write,
    )


def usable_firmwares(
    facts: ImageFacts, arch: Arch, direct: Exported | None, qemu: Path | None = None
) -> tuple[str, ...]:
    """One firmware for each boot loader of the image: the first that this host has.

    Of an image that does not tell what is in it, all that the architecture has.

    :raises InputError: it has no partition table.
    :raises HostError: the host lacks all that could start a loader.
    """
    if facts.label is None:
        raise InputError(f"{facts.path} has no partition table", "is it an image of a whole disk?")
    rows = facts.bootable_firmwares(arch)
    if not rows and (direct is not None or not arch.firmwares):
        return (arches.DIRECT.name,)
    emulator = find_emulator(arch, qemu)
    rows = rows or tuple((f.name,) for f in arch.firmwares)
    return tuple(dict.fromkeys(first_usable(arch, row, emulator) for row in rows))


def _append(kept: Path, logs: Sequence[Path]) -> None:
    """The boots' logs one behind the other, after what the build wrote there."""
    with kept.open("ab") as stream:
        for path in logs:
            if path.exists():
                stream.write(path.read_bytes())
