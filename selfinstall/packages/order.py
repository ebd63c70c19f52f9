"""The order in which dpkg must do what apt decided.  Pure.

``apt-get --simulate`` lists unpacking (Inst) and configuring (Conf) in an
order that works.  Most of it is free, and each call of dpkg costs seconds in
an emulated guest, so calls are merged as far as Pre-Depends let them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from selfinstall.packages.resolution import Step

#: "Inst NAME[:ARCH] [OLD] (VERSION ORIGIN, ORIGIN [ARCH]) [what it breaks meanwhile]".
_LINE = re.compile(
    r"(Inst|Conf|Remv) (\S+?)(?::\S+)?(?: \[(\S+)\])?(?: \((\S+) (?:.*? )?\[(\S+)\]\))?(?: \[.*\])?"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """One thing that apt would have dpkg do.

    :param verb: unpack (Inst), configure (Conf) or remove (Remv).
    :param name: the package without architecture.
    :param version: the version to install, empty for removals.
    :param architecture: the package's, empty for removals.
    :param upgrade: whether another version is there now.
    """

    verb: Literal["Inst", "Conf", "Remv"]
    name: str
    version: str = ""
    architecture: str = ""
    upgrade: bool = False

    @property
    def key(self) -> str:
        """``NAME:ARCH``."""
        return f"{self.name}:{self.architecture}"


def parse(output: str) -> tuple[Action, ...]:
    """The actions that ``apt-get --simulate`` printed.

    :raises ValueError: for a line of an action that does not read as one.
    """
    actions: list[Action] = []
    for line in output.splitlines():
        if not line.startswith(("Inst ", "Conf ", "Remv ")):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None or (match[1] != "Remv" and not match[5]):
            raise ValueError(line)
        verb: Literal["Inst", "Conf", "Remv"] = match[1]  # type: ignore[assignment]
        upgrade = verb == "Inst" and match[3] is not None
        actions.append(Action(verb, match[2], match[4] or "", match[5] or "", upgrade))
    return tuple(actions)


def names(relation: str) -> tuple[str, ...]:
    """The package names in a dependency field, alternatives too, without versions."""
    parts = (part.strip() for part in re.split(r"[,|]", relation))
    return tuple(re.split(r"[\s(\[:]", part, maxsplit=1)[0] for part in parts if part)


def plan(
    actions: Sequence[Action],
    pre_depends: Mapping[str, Iterable[str]],
    provides: Mapping[str, Iterable[str]],
    filenames: Mapping[str, str],
) -> tuple[Step, ...]:
    """The calls of dpkg, as few as are safe.

    A package that Pre-Depends on others of this run waits until they are
    configured; all others are unpacked at once, in apt's order.  Only new
    packages are put off past others: nothing on the system relies on them,
    whereas the order among upgrades keeps Breaks and Conflicts satisfied.

    :param pre_depends: names that each ``NAME:ARCH`` Pre-Depends on.
    :param provides: names that each ``NAME:ARCH`` provides besides its own.
    :param filenames: the .deb of each ``NAME:ARCH``.
    :raises ValueError: for an order that goes round in circles, which apt does not give.
    """
    barriers = _barriers(actions, pre_depends, provides)
    waiting = [action for action in actions if action.verb == "Inst"]
    unconfigured = [action.key for action in actions if action.verb == "Conf"]
    configured: set[str] = set()
    steps: list[Step] = []
    while waiting:
        ready, waiting = _ready(waiting, barriers, configured)
        if ready:
            steps.append(Step("unpack", tuple(filenames[action.key] for action in ready)))
        if waiting:
            # Whatever stood before the first of them in apt's order is unpacked by now.
            needed = {key for action in waiting for key in barriers.get(action.key, ())}
            now = _unpacked_prefix(unconfigured, needed, {a.key for a in waiting})
            if not (ready or now):
                raise ValueError(f"{waiting[0].key} waits for itself")
            steps.append(Step("configure", now))
            configured.update(now)
            unconfigured = [key for key in unconfigured if key not in configured]
    if unconfigured:
        steps.append(Step("configure", tuple(unconfigured)))
    return tuple(steps)


def _barriers(
    actions: Sequence[Action],
    pre_depends: Mapping[str, Iterable[str]],
    provides: Mapping[str, Iterable[str]],
) -> dict[str, tuple[str, ...]]:
    """What apt configures before it unpacks each package that Pre-Depends on any of that."""
    found: dict[str, tuple[str, ...]] = {}
    before: dict[str, None] = {}
    offered: set[str] = set()
    for action in actions:
        if action.verb == "Conf":
            before[action.key] = None
            offered.update((action.name, *provides.get(action.key, ())))
        elif action.verb == "Inst" and offered.intersection(pre_depends.get(action.key, ())):
            found[action.key] = tuple(before)
    return found


def _ready(
    waiting: Sequence[Action], barriers: Mapping[str, Iterable[str]], configured: set[str]
) -> tuple[list[Action], list[Action]]:
    """Those that can be unpacked now, and those that must wait."""
    ready: list[Action] = []
    later: list[Action] = []
    for position, action in enumerate(waiting):
        if configured.issuperset(barriers.get(action.key, ())):
            ready.append(action)
            continue
        if action.upgrade:
            return ready, later + list(waiting[position:])
        later.append(action)
    return ready, later


def _unpacked_prefix(
    unconfigured: Sequence[str], needed: set[str], waiting: set[str]
) -> tuple[str, ...]:
    """Of *needed*, in apt's order, up to the first that is not unpacked yet."""
    prefix: list[str] = []
    for key in unconfigured:
        if key in waiting:
            break
        if key in needed:
            prefix.append(key)
    return tuple(prefix)
