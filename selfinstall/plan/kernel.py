"""The kernel, and what it is told: in the installer's guest and in the image."""

from __future__ import annotations

from selfinstall.arch import Arch
from selfinstall.packages.resolution import Resolution
from selfinstall.request import Request
from selfinstall.rootfs.facts import Init, RootfsFacts

#: The installer's kernel alone gets these (docs/performance.md).  Address
#: randomisation makes qemu 7.2 translate all code again at each exec; the
#: mitigations and the zeroing of pages protect nobody in a machine without
#: secrets that lives for a minute.
INSTALLER_ARGS = (
    "rdinit=/init",
    # tmpfs would hold half of the memory at most.
    "rootfstype=ramfs",
    "panic=-1",
    "loglevel=5",
    "mitigations=off",
    "norandmaps",
    "nokaslr",
    "init_on_alloc=0",
    "random.trust_cpu=on",
    # Accounting and security modules are in the way of every system call and page fault.
    "lsm=",
    "audit=0",
    "psi=0",
    "cgroup_disable=memory",
    # Self-tests of a key derivation and of a random number generator that nothing here asks for,
    # and names for tracing: a tenth of the kernel's start when emulated.
    "initcall_blacklist=crypto_kdf108_init,jent_mod_init,trace_eval_init",
)


def chosen_kernel(request: Request, facts: RootfsFacts, arch: Arch, resolution: Resolution) -> str:
    """The image's kernel: the package that brings it, or the version that is there."""
    if request.kernel:
        return request.kernel
    if facts.kernels:
        return facts.kernels[0].version
    names = {name for p in resolution.packages for name in (p.name, f"{p.name}:{p.architecture}")}
    return next((k for k in arch.kernel_packages if k in names), arch.kernel_packages[0])


def foreign(resolution: Resolution, arch: Arch) -> tuple[str, ...]:
    """Architectures of new packages that are not the target's own."""
    found = {p.architecture for p in resolution.packages} - {arch.name, "all"}
    return tuple(sorted(found))


def console(arch: Arch) -> str:
    """The argument that names the serial console."""
    return f"console={arch.console}" + (f",{arch.baud}" if arch.baud else "")


def kernel_arguments(arch: Arch, init: Init) -> tuple[str, ...]:
    """What the image's kernel is told beside its root: the consoles, names of network cards."""
    screen = (f"console={arch.screen}",) if arch.screen else ()
    # Without systemd's and networkd's matching, the first card must keep its kernel name.
    names = () if init == "systemd" else ("net.ifnames=0",)
    return (*screen, console(arch), *names)
