"""The command line from end to end: words in, exit status out, errors as lines."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from selfinstall.cli import help
from selfinstall.cli.parser import Command, parse
from selfinstall.cli.signals import interruptible
from selfinstall.cli.streams import OutputClosed, printable, put
from selfinstall.errors import GuestFailed, HostError, Interrupted, SelfinstallError
from selfinstall.host import NO_ROOM
from selfinstall.invocation import command_line, here
from selfinstall.version import VERSION

#: EX_SOFTWARE of sysexits.h.
BUG = 70
#: What a shell reports of a program that SIGPIPE ended.
NOBODY_READS = 141
#: Conditions of the host that may surface anywhere: full disks, worn disks, limits.
_HOST_ERRNO = frozenset(
    {
        *NO_ROOM,
        errno.EROFS,
        errno.EIO,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
    }
)


def _tell(*lines: str) -> None:
    # Where nobody hears, the exit status speaks alone.
    with contextlib.suppress(OutputClosed, OSError):
        for line in lines:
            put(sys.stderr, line)


def _report(error: SelfinstallError, words: Sequence[str] = ()) -> int:
    """Print *error* of the command line *words* as lines; its exit status."""
    lines = [f"selfinstall: error: {printable(error.message)}"]
    if isinstance(error, GuestFailed):
        lines += [f"    {printable(line)}" for line in error.last_words]
        if error.log is not None:
            lines.append(f"selfinstall: log: {printable(str(error.log))}")
        if error.versions is not None and words:
            again = command_line(words, here(), os.environ)
            lines.append(f"selfinstall: again: {printable(again)}")
            lines.append(f"selfinstall: with: {printable(error.versions)}")
    if error.hint:
        lines.append(f"selfinstall: hint: {printable(error.hint)}")
    _tell(*lines)
    return error.exit_status


def _as_host_error(error: OSError | MemoryError) -> HostError | None:
    """*error* as the host's fault, None when it is more likely ours."""
    if isinstance(error, MemoryError):
        return HostError("the host has not enough memory")
    if error.errno not in _HOST_ERRNO:
        return None
    where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
    hint = None
    if error.errno in NO_ROOM:
        hint = "free some space, or name other file systems by -o, --cache and TMPDIR"
    return HostError(f"{error.strerror}{where}", hint)


def _report_bug(error: BaseException, *, trace: bool) -> int:
    if trace:
        _tell("".join(traceback.format_exception(error)).rstrip())
    _tell(f"selfinstall: error: internal error: {printable(repr(error))}; this is a bug")
    if not trace:
        _tell("selfinstall: hint: -v -v or SELFINSTALL_DEBUG=1 shows where it happened")
    return BUG


def _perform(command: Command) -> int:
    from selfinstall.cli import verbs

    return verbs.VERBS[command.verb.name](command)


def _guarded(read: Callable[[], Command], perform: Callable[[Command], int]) -> int:
    trace = os.environ.get("SELFINSTALL_DEBUG", "") not in ("", "0")
    words: tuple[str, ...] = ()
    try:
        command = read()
        words = command.words
        trace = trace or command.get("verbose", 0) > 1
        if command.get("help"):
            put(sys.stdout, help.text(command.verb))
            return 0
        if command.get("version"):
            put(sys.stdout, f"selfinstall {VERSION}")
            return 0
        return perform(command)
    except SelfinstallError as error:
        return _report(error, words)
    except OutputClosed:
        return NOBODY_READS
    except KeyboardInterrupt:
        return _report(Interrupted(2))
    except (OSError, MemoryError) as error:
        host = _as_host_error(error)
        return _report(host) if host is not None else _report_bug(error, trace=trace)
    except ModuleNotFoundError as error:
        if (error.name or "selfinstall").partition(".")[0] == "selfinstall":
            return _report_bug(error, trace=trace)
        missing = f"the Python module {error.name} is not installed"
        return _report(HostError(missing, "selfinstall doctor tells how to install it"))
    except Exception as error:  # noqa: BLE001  # the one place where every fault ends as a line
        return _report_bug(error, trace=trace)


def run(arguments: Sequence[str]) -> int:
    """Do what *arguments* (without the program's name) say; the exit status."""
    return guarded(lambda: parse(arguments), _perform)


def guarded(read: Callable[[], Command], perform: Callable[[Command], int]) -> int:
    """Perform the command that is read; whatever goes wrong becomes lines and an exit status."""
    try:
        with interruptible():
            return _guarded(read, perform)
    except Interrupted as error:
        # The signal came while an error was being told.
        return error.exit_status
