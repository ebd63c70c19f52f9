"""apt's source files, as far as inspection needs them.  Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from selfinstall.rootfs.dpkg import paragraphs

_FIELDS = frozenset(("types", "suites", "components", "signed-by", "enabled"))
#: Suites beside the one that a system is installed from.
_ASIDE = re.compile(r"(?:-(?:security|updates|backports(?:-sloppy)?|proposed-updates)|/updates)+$")
_LONGEST_SUITE = 200
_NO = frozenset(("no", "false", "without", "off", "disable", "0"))


@dataclasses.dataclass(frozen=True, slots=True)
class AptSource:
    """One source of binary packages: its suites, components and what Signed-By names."""

    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: tuple[str, ...]


def parse(path: str, text: str) -> Iterator[AptSource]:
    """The enabled sources of binary packages in one source file (sources.list(5))."""
    if path.endswith(".sources"):
        yield from _deb822(text)
        return
    for line in text.splitlines():
        source = _one_line(line.partition("#")[0].strip())
        if source is not None:
            yield source


def _one_line(line: str) -> AptSource | None:
    """``deb [option=value …] URI SUITE COMPONENT…``"""
    kind, _, rest = line.replace("\t", " ").partition(" ")
    rest = rest.lstrip()
    options = ""
    if rest.startswith("["):
        options, _, rest = rest[1:].partition("]")
    words = rest.split()
    if kind != "deb" or len(words) < 2:
        return None
    keys = [word[10:] for word in options.split() if word.lower().startswith("signed-by=")]
    return AptSource((words[1],), tuple(words[2:]), tuple(",".join(keys).split(",")))


def _deb822(text: str) -> Iterator[AptSource]:
    for fields in paragraphs(text.encode(errors="replace"), _FIELDS):
        types = fields.get("types", "").split()
        if "deb" not in types or fields.get("enabled", "yes").lower() in _NO:
            continue
        yield AptSource(
            tuple(fields.get("suites", "").split()),
            tuple(fields.get("components", "").split()),
            tuple(fields.get("signed-by", "").replace(",", " ").split()),
        )


def signed_by(sources: Iterable[AptSource]) -> tuple[str, ...]:
    """The keyrings that *sources* name, without leading slash, each once.

    What is no path is a fingerprint, or a part of a key in the source file itself.
    """
    keys = [key for source in sources for key in source.signed_by if key.startswith("/")]
    return tuple(dict.fromkeys(key.lstrip("/") for key in keys))


def main_suite(sources: Iterable[AptSource]) -> str | None:
    """The suite that a system with such *sources* is of, None when they do not tell."""
    # In a name of any length, to look for the end of a suite's name takes its time.
    suites = [
        suite
        for s in sources
        if "main" in s.components
        for suite in s.suites
        if len(suite) <= _LONGEST_SUITE
    ]
    plain = [suite for suite in suites if not _ASIDE.search(suite)]
    best = next(iter(plain or suites), None)
    return None if best is None else _ASIDE.sub("", best)
