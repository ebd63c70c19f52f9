"""The one exception tree. Each branch carries the exit status that the command line gives it.

A program that embeds selfinstall tells kinds apart by class; only
:mod:`selfinstall.__main__` turns them into exit statuses.  ``UserError``
means that another try with the same input gives the same result;
``HostError`` and ``GuestHung`` can pass when the machine is repaired or
less loaded.
"""

from __future__ import annotations

from pathlib import Path


class SelfinstallError(Exception):
    """Base of everything that selfinstall raises on purpose.

    :param message: one line that names the cause.
    :param hint: one line that names the way out, or None.
    """

    exit_status = 5

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from args; keep hint and attributes across pickling.
        return (self.__class__.__new__, (self.__class__,), {**self.__dict__, "args": self.args})


class UsageError(SelfinstallError):
    """Options that do not fit together or have impossible values."""

    exit_status = 2


class InputError(SelfinstallError):
    """A tarball, package, key, hook script or image that cannot be used."""

    exit_status = 3


class HostError(SelfinstallError):
    """The host lacks something: a program, firmware, disk space, a reachable mirror."""

    exit_status = 4


class GuestFailed(SelfinstallError):
    """The guest said that a step failed, or stopped without a verdict.

    :param hook: the hook that failed, None when the guest died outside one.
    :param last_words: the last lines of the console.
    :param log: the console's log file, None when it was not kept.
    :param versions: of what did the work, for people; None when nobody told.
    """

    exit_status = 5

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        hook: str | None = None,
        last_words: tuple[str, ...] = (),
        log: Path | None = None,
        versions: str | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.hook = hook
        self.last_words = last_words
        self.log = log
        self.versions = versions


class GuestHung(GuestFailed):
    """Neither events nor console nor disk moved for the stall limit."""

    exit_status = 6


class BootFailed(GuestFailed):
    """An image was built and does not boot by itself."""

    exit_status = 7


class Interrupted(SelfinstallError):
    """A signal asked for the end; everything was cleaned up first.

    :param signum: the signal's number (2 for SIGINT, 15 for SIGTERM).
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum
        self.exit_status = 128 + signum
