"""The system emulator of this host: where it is, how old, what it can."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

from selfinstall.arch import Arch
from selfinstall.errors import HostError
from selfinstall.offers import hint as how_to_install

#: What the emulator's process may not do once it runs (seccomp); libvirt asks for the same.
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#: With an architecture's name in capitals: the environment variable that names its emulator.
ENVIRONMENT = "SELFINSTALL_QEMU_"
#: Seconds for ``-version``; a loaded machine needs one or two.
PROBE_TIMEOUT = 60.0

_KERNEL = re.compile(r"(\d+)\.(\d+)")
_VERSION = re.compile(r"version ((\d+)\.(\d+)\S*(?: \([^)]*\))?)")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Emulator:
    """A system emulator as found.

    :param program: absolute path.
    :param version: as it tells itself, with the distribution's in brackets: ``7.2.22 (Debian …)``.
    :param number: the version to compare with.
    :param sandbox: whether it was built with seccomp.
    :param packages: those that hold such an emulator, of the newest release first.
    """

    program: str
    version: str
    number: tuple[int, int] = (0, 0)
    sandbox: bool
    packages: tuple[str, ...] = ()


def find(arch: Arch, program: Path | None = None) -> Emulator:
    """Find and ask the emulator for *arch*.

    :param program: an emulator that replaces the architecture's; without, the one that the
        environment's ``SELFINSTALL_QEMU_ARCH`` names (the architecture in capitals).
    :raises HostError: it is missing, does not run, or is too old.
    """
    named = os.environ.get(f"{ENVIRONMENT}{arch.name.upper()}")
    if program is None and named:
        program = Path(named)
    path = shutil.which(str(program or arch.qemu.program))
    if path is None:
        wanted = (
            f"{program} is not an executable file" if program else f"{arch.qemu.program} is missing"
        )
        raise HostError(wanted, None if program else _hint(arch))
    path = str(Path(path).absolute())
    # Options are read in order: -version ends the program before anything is opened, and
    # a build without seccomp has already refused -sandbox by then.
    answer = _ask(path, "-sandbox", SANDBOX, "-version")
    sandbox = answer is not None
    if answer is None:
        answer = _ask(path, "-version")
    found = _VERSION.search(answer or "")
    if found is None:
        raise HostError(f"{path} does not tell its version; is it qemu?", _hint(arch))
    version = (int(found[2]), int(found[3]))
    if version < arch.qemu.minimum:
        minimum = ".".join(map(str, arch.qemu.minimum))
        raise HostError(
            f"{path} is version {found[1]}, {arch.name} needs {minimum} or newer",
            _hint_newer(arch, arch.qemu.minimum),
        )
    return Emulator(
        program=path,
        version=found[1],
        number=version,
        sandbox=sandbox,
        packages=arch.qemu.packages,
    )


def check_kernel(arch: Arch, emulator: Emulator, kernel: str) -> None:
    """Make sure that *emulator* can run this kernel.

    :param kernel: a release, or the name of a package of one; what tells no version passes.
    :raises HostError: a newer qemu is needed.
    """
    said = _KERNEL.search(kernel)
    if said is None:
        return
    version = (int(said[1]), int(said[2]))
    needed = max((q for k, q in arch.qemu.for_kernels if version >= k), default=(0, 0))
    if emulator.number < needed:
        raise HostError(
            f"{emulator.program} is version {emulator.version}, "
            f"{kernel} of {arch.name} needs {needed[0]}.{needed[1]} or newer",
            _hint_newer(arch, needed),
        )


def _hint(arch: Arch) -> str:
    return how_to_install(arch.qemu.packages, arch.qemu.minimum)


def _hint_newer(arch: Arch, minimum: tuple[int, int]) -> str:
    return (
        f"{how_to_install(arch.qemu.packages, minimum)}; "
        f"or name another build by --qemu or {ENVIRONMENT}{arch.name.upper()}"
    )


def _ask(*command: str) -> str | None:
    """The standard output of a *command* that succeeds, None of one that does not."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
    except OSError as error:
        raise HostError(f"cannot run {command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{command[0]} does not answer within {PROBE_TIMEOUT:.0f} s") from error
    return done.stdout[:4096].decode(errors="replace") if done.returncode == 0 else None
