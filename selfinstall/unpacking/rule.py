"""Which packages the host may unpack.  Pure.

Unpacking is putting files in place, and nothing more, for a package that is new, whose
files meet nothing that is there or that another package brings, and whose ``preinst``
does not care which of the packages beside it are unpacked.  For all others dpkg decides.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping

from selfinstall.packages import order
from selfinstall.rootfs.dpkg import paragraphs
from selfinstall.unpacking.contents import Contents, Item
from selfinstall.unpacking.view import (
    CONFIGURATION,
    CONFIGURATIONS,
    DATABASE_FOLDERS,
    DIVERSIONS,
    INFO_FORMAT,
    OVERRIDES,
    STATUS,
    Node,
    Rootfs,
    View,
)

#: Lines of dpkg.cfg that change nothing about unpacking.
_HARMLESS = frozenset(("no-debsig", "no-pager", "force-unsafe-io", "log /var/log/dpkg.log"))
#: What looks at, or changes, more than the files of its own package.
_MEDDLING = re.compile(
    r"dpkg-(?:divert|statoverride|query|trigger|realpath)|update-alternatives|\bapt(?:-\w+)?\b"
    r"|\bdpkg\b(?!-| +--(?:compare-versions|validate-\w+))"
)
#: dpkg-maintscript-helper(1): in a preinst it acts only on a version that was there before.
_IDLE_LINE = re.compile(
    r"\s*(?:#.*|set -e|exit 0|dpkg-maintscript-helper (?:rm_conffile|mv_conffile|symlink_to_dir"
    r"|dir_to_symlink) [^;&|`$<>]* -- \"\$@\")?\s*"
)
#: What the ``preinst`` of Debian's kernels consists of: a mark for their ``postinst``, and
#: hooks of others.
_KERNEL_LINE = re.compile(
    r"\s*(?:#.*|fi|exit 0|version=[\w.+~-]+|image_path=/boot/vmlinu[xz]-\$version"
    r"|if \[ (?:\"\$1\" = [\w-]+|-d /etc/kernel/preinst\.d) \]; then"
    r"|mkdir -p /lib/modules/\$version|touch /lib/modules/\$version/\.fresh-install"
    r"|linux-run-hooks image preinst \$version \$image_path -- \"\$@\""
    r"|DEB_MAINT_PARAMS=\"\$\*\" run-parts [^;&|`<>]* /etc/kernel/preinst\.d)?\s*"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """What all packages of a run bring together, by place in the rootfs.

    :param files: how many packages have something else than a folder there.
    :param folders: where at least one has a folder.
    :param known: names of packages that the rootfs's database knows already.
    :param upgraded: those of them that are in this run.
    """

    files: Mapping[str, int]
    folders: frozenset[str]
    known: frozenset[str]
    upgraded: frozenset[str]


def crowd(packages: Iterable[Contents], view: View, known: frozenset[str]) -> Crowd:
    """See :class:`Crowd`."""
    packages = tuple(packages)
    files: collections.Counter[str] = collections.Counter()
    folders: set[str] = set()
    for package in packages:
        for item in package.items:
            place = view.place(item.path)
            if place is not None and item.type == "dir":
                folders.add(place)
            elif place is not None:
                files[place] += 1
    return Crowd(
        files=files,
        folders=frozenset(folders),
        known=known,
        upgraded=known.intersection(package.name for package in packages),
    )


def known_packages(status: bytes) -> frozenset[str]:
    """Names in dpkg's status file but for those that are not installed at all."""
    return frozenset(
        fields["package"]
        for fields in paragraphs(status, frozenset(("package", "status")))
        if "package" in fields and not fields.get("status", "").endswith(" not-installed")
    )


def general_objection(rootfs: Rootfs, *, fresh: bool = False) -> str | None:
    """Why no package at all may be unpacked into that rootfs by the host, None when some may.

    :param fresh: whether the guest makes dpkg's database, which is empty, before.
    """
    if not rootfs.complete:
        return "the rootfs holds too many files to compare"
    if rootfs.leftover is not None:
        return f"dpkg was interrupted there: {rootfs.leftover}"
    why = None if fresh else _database_objection(rootfs)
    if why is not None:
        return why
    for path, content in rootfs.files.items():
        if path == CONFIGURATION or path.startswith(CONFIGURATIONS):
            for line in content.decode("utf-8", "replace").splitlines():
                words = " ".join(line.replace("=", " ").split())
                if words and words[0] != "#" and words not in _HARMLESS:
                    return f"/{path} says {words}"
    return None


def _database_objection(rootfs: Rootfs) -> str | None:
    for folder in DATABASE_FOLDERS:
        node = rootfs.view.get(folder)
        if node is None or node.type != "dir":
            return f"/{folder} is no folder"
    node = rootfs.view.get(STATUS)
    if node is None or node.type != "file":
        return f"/{STATUS} is no file"
    if rootfs.files.get(INFO_FORMAT, b"").strip() != b"1":
        return "dpkg's database has another format"
    return None


