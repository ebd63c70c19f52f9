"""Apt's source files: parsed, narrowed to what fits, and written again.  Pure.

Both formats of sources.list(5) are read; what is written is always deb822,
where paths with spaces and several values need no quoting.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from debian.deb822 import Deb822

from selfinstall.errors import InputError
from selfinstall.rootfs.source import shown

#: More than any real machine has; a bound on what a tarball may claim.
MAXIMUM_BYTES = 1 << 20
MAXIMUM_SOURCES = 1000
#: Options of sources.list(5) that say how far a source is trusted or how it is read.
#: Targets, languages and the like are ours to choose, so they are left out.
KEPT_OPTIONS = (
    "Trusted",
    "By-Hash",
    "InRelease-Path",
    "Snapshot",
    "Check-Valid-Until",
    "Valid-Until-Min",
    "Valid-Until-Max",
    "Check-Date",
    "Date-Max-Future",
    "Allow-Insecure",
    "Allow-Weak",
    "Allow-Downgrade-To-Insecure",
)
#: Those of them that make apt take what is not signed as it should be.
UNSIGNED_OPTIONS = frozenset(
    {"Trusted", "Allow-Insecure", "Allow-Weak", "Allow-Downgrade-To-Insecure"}
)
#: Those that, when they say no, let a mirror hand out an old state for ever.
DATE_OPTIONS = frozenset({"Check-Valid-Until", "Check-Date"})
_NO = frozenset({"no", "false", "without", "off", "disable", "0"})
#: URI schemes that name files of the machine that the sources were written for.
LOCAL_SCHEMES = frozenset({"cdrom", "copy", "file", "mirror+copy", "mirror+file"})
#: What a tarball's sources may name; others run programs of this machine (ssh) or read its files.
NETWORK_SCHEMES = frozenset(
    f"{through}{scheme}" for through in ("", "mirror+", "tor+") for scheme in ("http", "https")
) | {"ftp", "mirror"}
#: A suite's pockets: what ``--mirror`` (an archive's main part) does not hold.
POCKET = re.compile(
    r".*([-/])(security|updates|backports(-sloppy)?|proposed-updates|proposed|debug)(/.*)?"
)
ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_ONE_LINE = re.compile(r"(deb|deb-src)(?:\s+\[([^\]]*)\])?\s+(\S.*)")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Binary packages of one or more suites at one or more URIs.

    :param origin: the file that it stood in, for messages.
    :param uris: where.
    :param suites: suites, or paths with a trailing slash.
    :param components: empty exactly when the suites are paths.
    :param architectures: the architectures that it is limited to, empty for no limit.
    :param signed_by: keyring paths or fingerprints; empty for apt's trusted keys.
    :param key_block: an armoured key that stood in the source itself.
    :param options: further options that are kept, by their deb822 names.
    """

    origin: str
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    signed_by: tuple[str, ...] = ()
    key_block: str | None = None
    options: tuple[tuple[str, str], ...] = ()


def parse(path: str, text: str) -> tuple[Source, ...]:
    """The enabled binary sources in the source file *path*.

    :param path: tells deb822 from one-line format by its ``.sources`` suffix; a file
        without either suffix is deb822 when its first field says so.
    :raises InputError: for lines that are neither.
    """
    if len(text) > MAXIMUM_BYTES:
        raise InputError(f"{path}: too big for a list of apt sources")
    found = tuple(_deb822(path, text) if _is_deb822(path, text) else _one_line(path, text))
    if len(found) > MAXIMUM_SOURCES:
        raise InputError(f"{path}: more than {MAXIMUM_SOURCES} sources")
    return found


def _is_deb822(path: str, text: str) -> bool:
    if path.endswith((".sources", ".list")):
        return path.endswith(".sources")
    return re.search(r"^[ \t]*(deb|deb-src)\s", text, re.MULTILINE) is None and ":" in text


def _one_line(path: str, text: str) -> Iterator[Source]:
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        match = _ONE_LINE.fullmatch(line)
        words = match[3].split() if match else []
        if match is None or len(words) < 2:
            raise InputError(f"{path}, line {number}: not an apt source: {line[:120]!r}")
        if match[1] == "deb":
            fields = _bracket_options(match[2] or "")
            yield _source(
                f"{path}, line {number}", [words[0]], [words[1]], words[2:], fields, Deb822()
            )


def _bracket_options(text: str) -> dict[str, str]:
    """``arch=a,b signed-by=/k`` with deb822's names and separators."""
    names = {"arch": "architectures"}
    fields: dict[str, str] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        fields[names.get(name.lower(), name.lower())] = value.replace(",", " ")
    return fields


def _deb822(path: str, text: str) -> Iterator[Source]:
    for number, stanza in enumerate(paragraphs(text), 1):
        origin = f"{path}, stanza {number}"
        fields = {str(name).lower(): str(value).strip() for name, value in stanza.items()}
        if fields.get("enabled", "yes").lower() in _NO:
            continue
        types = fields.get("types", "").split()
        uris, suites = fields.get("uris", "").split(), fields.get("suites", "").split()
        if not (types and uris and suites):
            raise InputError(f"{origin}: not an apt source, for it lacks Types, URIs or Suites")
        if "deb" in types:
            components = fields.get("components", "").split()
            yield _source(origin, uris, suites, components, fields, stanza)


