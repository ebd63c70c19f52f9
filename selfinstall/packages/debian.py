"""Where a Debian suite's packages come from: the mirrors that the host's own apt uses for Debian.

Pure but for :func:`host_files`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from selfinstall.errors import InputError
from selfinstall.packages import sources
from selfinstall.packages.sources import Source

#: The package debian-archive-keyring has it under this name since Debian 6.
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
#: Suites that go on moving have neither updates nor security fixes of their own.
MOVING = frozenset(("sid", "unstable", "experimental", "rc-buggy"))
HOST_SOURCES = Path("/etc/apt")
#: Names that other machines understand too.
_NETWORK = re.compile(r"https?://[!-~]+")
_SUITE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Mirrors:
    """URIs of Debian's main archive and of its security archive, None for one not known."""

    main: str | None
    security: str | None


def host_files() -> tuple[tuple[str, str], ...]:
    """The host's source files that this user may read, as (path, text)."""
    parts = (HOST_SOURCES / "sources.list.d").glob("*")
    paths = [HOST_SOURCES / "sources.list", *sorted(parts)]
    found: list[tuple[str, str]] = []
    for path in paths:
        if path.suffix in (".list", ".sources"):
            with contextlib.suppress(OSError):
                found.append((str(path), path.read_text("utf-8", "replace")))
    return tuple(found)


def mirrors(files: Iterable[tuple[str, str]]) -> Mirrors:
    """The mirrors that a host with these source *files* uses for Debian.

    A host of another distribution, or with sources that only it understands, tells none.
    """
    found: list[Source] = []
    for path, text in files:
        # Files that apt would complain about are the host's affair.
        with contextlib.suppress(InputError):
            found += sources.parse(path, text)
    main, security = (
        [s for s in found if _is_debians(s) and (_pocket(s) == "security") == wanted]
        for wanted in (False, True)
    )
    return Mirrors(
        main=next((s.uris[0] for s in main if _pocket(s) is None), None),
        security=next((s.uris[0] for s in security), None),
    )


def _is_debians(source: Source) -> bool:
    """Whether this looks like Debian's archive; its signature decides in the end."""
    if "main" not in source.components or not _NETWORK.fullmatch(source.uris[0]):
        return False
    if source.signed_by:
        return any("/debian-archive-" in word for word in source.signed_by)
    return re.search(r"/debian(-security)?/?$", source.uris[0]) is not None


def _pocket(source: Source) -> str | None:
    """Which pocket *source* is of, None when it has a suite's main part."""
    matches = [sources.POCKET.fullmatch(suite) for suite in source.suites]
    return None if None in matches else next(match[2] for match in matches if match)


def suite_sources(suite: str, used: Mirrors, *, mirror: str | None, keyring: str) -> str:
    """apt's sources for *suite*, deb822 format.

    :param mirror: the user's, which then is all there is.
    :param keyring: the path of the keyring in the image.
    :raises InputError: what cannot be a suite's name, or no mirror is known.
    """
    if not _SUITE.fullmatch(suite):
        raise InputError(f"{suite!r} is no suite's name", "such as trixie, stable or sid")
    main = mirror or used.main
    if main is None:
        raise InputError(
            "the host's apt has no mirror of Debian", "name one with --mirror URI or --sources FILE"
        )
    stanzas: list[tuple[str, tuple[str, ...]]]
    if mirror is not None or suite in MOVING:
        stanzas = [(main, (suite,))]
    else:
        stanzas = [(main, (suite, f"{suite}-updates"))]
        if used.security is not None:
            stanzas.append((used.security, (f"{suite}-security",)))
    return sources.render(
        Source(
            origin="--suite", uris=(uri,), suites=suites, components=("main",), signed_by=(keyring,)
        )
        for uri, suites in stanzas
    )