def special_paths(rootfs: Rootfs) -> frozenset[str]:
    """Paths, without leading slash, that are diverted, are diversions, or have owners set."""
    diversions = rootfs.files.get(DIVERSIONS, b"").decode("utf-8", "surrogateescape")
    found = {line for line in diversions.splitlines() if line.startswith("/")}
    overrides = rootfs.files.get(OVERRIDES, b"").decode("utf-8", "surrogateescape")
    found.update(line.split(None, 3)[-1] for line in overrides.splitlines() if line.strip())
    return frozenset(path.removeprefix("/") for path in found)


def objection(package: Contents, others: Crowd, special: frozenset[str]) -> str | None:
    """Why dpkg must unpack that package, its files' places left aside; None when it need not."""
    if package.name in others.known:
        return "a version of it is or was there"
    for field in ("Conflicts", "Breaks"):
        # Others that are there satisfy it, as apt removes nothing.
        met = others.upgraded.intersection(order.names(package.fields.get(field, "")))
        if met:
            return f"it {field.lower()} {min(met)}, which is upgraded"
    if not special.isdisjoint(item.path for item in package.items):
        return "a path of it is diverted or has an owner set"
    return own_objection(package)


def own_objection(package: Contents) -> str | None:
    """The same by what is in the package alone."""
    if package.odd is not None:
        return f"it holds {package.odd}"
    if "md5sums" not in package.control:
        return "it has no checksums, so dpkg makes them"
    script = package.text("preinst")
    if script and not script.startswith("#!"):
        return "its preinst is no script"
    if any(_MEDDLING.search(line) for line in script.splitlines() if not line.startswith("#")):
        return "its preinst works on more than its own files"
    return None


def idle(script: str) -> bool:
    """Whether a ``preinst`` of a package that was never there has nothing to do."""
    lines = script.splitlines()
    return not lines or (
        lines[0].startswith("#!") and all(_IDLE_LINE.fullmatch(line) for line in lines[1:])
    )


def indifferent(script: str) -> bool:
    """Whether a ``preinst`` does the same when its package's files are there already.

    That of a kernel is known to, so long as there are no hooks (:data:`KERNEL_HOOKS`).
    """
    lines = script.replace("\\\n", " ").splitlines()
    return bool(lines) and all(_KERNEL_LINE.fullmatch(line) for line in lines[1:])


class ObjectionError(Exception):
    """Why the host may not put a package's files in place."""


def places(package: Contents, view: View, others: Crowd) -> tuple[str | None, ...]:
    """Where each item goes, links on the way followed; None for what is there already.

    :raises ObjectionError: a file meets another, or dpkg would do more than put it there.
    """
    conffiles = frozenset(path.removeprefix("/") for path, _ in package.conffiles)
    made: set[str] = set()
    files: dict[str, str] = {}
    found: list[str | None] = []
    for item in package.items:
        place = _place(item, view, others, made) if item.path else None
        if place is not None and item.type == "dir":
            made.add(place)
        elif place is not None:
            if item.type == "link" and item.target not in files:
                raise ObjectionError(f"/{item.path} is a link to no file before it")
            if item.path in conffiles:
                if item.type != "file":
                    raise ObjectionError(f"the configuration file /{item.path} is no file")
                place += ".dpkg-new"
            elif item.type in ("file", "link"):
                files[item.path] = place
        found.append(place)
    return tuple(found)


def _place(item: Item, view: View, others: Crowd, made: set[str]) -> str | None:
    path = item.path
    place = view.place(path)
    if place is None or "\n" in path:
        raise ObjectionError(f"/{path!r} leads nowhere")
    there = view.get(place)
    if item.type == "dir" and (place in made or view.is_folder(place)):
        return None
    if item.type == "symlink" and there is not None and _keeps(there, item, view, place):
        return None
    if there is not None:
        raise ObjectionError(f"/{path} is there already")
    met = others.files.get(place, 0)
    if met > (0 if item.type == "dir" else 1) or (item.type != "dir" and place in others.folders):
        raise ObjectionError(f"/{path} is in two packages")
    parent = place.rpartition("/")[0]
    node = view.get(parent)
    if parent not in made and (node is None or node.type != "dir"):
        raise ObjectionError(f"/{path} has no folder")
    return place


def _keeps(there: Node, item: Item, view: View, place: str) -> bool:
    """Whether dpkg leaves in place what is there, instead of a symbolic link of a package."""
    if there.type == "dir":
        return True
    same = there.type == "symlink" and there.target.rstrip("/") == item.target.rstrip("/")
    return same and view.is_folder(place)
