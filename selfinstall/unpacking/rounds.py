"""apt's steps with what the host unpacks taken out of them.  Pure.

Each step that unpacks becomes up to three: the ``preinst`` scripts of what the host
unpacked, its archive, and dpkg for the others.  Within a step the order among packages
is free (:mod:`selfinstall.packages.order` sees to that); the steps' own order stays, so
whatever a package Pre-Depends on is configured before its ``preinst`` runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from selfinstall.packages.resolution import Step
from selfinstall.unpacking import base, database, rule
from selfinstall.unpacking.contents import Contents
from selfinstall.unpacking.view import FILE_TRIGGERS, Node, Rootfs, View


@dataclasses.dataclass(frozen=True, slots=True)
class GuestStep:
    """A line of the guest's list: an action and its words."""

    action: Literal[
        "debs", "preinst", "extract", "base", "settle", "unpack", "configure", "pending"
    ]
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """A package and where each of its items goes; None for what is there already."""

    contents: Contents
    places: tuple[str | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """Packages that are unpacked by one archive.

    :param packages: in apt's order.
    :param added: lines to add to files of the rootfs, by path.
    """

    packages: tuple[Placed, ...]
    added: Mapping[str, str]

    @property
    def preinsts(self) -> tuple[Contents, ...]:
        """Packages with a ``preinst`` that has something to do."""
        return tuple(p.contents for p in self.packages if not rule.idle(p.contents.text("preinst")))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Arranged:
    """What the guest does.

    :param steps: in order.
    :param rounds: what each ``extract N`` of them (from 1) brings.
    :param left: .debs for the guest's dpkg, by file name.
    :param reasons: why, by package name; for the curious.
    """

    steps: tuple[GuestStep, ...]
    rounds: tuple[Round, ...] = ()
    left: frozenset[str] = frozenset()
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)


def by_dpkg(steps: Iterable[Step], why: str, names: Iterable[str] = ()) -> Arranged:
    """Everything by the guest's dpkg."""
    guest = tuple(one for step in steps for one in _whole(step))
    left = frozenset(
        name for step in guest if step.action in ("base", "unpack") for name in step.words
    )
    return Arranged(steps=_with_debs(guest, left), left=left, reasons=dict.fromkeys(names, why))


def _whole(step: Step) -> Iterable[GuestStep]:
    """A step without help of the host's."""
    yield GuestStep(step.action, step.packages)
    if step.action == "base":
        yield GuestStep("settle")


def _with_debs(steps: Sequence[GuestStep], left: Collection[str]) -> tuple[GuestStep, ...]:
    """The .debs' archive comes first, if there is one."""
    return (GuestStep("debs", ()), *steps) if left else tuple(steps)


def arrange(
    steps: Sequence[Step],
    packages: Mapping[str, Contents],
    rootfs: Rootfs,
    status: bytes,
    *,
    hashes: Mapping[str, Mapping[str, str]] | None = None,
) -> Arranged:
    """Decide for each package who unpacks it.

    :param steps: apt's, as planned.
    :param packages: by file name, as the steps have them.
    :param rootfs: what is there; its view is used up.
    :param status: the rootfs's dpkg status file.
    :param hashes: MD5 of the configuration files of a ``base`` step's packages, by package
        name and path.
    """
    fresh = any(step.action == "base" for step in steps)
    why = rule.general_objection(rootfs, fresh=fresh)
    if why is not None:
        return by_dpkg(steps, why, (package.name for package in packages.values()))
    crowd = rule.crowd(packages.values(), rootfs.view, rule.known_packages(status))
    special = rule.special_paths(rootfs)
    watched = database.file_interests(rootfs.files.get(FILE_TRIGGERS, b"")).union(
        name for package in packages.values() for name, _ in database.interests(package)
    )
    guest: list[GuestStep] = []
    rounds: list[Round] = []
    left: list[str] = []
    reasons: dict[str, str] = {}
    for step in steps:
        if step.action == "base":
            chosen = [packages[name] for name in step.packages]
            against = base.objections(chosen, rootfs.view, hashes or {})
            reasons |= against
            inside = [Placed(p, (None,) * len(p.items)) for p in chosen if p.name not in against]
            if inside:
                rounds.append(_round(inside, watched, hashes))
                guest += _steps(rounds[-1], len(rounds))
            outside = tuple(n for n in step.packages if packages[n].name in against)
            guest += [GuestStep("base", outside)] if outside else []
            guest.append(GuestStep("settle"))
            left += outside
            continue
        if step.action != "unpack":
            guest.append(GuestStep(step.action, step.packages))
            continue
        placed: list[Placed] = []
        rest: list[str] = []
        for name in step.packages:
            package = packages[name]
            found = _placed(package, rootfs.view, crowd, special)
            if isinstance(found, str):
                reasons[package.name] = found
                rest.append(name)
            else:
                placed.append(found)
        if placed:
            rounds.append(_round(placed, watched))
            guest += _steps(rounds[-1], len(rounds))
        if rest:
            guest.append(GuestStep("unpack", tuple(rest)))
            for name in rest:
                _add(packages[name], rootfs.view)
        left += rest
    return Arranged(
        steps=_with_debs(guest, left), rounds=tuple(rounds), left=frozenset(left), reasons=reasons
    )


def _placed(
    package: Contents, view: View, crowd: rule.Crowd, special: frozenset[str]
) -> Placed | str:
    """The package, now part of *view*; or why it must be left to dpkg."""
    why = rule.objection(package, crowd, special)
    if why is not None:
        return why
    try:
        found = Placed(package, rule.places(package, view, crowd))
    except rule.ObjectionError as error:
        return str(error)
    _add(package, view)
    return found


def _add(package: Contents, view: View) -> None:
    for item in package.items:
        place = view.place(item.path)
        if place is None or (item.type in ("dir", "symlink") and view.is_folder(place)):
            continue
        view.add(place, Node(item.type, item.target))


def _round(
    placed: Sequence[Placed],
    watched: frozenset[str],
    hashes: Mapping[str, Mapping[str, str]] | None = None,
) -> Round:
    contents = [p.contents for p in placed]
    stanzas = (database.stanza(p, (hashes or {}).get(p.name)) for p in contents)
    added = {database.STATUS: "".join(stanzas)}
    for name, lines in database.triggers(contents, watched).items():
        added[f"{database.TRIGGERS}/{name}"] = lines
    return Round(packages=tuple(placed), added=added)


def _steps(made: Round, number: int) -> Iterable[GuestStep]:
    for place, package in enumerate(made.preinsts):
        folder = f"{number}/{place}"
        architecture = package.fetched.package.architecture
        yield GuestStep("preinst", (folder, package.name, architecture))
    names = tuple(p.contents.name for p in made.packages)
    yield GuestStep("extract", (str(number), *names))
