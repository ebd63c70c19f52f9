"""Which packages are lacking, and in which order dpkg must install them: apt decides."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from debian.deb822 import Deb822

from selfinstall.errors import HostError, InputError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.packages import order
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.order import Action
from selfinstall.packages.problems import first_error, install_problem
from selfinstall.packages.remembered import remembered
from selfinstall.packages.resolution import (
    Package,
    Resolution,
    deb_filename,
    installed_bytes,
)
from selfinstall.packages.sources import paragraphs


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A package and what the index says of it."""

    package: Package
    fields: Deb822


#: deb-version(7) and Debian policy 5.6.1; a version may be asked for as apt does, "NAME=VERSION".
_WANTED = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SELECTED = re.compile(r"Note, selecting '([^':]+)(?::\S+)?' instead of")


def resolve(
    root: AptRoot,
    wanted: tuple[str, ...],
    useful: tuple[str, ...] = (),
    *,
    one_of: tuple[str, ...] = (),
    on_event: OnEvent = ignore,
) -> Resolution:
    """What to install so that the *wanted* packages and what they depend on are there.

    Packages that are installed stay as they are, unless a dependency needs a newer version.

    :param wanted: package names, as ``NAME``, ``NAME:ARCH`` or ``NAME=VERSION``; when
        there are none, nothing is done.
    :param useful: more of them, left out when they are unknown or do not fit.
    :param one_of: of these the first that is known is wanted too; the first when none is.
    :raises InputError: for unknown packages, dependencies that cannot be satisfied,
        packages that would have to go, and signatures that do not fit.
    :raises HostError: for a mirror that cannot be reached.
    """
    if not wanted and not one_of:
        return Resolution()
    for name in (*wanted, *useful, *one_of):
        if not _WANTED.fullmatch(name):
            raise InputError(f"{name!r} is not a package name")
    root.refresh()
    try:
        resolution = remembered(
            root, (wanted, useful, one_of), lambda: _decided(root, wanted, useful, one_of)
        )
    finally:
        root.keep_lists()
    if resolution.packages:
        total = sum(package.size for package in resolution.packages)
        sentence = f"packages that are lacking: {len(resolution.packages)}, {total / 1e6:.1f} MB"
        on_event(Event("note", "packages", message=sentence))
    return resolution


def _decided(
    root: AptRoot, wanted: tuple[str, ...], useful: tuple[str, ...], one_of: tuple[str, ...]
) -> Resolution:
    if one_of:
        wanted = (*wanted, (*_known(root, one_of), one_of[0])[0])
    names, output = _with_useful(root, wanted, useful)
    return _described(root, _actions(output), _chosen(names, output))


def of_priority(root: AptRoot, priorities: tuple[str, ...], *more: str) -> tuple[Record, ...]:
    """What is Essential or of one of the *priorities*, *more*, and all that these depend on.

    The index files must be up to date.

    :returns: each with the index's entry; none when the sources have nothing for the architecture.
    :raises InputError: for dependencies that cannot be satisfied.
    """
    # apt-patterns(7)
    pattern = ",".join(("?essential", *(f"?priority({name})" for name in priorities)))
    new = [a for a in _actions(_simulated(root, (f"?or({pattern})", *more))) if a.verb == "Inst"]
    records = _records(root, new)
    return tuple(
        Record(_package(action, records[action.key], frozenset()), records[action.key])
        for action in new
    )


def _with_useful(
    root: AptRoot, wanted: tuple[str, ...], useful: tuple[str, ...]
) -> tuple[tuple[str, ...], str]:
    """What can be installed of both, and apt's plan for it."""
    useful = _known(root, useful)
    if useful:
        with contextlib.suppress(InputError):
            return (*wanted, *useful), _simulated(root, (*wanted, *useful))
    plan = _simulated(root, wanted)
    for name in useful:
        # Something among them does not fit: find out what, one by one.
        with contextlib.suppress(InputError):
            plan = _simulated(root, (*wanted, name))
            wanted = (*wanted, name)
    return wanted, plan


