"""The installer's machine: its memory, its CPUs, and how archives reach it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from selfinstall.arch import Arch
from selfinstall.errors import UsageError
from selfinstall.layout import MIB
from selfinstall.packages.resolution import Package
from selfinstall.request import Request
from selfinstall.rootfs.facts import RootfsFacts

#: MiB of the installer's memory that its system leaves to a payload.  More memory is not
#: faster: a payload on a disk of its own takes as long as one in memory.
PAYLOAD_MEMORY = 128
#: Guest CPUs without ``--smp``.  More are not safe under TCG: with two, qemu 7.2 and 10.0 let
#: one CPU run into the breakpoint that the kernel sets while it patches its own code ("Oops:
#: int3" in sched_clock_cpu; one boot of three to one of thirty, as the host is loaded).  A boot
#: to verify an image can begin again with one (:mod:`selfinstall.qemu.login`), a build cannot.
DEFAULT_SMP = 1


def chosen_payload(
    request: Request, facts: RootfsFacts, arch: Arch, packages: Iterable[Package]
) -> tuple[Literal["initramfs", "disk"], int]:
    """How packages travel, and the rootfs if the guest unpacks it; the guest's memory in MiB.

    While the kernel unpacks an initramfs, memory holds it twice.  Packages
    grow when their members are decompressed; their size on disk says by how much.
    """
    carried = sum(p.installed_size for p in packages)
    if request.unpack == "guest":
        carried += facts.tar_bytes
    least = arch.qemu.memory
    in_memory = least - PAYLOAD_MEMORY + 2 * math.ceil(carried / MIB)
    if request.payload == "initramfs":
        memory = request.memory or max(least, in_memory)
        if memory < in_memory:
            raise UsageError(
                f"{memory} MiB of memory do not hold this payload in the initramfs",
                f"--memory {in_memory}, or --payload disk",
            )
        return "initramfs", memory
    memory = request.memory or least
    if request.payload == "auto" and in_memory <= memory:
        return "initramfs", memory
    return "disk", memory
