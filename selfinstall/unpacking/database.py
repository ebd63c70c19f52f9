"""What dpkg's database says of a package that is unpacked and not configured.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from selfinstall.unpacking.contents import Contents

INFO = "var/lib/dpkg/info"
STATUS = "var/lib/dpkg/status"
TRIGGERS = "var/lib/dpkg/triggers"
#: Fields that describe an archive and not a package; dpkg does not take them over.
_ARCHIVE_FIELDS = ("filename:", "size:", "md5sum:", "msdos-filename:")


def stanza(package: Contents, hashes: Mapping[str, str] | None = None) -> str:
    """The package's paragraph in the status file, with an empty line before and after it.

    :param hashes: of configuration files that are in place, by path; others are yet to be.
    """
    known = hashes or {}
    lines: list[str] = []
    keep = True
    for line in package.text("control").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] not in " \t":
            keep = not line.lower().startswith(_ARCHIVE_FIELDS)
        if keep:
            lines.append(line)
        if line.lower().startswith("package:"):
            lines.append("Status: install ok unpacked")
    if package.conffiles:
        lines.append("Conffiles:")
        lines += [
            f" {path} {known.get(path, 'newconffile')}{f' {flag}' if flag else ''}"
            for path, flag in package.conffiles
        ]
    return "\n" + "\n".join(lines) + "\n\n"


def file_list(package: Contents) -> bytes:
    """The content of ``PACKAGE.list``: in the order of unpacking, symbolic links last."""
    items = sorted(package.items, key=lambda item: item.type == "symlink")
    names = (f"/{item.path or '.'}\n" for item in items)
    return "".join(names).encode("utf-8", "surrogateescape")


def info_names(package: Contents) -> Iterator[tuple[str, str]]:
    """Name in the control member and in ``info`` of each control file that dpkg keeps there."""
    for name in package.control:
        if name not in ("control", "list") and "." not in name:
            yield name, f"{INFO}/{package.qualified}.{name}"


def directives(package: Contents) -> Iterator[tuple[str, str]]:
    """Directive and trigger name of each line in the package's ``triggers`` file."""
    for line in package.text("triggers").splitlines():
        words = line.split()
        if len(words) == 2 and not words[0].startswith("#"):
            yield words[0], words[1]


def interests(package: Contents) -> Iterator[tuple[str, str]]:
    """Trigger name, and the package as lists of interested packages have it."""
    for directive, name in directives(package):
        if directive in ("interest", "interest-await"):
            yield name, package.qualified
        elif directive == "interest-noawait":
            yield name, f"{package.qualified}/noawait"


def triggers(packages: Iterable[Contents], file_interests: Iterable[str]) -> dict[str, str]:
    """Lines to add to the files of ``var/lib/dpkg/triggers``, by their names.

    That a package of the same round may be interested in what another activates makes no
    difference: dpkg passes over what is not configured when it takes up ``Unincorp``.

    :param file_interests: names of all file triggers that any package may be interested in.
    """
    added: dict[str, list[str]] = {}
    activations: dict[str, dict[str, None]] = {}
    watched = frozenset(file_interests)
    for package in packages:
        # What stands twice in a list stops dpkg.
        for name, interested in dict(interests(package)).items():
            if name.startswith("/"):
                added.setdefault("File", []).append(f"{name} {interested}")
            else:
                added.setdefault(name, []).append(interested)
        for name, awaiting in _activations(package, watched):
            activations.setdefault(name, {})[f"{name} {awaiting}"] = None
    # The last first: that is how dpkg reads back what it noted itself.
    unincorporated = [line for lines in reversed(activations.values()) for line in lines]
    if unincorporated:
        added["Unincorp"] = unincorporated
    return {name: "\n".join(lines) + "\n" for name, lines in added.items()}


def _activations(package: Contents, watched: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Trigger name and who awaits it, ``-`` for nobody, in dpkg's order."""
    for directive, name in directives(package):
        if directive.startswith("activate"):
            # Of whatever kind: dpkg does so before a new package is in its database, so that
            # nothing can be awaited yet.  Configuring it activates once more.
            yield name, "-"
    for item in package.items:
        if f"/{item.path}" in watched:
            yield f"/{item.path}", package.qualified


def file_interests(text: bytes) -> frozenset[str]:
    """The names of the file triggers in ``triggers/File``."""
    lines = text.decode("utf-8", "replace").splitlines()
    return frozenset(line.rpartition(" ")[0] for line in lines)
