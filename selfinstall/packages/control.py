"""Control data of packages that make a base system, and which of them come first.  Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from debian.deb822 import Deb822

from selfinstall.packages.resolution import Package, deb_filename, installed_bytes

#: Its preinst makes /etc/passwd and /etc/group, which other packages' scripts and files need.
FIRST = "base-passwd"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A package's control data, as far as it matters here.

    :param essential: whether dpkg counts on it, or it is of priority required.
    :param needs: Pre-Depends and Depends: for each, the names of its alternatives.
    :param provides: names that it provides besides its own.
    :param installed_size: bytes on disk by its own estimate.
    :param text: the whole paragraph.
    """

    name: str
    version: str
    architecture: str
    essential: bool
    needs: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]
    installed_size: int
    text: str


def parse(text: str) -> Control:
    """The control paragraph *text* (which has Package, Version and Architecture)."""
    fields = Deb822(text.splitlines())
    return Control(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        essential=fields.get("Essential") == "yes" or fields.get("Priority") == "required",
        needs=tuple(
            group
            for field in ("Pre-Depends", "Depends")
            for relation in fields.get(field, "").split(",")
            if (group := _names(relation))
        ),
        provides=tuple(
            name for part in fields.get("Provides", "").split(",") for name in _names(part)
        ),
        installed_size=installed_bytes(fields.get("Installed-Size", "0")),
        text=text.strip() + "\n",
    )


def _names(relation: str) -> tuple[str, ...]:
    """The alternatives of one relation, without versions and architectures."""
    parts = (part.strip() for part in relation.split("|"))
    return tuple(re.split(r"[\s(\[:]", part, maxsplit=1)[0] for part in parts if part)


def base(controls: Iterable[Control]) -> tuple[Control, ...]:
    """Of *controls*, those that a system needs before its dpkg can work as usual, in an order.

    That is what is essential or of priority required, and all that these depend
    on: what debootstrap's first stage extracts and its second stage installs by
    force.  Dependencies come first as far as they do not go round in circles.
    """
    every = tuple(controls)
    by_name = {name: control for control in reversed(every) for name in control.provides}
    by_name |= {control.name: control for control in every}
    seen: set[str] = set()
    found: list[str] = []
    for name in sorted(control.name for control in every if control.essential):
        found += _behind(name, by_name, seen)
    # A stable sort: all others stay in their order.
    return tuple(by_name[name] for name in sorted(found, key=lambda name: name != FIRST))


def _behind(name: str, by_name: Mapping[str, Control], seen: set[str]) -> Iterator[str]:
    """What *name* needs and was not *seen*, then itself.  No recursion: the input is foreign."""
    if name in seen:
        return
    seen.add(name)
    stack = [(name, iter(_targets(by_name[name], by_name)))]
    while stack:
        current, targets = stack[-1]
        for target in targets:
            if target not in seen:
                seen.add(target)
                stack.append((target, iter(_targets(by_name[target], by_name))))
                break
        else:
            stack.pop()
            yield current


def _targets(control: Control, by_name: Mapping[str, Control]) -> list[str]:
    """For each dependency the first alternative that is at hand, by its own name."""
    found = (next((n for n in group if n in by_name), None) for group in control.needs)
    return [by_name[name].name for name in found if name is not None]


def without(controls: Iterable[Control], gone: Iterable[str]) -> set[str]:
    """The names in *gone*, and those of *controls* that cannot do without them."""
    every = tuple(controls)
    out = set(gone)
    offered: dict[str, set[str]] = {}
    for one in every:
        for name in (one.name, *one.provides):
            offered.setdefault(name, set()).add(one.name)
    before = -1
    while len(out) != before:
        before = len(out)
        for one in every:
            by = ({o for name in group for o in offered.get(name, ())} for group in one.needs)
            # Of what only others offer, apt knows more.
            if any(names and names <= out for names in by):
                out.add(one.name)
    return out


def installed(controls: Iterable[Control]) -> bytes:
    """A dpkg status in which *controls* are installed."""
    return "".join(
        "Package: {}\nStatus: install ok installed\n{}\n".format(
            c.name, re.sub(r"(?mi)^(?:Package|Status):.*\n(?:[ \t].*\n)*", "", c.text)
        )
        for c in controls
    ).encode()


def package(control: Control, *, sha256: str, size: int, automatic: bool) -> Package:
    """The package of that control data as apt's answers describe others."""
    return Package(
        name=control.name,
        version=control.version,
        architecture=control.architecture,
        filename=deb_filename(control.name, control.version, control.architecture),
        sha256=sha256,
        size=size,
        installed_size=control.installed_size,
        automatic=automatic,
    )
