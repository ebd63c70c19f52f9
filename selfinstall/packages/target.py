"""What the target and the user say about packages."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from selfinstall.errors import InputError
from selfinstall.packages import sources
from selfinstall.packages.sources import Source
from selfinstall.rootfs.dpkg import paragraphs
from selfinstall.rootfs.facts import HeldDeb
from selfinstall.rootfs.source import shown

#: More than any sources file or keyring has.
MAXIMUM_BYTES = 16 << 20
#: dpkg knows some 500 tuples; a system has two or three.
MAXIMUM_ARCHITECTURES = 64
#: Debian policy 5.6.8 by way of dpkg's own check.
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_STATUS_FIELDS = frozenset(("status", "architecture"))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AptInput:
    """What the target and the user say about packages.

    :param architecture: the target's.
    :param foreign: architectures that wanted packages have beside that.
    :param dpkg_status: the tarball's ``/var/lib/dpkg/status``.
    :param sources: the tarball's source files, as (path, text).
    :param keyrings: the tarball's OpenPGP keyrings, as (path, bytes).
    :param suite: the tarball's suite, None when it does not say.
    :param mirror: an apt URI that replaces those of the sources.
    :param sources_file: replaces the tarball's sources.
    :param keyring: replaces the tarball's keyrings.
    :param packages_dir: a directory of .debs that replaces all sources.
    :param held: .debs that the tarball holds, known to apt beside all others.
    :param proxy: what http and https go through in place of the host's proxies.
    :param allow_unsigned: whether sources without a good signature are taken.
    :param offline: whether *held* is all there is, so that no source is asked.
    """

    architecture: str
    dpkg_status: bytes
    sources: tuple[tuple[str, str], ...] = ()
    keyrings: tuple[tuple[str, bytes], ...] = ()
    suite: str | None = None
    mirror: str | None = None
    sources_file: Path | None = None
    keyring: Path | None = None
    packages_dir: Path | None = None
    foreign: tuple[str, ...] = ()
    held: tuple[HeldDeb, ...] = ()
    proxy: str | None = None
    offline: bool = False
    allow_unsigned: bool = False


def architectures(native: str, status: bytes, foreign: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The target's architectures, *native* first, then those of other packages in its *status*.

    The names end up in apt's configuration, where more than a name could run programs.

    :raises InputError: for what is no architecture's name, or too many of them.
    """
    found = dict.fromkeys((native, *foreign))
    for fields in paragraphs(status, _STATUS_FIELDS):
        state = fields.get("status", "").split()
        name = fields.get("architecture", "")
        if len(state) != 3 or state[2] in ("not-installed", "config-files") or name in ("", "all"):
            continue
        found[name] = None
        if not _ARCHITECTURE.fullmatch(name) or len(found) > MAXIMUM_ARCHITECTURES:
            raise InputError(
                "the dpkg database names an architecture that is none, or too many of them: "
                f"{shown(name)}"
            )
    return tuple(found)


def target_sources(
    inputs: AptInput, architectures: tuple[str, ...]
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """The sources to use, and a sentence on each that is not used.

    :raises InputError: for source files that are none.
    """
    files = inputs.sources
    user = inputs.sources_file
    if user is not None:
        files = ((str(user), read(user).decode("utf-8", "replace")),)
    every = [source for path, text in files for source in sources.parse(path, text)]
    found, dropped = sources.usable(every, architectures, local=user is not None)
    if inputs.mirror is not None:
        found = sources.with_mirror(found, inputs.mirror, inputs.suite, architectures)
        # What is replaced needs no comment.
        dropped = ()
    found, told = sources.verified(found, allow_unsigned=inputs.allow_unsigned)
    return found, (*dropped, *told)


def read(path: Path) -> bytes:
    """The content of a file that the user named; :class:`InputError` when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def readable(path: Path) -> bytes | None:
    """The file's content, None when it is no file or may not be read."""
    if not (path.is_file() and os.access(path, os.R_OK)):
        return None
    return read(path)
