"""How a build was asked for and with what: the head of its log, by which it can be done again.

Nothing here holds a secret: passwords and keys are in files, of which only the names stand
on the command line; what an apt URI may hold of them is left out.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfinstall.version import VERSION

#: What a log begins with.
WITH, AGAIN = "# with: ", "# again: "
#: Environment variables that change what is built, or where.
VARIABLES = ("SOURCE_DATE_EPOCH", "TMPDIR", "XDG_CACHE_HOME")
_OWN = "SELFINSTALL_"
_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+@")


def command_line(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """A line for a shell that does the same again, wherever it is.

    :param words: without the program's name.
    :param folder: where relative names begin.
    """
    settings = [
        f"{name}={shlex.quote(value)}"
        for name, value in sorted(environment.items())
        if name in VARIABLES or name.startswith(_OWN)
    ]
    parts = ["cd", shlex.quote(os.fspath(folder)), "&&", *settings, "selfinstall"]
    return without_passwords(" ".join([*parts, shlex.join(words)]))


def here() -> Path:
    """The folder where relative names begin, ``.`` when it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


def versions(qemu: str) -> str:
    """What does the work: selfinstall, *qemu* as it tells its version, kernel and Python."""
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"selfinstall {VERSION}, qemu {qemu}, {kernel}, Python {platform.python_version()}"


def without_passwords(text: str) -> str:
    """*text* without the user names and passwords of its URIs."""
    return _USERINFO.sub("...@", text)


def head(again: str | None, what: str) -> bytes:
    """The first lines of a log.

    :param again: of :func:`command_line`, None when no command line asked for the build.
    :param what: of :func:`versions`.
    """
    lines = [f"{WITH}{what}", *([] if again is None else [f"{AGAIN}{again}"])]
    # One line each, whatever is in a file's name.
    text = "".join(line.replace("\n", " ") + "\n" for line in lines)
    return text.encode(errors="surrogateescape")