def paragraphs(text: str) -> Iterator[Deb822]:
    """The non-empty paragraphs of deb822 *text*, comments dropped."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in Deb822.iter_paragraphs(lines, use_apt_pkg=False):
        if paragraph:
            yield paragraph


def _source(
    origin: str,
    uris: list[str],
    suites: list[str],
    components: list[str],
    fields: dict[str, str],
    stanza: Deb822,
) -> Source:
    flat = [suite.endswith("/") for suite in suites]
    if any(flat) == bool(components) or any(flat) != all(flat):
        raise InputError(
            f"{origin}: a suite needs components, and a path (with trailing slash) has none"
        )
    signed_by = fields.get("signed-by", "")
    embedded = ARMOUR in signed_by
    return Source(
        origin=origin,
        uris=tuple(uris),
        suites=tuple(suites),
        components=tuple(components),
        architectures=tuple(fields.get("architectures", "").split()),
        signed_by=() if embedded else tuple(signed_by.split()),
        key_block=signed_by if embedded else None,
        options=tuple(
            (name, fields[name.lower()]) for name in KEPT_OPTIONS if fields.get(name.lower())
        ),
    )


def usable(
    sources: Iterable[Source], architectures: tuple[str, ...], *, local: bool
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """Those of *sources* that can be read from here, and a sentence on each that cannot.

    :param architectures: of the target, its own first.
    :param local: whether sources on this machine's file system are meant (the user wrote them).
    """
    kept: list[Source] = []
    dropped: list[str] = []
    for source in sources:
        uris = tuple(uri for uri in source.uris if _reachable(uri, local=local))
        if not uris:
            first = source.uris[0]
            why = "a tarball can name mirrors by http, https and ftp only; use --sources"
            if _scheme(first) in LOCAL_SCHEMES:
                why = "it is not on a network"
            dropped.append(f"{source.origin}: {shown(first)} is not used: {why}")
            continue
        wanted = source.architectures
        if wanted and architectures[0] not in wanted:
            dropped.append(f"{source.origin}: not used: it is only for {', '.join(wanted)}")
            continue
        mine = tuple(name for name in architectures if not wanted or name in wanted)
        kept.append(dataclasses.replace(source, uris=uris, architectures=mine))
    return tuple(kept), tuple(dropped)


def _reachable(uri: str, *, local: bool) -> bool:
    return _scheme(uri) != "cdrom" if local else _scheme(uri) in NETWORK_SCHEMES


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].lower()


def verified(
    sources: Iterable[Source], *, allow_unsigned: bool
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """*sources* such that apt takes from them only what is signed, and a sentence on each change.

    :param allow_unsigned: such that it takes anything.
    """
    kept: list[Source] = []
    told: list[str] = []
    for source in sources:
        options = tuple(o for o in source.options if o[0] not in UNSIGNED_OPTIONS)
        if allow_unsigned:
            options += (("Trusted", "yes"),)
        else:
            told += [
                f"{source.origin}: {name}={shown(value)} is not heeded without --allow-unsigned"
                for name, value in source.options
                if name in UNSIGNED_OPTIONS and value.lower() not in _NO
            ]
        told += [
            f"{source.origin}: {name}={value}, so that old packages pass for new ones"
            for name, value in source.options
            if name in DATE_OPTIONS and value.lower() in _NO
        ]
        kept.append(dataclasses.replace(source, options=options))
    return tuple(kept), tuple(told)


def with_mirror(
    sources: Iterable[Source], mirror: str, suite: str | None, architectures: tuple[str, ...]
) -> tuple[Source, ...]:
    """The main suite of *sources*, from *mirror* instead.

    Security and update pockets, and other people's archives, are not on a
    mirror of the main archive, so they are left out.

    :raises InputError: when there is no such source and *suite* is unknown.
    """
    main = [
        dataclasses.replace(source, uris=(mirror,), suites=suites)
        for source in sources
        if "main" in source.components
        and (suites := tuple(s for s in source.suites if not POCKET.fullmatch(s)))
    ]
    named = [source for source in main if suite in source.suites]
    kept = {(s.suites, s.components): s for s in reversed(named or main)}
    if kept:
        return tuple(reversed(kept.values()))
    if suite is None:
        raise InputError(
            "the tarball names neither its suite nor apt sources",
            "give sources with --sources FILE, or packages with --packages DIR",
        )
    return (
        Source(
            origin="--mirror",
            uris=(mirror,),
            suites=(suite,),
            components=("main",),
            architectures=architectures,
        ),
    )


def render(sources: Iterable[Source]) -> str:
    """*sources* as one deb822 file; keyrings must have become paths by now."""
    stanzas = []
    for source in sources:
        fields = [
            ("Types", "deb"),
            ("URIs", " ".join(source.uris)),
            ("Suites", " ".join(source.suites)),
            ("Components", " ".join(source.components)),
            ("Architectures", " ".join(source.architectures)),
            ("Signed-By", " ".join(source.signed_by)),
            *source.options,
        ]
        stanzas.append("".join(f"{name}: {value}\n" for name, value in fields if value))
    return "\n".join(stanzas)
