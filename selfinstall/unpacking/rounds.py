"""apt's steps with what the host unpacks taken out of them.  Pure.

Each step that unpacks becomes up to three: the ``preinst`` scripts of what the host
unpacked, its archive, and dpkg for the others.  Within a step the order among packages
is free (:mod:`selfinstall.packages.order` sees to that); the steps' own order stays, so
whatever a package Pre-Depends on is configured before its ``preinst`` runs.

What comes before anything of the packages runs need not wait for the guest: of the first
step, packages without a ``preinst`` are a round of their own, whose files the host itself can
put into the root.  So can it those of kernels, which are most of all, since no script of
the others looks at them, nor does their own ``preinst``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

from selfinstall.packages.resolution import Step
from selfinstall.unpacking import base, database, rule
from selfinstall.unpacking.contents import Contents
from selfinstall.unpacking.view import FILE_TRIGGERS, KERNEL_HOOKS, Node, Rootfs, View


@dataclasses.dataclass(frozen=True, slots=True)
class GuestStep:
    """A line of the guest's list: an action and its words."""

    action: Literal[
        "debs",
        "preinst",
        "extract",
        "extracted",
        "base",
        "settle",
        "unpack",
        "configure",
        "pending",
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
    :param early: whether nothing needs to run in the guest before its files are in place.
    """

    packages: tuple[Placed, ...]
    added: Mapping[str, str]
    early: bool = False

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
    early: bool = False,
) -> Arranged:
    """Decide for each package who unpacks it.

    :param steps: apt's, as planned.
    :param packages: by file name, as the steps have them.
    :param rootfs: what is there; its view is used up.
    :param status: the rootfs's dpkg status file.
    :param hashes: MD5 of the configuration files of a ``base`` step's packages, by package
        name and path.
    :param early: whether the host puts packages into the root before the guest begins.
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
    hooks = rootfs.hooks or any(
        item.path.startswith(KERNEL_HOOKS) for p in packages.values() for item in p.items
    )
    guest: list[GuestStep] = []
    rounds: list[Round] = []
    left: list[str] = []
    reasons: dict[str, str] = {}
    for number, step in enumerate(steps):
        ready = functools.partial(_ready, early=early, first=number == 0, hooks=hooks)
        if step.action == "base":
            chosen = [packages[name] for name in step.packages]
            against = base.objections(chosen, rootfs.view, hashes or {})
            reasons |= against
            inside = [Placed(p, (None,) * len(p.items)) for p in chosen if p.name not in against]
            for made in _rounds(inside, watched, ready, hashes):
                rounds.append(made)
                guest += _steps(made, len(rounds))
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
        for made in _rounds(placed, watched, ready):
            rounds.append(made)
            guest += _steps(made, len(rounds))
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


def _rounds(
    placed: Sequence[Placed],
    watched: frozenset[str],
    ready: Callable[[Placed], bool],
    hashes: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterable[Round]:
    """One; or two, of which the first is of packages whose files can be there early."""
    found: dict[bool, list[Placed]] = {True: [], False: []}
    for package in placed:
        found[ready(package)].append(package)
    for early, packages in found.items():
        if packages:
            yield _round(packages, watched, hashes, early=early)


def _ready(placed: Placed, *, early: bool, first: bool, hooks: bool) -> bool:
    script = placed.contents.text("preinst")
    return early and ((first and rule.idle(script)) or (not hooks and rule.indifferent(script)))


def _round(
    placed: Sequence[Placed],
    watched: frozenset[str],
    hashes: Mapping[str, Mapping[str, str]] | None,
    *,
    early: bool,
) -> Round:
    contents = [p.contents for p in placed]
    stanzas = (database.stanza(p, (hashes or {}).get(p.name)) for p in contents)
    added = {database.STATUS: "".join(stanzas)}
    for name, lines in database.triggers(contents, watched).items():
        added[f"{database.TRIGGERS}/{name}"] = lines
    return Round(packages=tuple(placed), added=added, early=early)


def _steps(made: Round, number: int) -> Iterable[GuestStep]:
    for place, package in enumerate(made.preinsts):
        folder = f"{number}/{place}"
        architecture = package.fetched.package.architecture
        yield GuestStep("preinst", (folder, package.name, architecture))
    names = tuple(p.contents.name for p in made.packages)
    yield GuestStep("extracted" if made.early else "extract", (str(number), *names))