def _known(root: AptRoot, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of *names* that are packages."""
    if not names:
        return ()
    # apt complains about the others, which is the question and no failure.
    output = root.run("apt-cache", "show", "--no-all-versions", "--", *names)
    found: set[str | None] = set()
    for record in paragraphs(output.stdout):
        name, architecture = record.get("Package"), record.get("Architecture")
        found |= {f"{name}:{architecture}"}
        if architecture in (root.inputs.architecture, "all"):
            found |= {name}
    return tuple(name for name in names if name.partition("=")[0] in found)


def _simulated(root: AptRoot, names: tuple[str, ...]) -> str:
    """apt's plan to install *names*, in which nothing is removed."""
    # What is installed is not upgraded just because it is wanted.
    output = root.run("apt-get", "--simulate", "--no-upgrade", "install", "--", *names)
    if output.status:
        raise install_problem(output.text, _where(root))
    _refuse_removals(_actions(output.stdout))
    return output.stdout


def _actions(output: str) -> tuple[Action, ...]:
    with _understanding():
        return order.parse(output)


@contextlib.contextmanager
def _understanding() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise HostError(f"apt's plan cannot be understood: {error}") from error


def _bare(name: str) -> str:
    """A wanted name without architecture and version."""
    return re.split("[:=]", name, maxsplit=1)[0]


def _where(root: AptRoot) -> str:
    """What was searched, for messages."""
    if root.inputs.packages_dir is not None:
        return str(root.inputs.packages_dir)
    suites = dict.fromkeys(suite for source in root.sources for suite in source.suites)
    return f"the sources ({', '.join(suites)})"


def _refuse_removals(actions: Iterable[Action]) -> None:
    removed = [action.name for action in actions if action.verb == "Remv"]
    if removed:
        raise InputError(
            f"these packages of the tarball would have to be removed: {', '.join(removed)}",
            "leave out what conflicts with them, or make the tarball without them",
        )


def _chosen(wanted: Iterable[str], output: str) -> frozenset[str]:
    """Names that were asked for, also by the name of something that they provide."""
    return frozenset((*map(_bare, wanted), *_SELECTED.findall(output)))


def _described(root: AptRoot, actions: Sequence[Action], chosen: frozenset[str]) -> Resolution:
    new = [action for action in actions if action.verb == "Inst"]
    records = _records(root, new)
    packages = {action.key: _package(action, records[action.key], chosen) for action in new}
    with _understanding():
        steps = order.plan(
            actions,
            {key: order.names(record.get("Pre-Depends", "")) for key, record in records.items()},
            {key: order.names(record.get("Provides", "")) for key, record in records.items()},
            {key: package.filename for key, package in packages.items()},
        )
    return Resolution(packages=tuple(packages.values()), steps=steps)


def _records(root: AptRoot, actions: Sequence[Action]) -> dict[str, Deb822]:
    """The index entry of each package to install, by ``NAME:ARCH``."""
    if not actions:
        return {}
    names = [f"{action.key}={action.version}" for action in actions]
    output = root.run("apt-cache", "show", "--", *names)
    found: dict[tuple[str, str], Deb822] = {}
    for record in paragraphs(output.stdout):
        key = f"{record.get('Package')}:{record.get('Architecture')}"
        found.setdefault((key, record.get("Version", "")), record)
    absent = [
        name for a, name in zip(actions, names, strict=True) if (a.key, a.version) not in found
    ]
    if output.status or absent:
        raise HostError(f"apt does not describe {absent or names}: {first_error(output.stderr)}")
    return {action.key: found[action.key, action.version] for action in actions}


def _package(action: Action, record: Deb822, chosen: frozenset[str]) -> Package:
    sha256, size = record.get("SHA256", ""), record.get("Size", "")
    if not _SHA256.fullmatch(sha256) or not (size.isdecimal() and len(size) < 16):
        raise InputError(f"the index has no SHA256 and size of package {action.name}")
    return Package(
        name=action.name,
        version=action.version,
        architecture=action.architecture,
        filename=deb_filename(action.name, action.version, action.architecture),
        sha256=sha256,
        size=int(size),
        installed_size=installed_bytes(record.get("Installed-Size", "0")),
        automatic=action.name not in chosen,
    )
