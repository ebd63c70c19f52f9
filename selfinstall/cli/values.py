"""Option values: from text to what a :class:`selfinstall.request.Request` holds.  Pure.

Each function takes the text after an option and raises
:class:`argparse.ArgumentTypeError` with a message that quotes it.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from selfinstall import arch
from selfinstall.errors import UsageError
from selfinstall.packages import proxy as proxies
from selfinstall.qemu.argv import Forward, Share

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d{1,18})([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
#: ext4 with 4 KiB blocks and 32-bit tools of the field agree up to here.
MAXIMUM_SIZE = 16 << 40
#: More than any emulated machine takes; guards against a number of bytes given as MiB.
MAXIMUM_MEMORY = 4 << 20
#: HOST_NAME_MAX of Linux.
MAXIMUM_HOSTNAME = 64
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
#: What adduser takes (NAME_REGEX) within the 32 bytes of utmp.
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
#: Debian Policy 5.6.1; a last ``-`` would ask apt for removal.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]")
_INCLUDE = re.compile(
    rf"{_PACKAGE.pattern}(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+~:-]+|/[A-Za-z0-9][A-Za-z0-9.-]*)?"
)
_FORWARD = re.compile(r"([0-9]{1,5})?:([0-9]{1,5})")
#: What needs no quoting in a mount command; 31 bytes are qemu's bound (MAX_TAG_LEN).
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}"
_SHARE = re.compile(rf"(.+?)(?::(?!ro$)({_TAG}))?(:ro)?", re.DOTALL)
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{1,30}")
_SUITE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([^\n\0]*)")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+")

Convert = Callable[[str], object]


def _bad(text: str, wanted: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text!r} is not {wanted}")


def _bytes(text: str, wanted: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise _bad(text, wanted)
    return int(match[1]) * _UNITS[match[2].upper()]


def size(text: str) -> int:
    """``10G``, ``512M`` or a number of bytes, in bytes; units are powers of 1024."""
    wanted = "a size such as 10G, 512M or a number of bytes"
    value = _bytes(text, wanted)
    if not 0 < value <= MAXIMUM_SIZE:
        raise _bad(text, f"{wanted}, more than 0 and at most {MAXIMUM_SIZE >> 40}T")
    return value


def size_or_none(text: str) -> int:
    """The same, or ``none``, which is 0."""
    return 0 if text in ("none", "0") else size(text)


def memory(text: str) -> int:
    """``1024`` (MiB), ``1G`` or ``768M``, in MiB."""
    wanted = "an amount of memory such as 1G or a number of MiB"
    value = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else _bytes(text, wanted) >> 20
    if not 0 < value <= MAXIMUM_MEMORY:
        raise _bad(text, wanted)
    return value


def count(text: str) -> int:
    """A number of CPUs."""
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 0 < int(text) < 256:
        raise _bad(text, "a number from 1 to 255")
    return int(text)


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        raise _bad(text, "a number of seconds") from None
    if not (math.isfinite(value) and value > 0):
        raise _bad(text, "a positive number of seconds")
    return value


def epoch(text: str) -> int:
    """Seconds since 1970, as in SOURCE_DATE_EPOCH."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _bad(text, "a number of seconds since 1970")
    return int(text)


def path(text: str) -> Path:
    """A file's path."""
    if not text or "\0" in text:
        raise _bad(text, "a path")
    return Path(text)


def word(text: str) -> str:
    """Text that is not empty."""
    if not text.strip():
        raise _bad(text, "a value")
    return text


def hostname(text: str) -> str:
    """A host name by RFC 1123: letters, digits and inner hyphens, labels of at most 63."""
    if len(text) > MAXIMUM_HOSTNAME or not _HOSTNAME.fullmatch(text):
        raise _bad(text, "a host name (letters, digits, inner hyphens; at most 64 characters)")
    return text


def user(text: str) -> str:
    """The name of an ordinary user."""
    if text == "root" or not _USER.fullmatch(text):
        raise _bad(text, "the name of an ordinary user (a-z, 0-9, _ and -; at most 32 characters)")
    return text


def package(text: str) -> str:
    """A package's name."""
    if not _PACKAGE.fullmatch(text):
        raise _bad(text, "the name of a package")
    return text


def suite(text: str) -> str:
    """A suite's name."""
    if not _SUITE.fullmatch(text):
        raise _bad(text, "the name of a suite, such as trixie, stable or sid")
    return text


def packages(text: str) -> tuple[str, ...]:
    """Package names between commas; ``:ARCH``, ``=VERSION`` and ``/SUITE`` as apt reads them."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not _INCLUDE.fullmatch(name):
            raise _bad(name, "the name of a package")
    if not names:
        raise _bad(text, "a list of packages")
    return names


def profiles(text: str) -> tuple[str, ...]:
    """Names or paths of profiles between commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or "\0" in text:
        raise _bad(text, "a list of profiles")
    return names


def uri(text: str) -> str:
    """An apt URI: a scheme, a colon, and no blanks."""
    if not _URI.fullmatch(text):
        raise _bad(text, "a URI such as http://mirror.example.org/debian")
    return text


def assignment(text: str) -> tuple[str, str]:
    """A variable's name and value, as ``NAME=VALUE``."""
    match = _ASSIGNMENT.fullmatch(text)
    if match is None:
        raise _bad(text, "a variable's name and value, as NAME=VALUE in one line")
    return match[1], match[2]


def proxy(text: str) -> str:
    """A proxy's URI, or ``DIRECT``."""
    try:
        return proxies.checked(text)
    except UsageError as error:
        raise _bad(text, f"a proxy's URI, {error.hint}") from None


def proxy_or_host(text: str) -> str:
    """A proxy's URI, or ``host``."""
    return text if text == proxies.HOST else proxy(text)


def architecture_name(text: str) -> str:
    """What may be a Debian architecture's name; the tarball has the last word."""
    if not _ARCHITECTURE.fullmatch(text):
        raise _bad(text, "the name of an architecture")
    return text


def architecture(text: str) -> str:
    """The Debian name of an architecture that selfinstall knows.

    :raises selfinstall.errors.UsageError: when it knows none of that name.
    """
    return arch.get(text).name


def forward(text: str) -> Forward:
    """Ports as ``HOST:GUEST``, each 1 to 65535; without HOST, one that is free."""
    match = _FORWARD.fullmatch(text)
    ports = [int(port) for port in match.groups() if port] if match else []
    if match is None or not all(0 < port < 1 << 16 for port in ports):
        raise _bad(text, "two ports such as 2222:22, or :22 for a free port of the host")
    return Forward(host=int(match[1] or 0), guest=int(match[2]))


def share(text: str) -> Share:
    """A folder as ``FOLDER``, ``FOLDER:TAG``, and with ``:ro`` behind it for one that is only read.

    A folder whose name ends like that needs a tag of its own.
    """
    match = _SHARE.fullmatch(path(text).__fspath__())
    if match is None:
        raise _bad(text, "a folder such as /srv/data, or FOLDER:TAG, or FOLDER:TAG:ro")
    return Share(path=Path(match[1]), tag=match[2] or "", read_only=match[3] is not None)


def choice(*names: str) -> Convert:
    """One of *names*."""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(names)}")
        return text

    return convert
