"""What ``selfinstall report`` tells of a failure: enough to look into it, and no secrets."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from selfinstall.arch import all_arches
from selfinstall.cli.doctor import PROGRAMS
from selfinstall.cli.streams import printable
from selfinstall.errors import InputError
from selfinstall.invocation import AGAIN, WITH, without_passwords
from selfinstall.qemu.console import LONGEST_LINE, clean
from selfinstall.version import VERSION

#: Lines of the log that are shown: the first ones, and the last ones.
FIRST, LAST = 40, 200
#: Lines of a log's head: versions, command, the machine's command line, and some to spare.
_HEAD = 8
_SECRETS = (
    # crypt(5)
    (re.compile(r"\$(?:y|gy|7|2[abxy]|6|5|1|sha1)\$[./A-Za-z0-9$=,]{8,}"), "[a password's hash]"),
    (re.compile(r"(?i)\b(pass(?:word|wd|phrase)?|secret|token)([=:]\s*)\S+"), r"\1\2[left out]"),
)
_KEY_BEGIN, _KEY_END = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), "-----END "


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What is told.

    :param again: the command, None when the log does not tell it.
    :param versions: of what did the work then, None likewise.
    :param host: what this host is now, by name.
    :param packages: Debian packages here that builds use, with versions.
    :param log: lines of the log.
    """

    again: str | None
    versions: str | None
    host: dict[str, str]
    packages: tuple[str, ...]
    log: tuple[str, ...]


def make(log: Path) -> Report:
    """Read *log* and look at this host.

    :raises InputError: there is no such log.
    """
    try:
        with log.open("rb") as stream:
            lines = tuple(_shown(_without_secrets(_lines(stream))))
    except OSError as error:
        raise InputError(f"{log} cannot be read: {error.strerror}") from None
    return Report(
        again=_of_head(lines, AGAIN),
        versions=_of_head(lines, WITH),
        host=_host(),
        packages=_packages(),
        log=lines,
    )


def to_text(report: Report) -> str:
    """*report* for people, who should read it before they pass it on."""
    unknown = "the log does not tell"
    return "\n".join(
        (
            "Read this before you send it: scripts of yours may have written to the console what",
            "nobody should see.",
            "",
            f"Command: {report.again or unknown}",
            f"With: {report.versions or unknown}",
            "",
            "This host now:",
            *(f"    {name}: {value}" for name, value in report.host.items()),
            *(f"    {package}" for package in report.packages),
            "",
            "Log:",
            *(f"    {line}" for line in report.log),
        )
    )


def _lines(stream: Iterable[bytes]) -> Iterator[str]:
    for raw in stream:
        for line in clean(raw[: 4 * LONGEST_LINE].decode(errors="replace")).split("\n"):
            if line.strip():
                yield printable(line.rstrip())


def _without_secrets(lines: Iterable[str]) -> Iterator[str]:
    home = os.environ.get("HOME", "")
    own = re.compile(rf"{re.escape(home)}(?![\w.-])") if len(home) > 1 else None
    inside_key = False
    for text in lines:
        if inside_key:
            inside_key = _KEY_END not in text
            continue
        if _KEY_BEGIN.search(text):
            inside_key = True
            yield "[a private key]"
            continue
        line = without_passwords(text)
        for pattern, words in _SECRETS:
            line = pattern.sub(words, line)
        yield own.sub("~", line) if own else line


def _shown(lines: Iterator[str]) -> Iterator[str]:
    """The first and the last of *lines*."""
    for _, line in zip(range(FIRST), lines, strict=False):
        yield line
    rest = 0
    last: deque[str] = deque(maxlen=LAST)
    for line in lines:
        rest += 1
        last.append(line)
    if rest > LAST:
        yield f"[{rest - LAST} lines left out]"
    yield from last


def _of_head(lines: tuple[str, ...], mark: str) -> str | None:
    """What stands behind *mark* before the guest's first word."""
    for line in lines[:_HEAD]:
        if not line.startswith("# "):
            break
        if line.startswith(mark):
            return line.removeprefix(mark)
    return None


def _host() -> dict[str, str]:
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        system = "unknown"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    kvm = "may be opened" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "no"
    return {
        "system": system,
        "kernel": f"{platform.release()} {platform.machine()}",
        "selfinstall": VERSION,
        "python": platform.python_version(),
        "cpus": str(os.cpu_count()),
        "memory": f"{memory} MiB",
        "kvm": kvm,
    }


def _packages() -> tuple[str, ...]:
    """The Debian packages of programs, emulators and firmware, those that are installed."""
    names = {package for _, package, _ in PROGRAMS}
    for arch in all_arches().values():
        names |= {*arch.qemu.packages, *(f.package for f in arch.firmwares if f.package)}
    command = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Package} ${Version}\n"]
    try:
        done = subprocess.run(
            [*command, *sorted(names)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ()
    return tuple(line[3:].strip() for line in done.stdout.splitlines() if line.startswith("ii"))
