"""The host's apt: is it there, how does it reach mirrors, and running it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from selfinstall.errors import HostError
from selfinstall.host import bound
from selfinstall.packages import proxy as proxies

#: Settings of the host's that say how to reach mirrors are taken over, not these: what
#: to download besides, in which language, and how little to trust.
_NOT_TAKEN = re.compile(
    r"Acquire::(IndexTargets|Languages|Changelogs|GzipIndexes|AllowInsecureRepositories"
    r"|AllowWeakRepositories|AllowDowngradeToInsecureRepositories|AllowUnsizedPackages"
    r"|AllowTLS|Source-Symlinks|cdrom)\b.*",
    re.IGNORECASE,
)
_SETTING = re.compile(r'(Acquire(?:::[^\s";{}]*)+) "([^"]*)";')


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """What a program left: its exit status and what it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr


def acquire_settings(dump: str, proxy: str | None = None) -> str:
    """Of ``apt-config dump``, the settings on how to reach mirrors.

    :param proxy: replaces the host's proxies.
    """
    lines = [
        line
        for line in dump.splitlines()
        if _SETTING.fullmatch(line)
        and not _NOT_TAKEN.fullmatch(line)
        and (proxy is None or not proxies.is_setting(line))
    ]
    return "".join(f"{line}\n" for line in lines) + (proxies.settings(proxy) if proxy else "")


def dump() -> str:
    """All settings of the host's apt; none where there is no apt."""
    if shutil.which("apt-config") is None:
        return ""
    return run(["apt-config", "dump"], Path("/"), os.environ).stdout


def image_proxy(chosen: str, proxy: str | None) -> str:
    """Apt's settings for an image.

    :param chosen: a proxy's URI, or :data:`proxies.HOST`.
    :param proxy: the one that the build was told to use.
    """
    uri = proxy if chosen == proxies.HOST else chosen
    if uri is not None:
        return proxies.image_settings((("Acquire::http::Proxy", uri),))
    return proxies.image_settings(proxies.of_host(dump(), os.environ, _detected))


def _detected(program: str) -> str:
    """The proxy that the host's *program* finds; empty for none.  apt(8) runs it as well."""
    try:
        lines = run([program], Path("/"), os.environ).stdout.splitlines()
    except OSError:
        # apt goes on without it, too.
        return ""
    return lines[0].strip() if lines else ""


def require_programs(*, verify: bool) -> None:
    """:class:`HostError` unless the host has apt and, to *verify* signatures, a verifier."""
    for program in ("apt-get", "apt-cache", "apt-config"):
        if shutil.which(program) is None:
            raise HostError(f"this host has no {program}", "install the package apt")
    # apt verifies with sqv from 3.0 on, with gpgv before.
    if verify and not (shutil.which("gpgv") or shutil.which("sqv")):
        raise HostError("this host has no gpgv", "install the package gpgv")


def native_architecture() -> str:
    """The host's own architecture, as its apt knows it.

    :raises HostError: when it has no apt.
    """
    require_programs(verify=False)
    argv = ["apt-config", "shell", "A", "APT::Architecture"]
    words = shlex.split(run(argv, Path("/"), os.environ).stdout)
    return words[0].partition("=")[2] if words else ""


def password_files() -> tuple[Path | None, tuple[Path, ...]]:
    """The host's auth.conf and the files of its auth.conf.d, those that this user may read."""
    argv = ["apt-config", "shell", "F", "Dir::Etc::netrc/f", "D", "Dir::Etc::netrcparts/d"]
    words = shlex.split(run(argv, Path("/"), os.environ).stdout)
    paths = dict(word.partition("=")[::2] for word in words)
    file = Path(paths.get("F") or "/nonexistent")
    folder = Path(paths.get("D") or "/nonexistent")
    parts = sorted(folder.glob("*.conf")) if os.access(folder, os.R_OK | os.X_OK) else []
    return (
        file if os.access(file, os.R_OK) else None,
        tuple(path for path in parts if os.access(path, os.R_OK)),
    )


@contextlib.contextmanager
def started(
    argv: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    output: int | IO[bytes] = subprocess.PIPE,
    errors: int | IO[bytes] = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """*argv* running in *folder* without input; whatever is left of it at the end is killed."""
    with subprocess.Popen(
        # apt's helpers end when nobody speaks to them any more.
        bound(argv),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        pass_fds=pass_fds,
        # apt has helpers; a group of their own lets them be killed with it.
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def run(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Output:
    """Run *argv* in *folder* without input; whatever its exit status."""
    with started(argv, folder, environment) as process:
        stdout, stderr = process.communicate()
    return Output(
        process.returncode,
        stdout.decode("utf-8", "replace"),
        stderr.decode("utf-8", "replace"),
    )
