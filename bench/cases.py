"""What is measured: cases, and the tools that compete in each.  Data, and how long it may take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Literal

Base = Literal["minbase", "complete", "minbase-arm64", "minbase-ppc64el"]
Kind = Literal["build", "second", "verify"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """Something that makes an image.

    :param title: its name in tables.
    :param program: the script below ``peers/``; None for selfinstall itself.
    :param root: whether it needs root.
    :param environment: what the script is told besides its arguments.
    :param seconds: a guess, for estimates, of one build: from a kernel-less tarball, from a
        complete one, and what each GB of rootfs adds.
    """

    name: str
    title: str
    program: str | None
    root: bool
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seconds: tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One comparison.

    :param base: the tarball that it starts from.
    :param extra_gb: unpacked GB (10^9 bytes) of generated files added to it.
    :param kind: ``build``: an image from a tarball, packages in the cache; ``second``: another
        image from the same tarball, with another host name and size; ``verify``: a boot.
    :param firmware: of a boot.
    """

    name: str
    title: str
    base: Base
    extra_gb: int = 0
    kind: Kind = "build"
    firmware: str = ""
    tools: tuple[str, ...]

    @property
    def tarball(self) -> str:
        """The name of its tarball, without folder and suffix."""
        return f"{self.base}+{self.extra_gb}g" if self.extra_gb else self.base


SELFINSTALL = "selfinstall"
#: The tarballs whose images are booted, with what is added to names and titles.
_BOOTED: tuple[tuple[Base, str, str], ...] = (
    ("complete", "", ""),
    ("minbase", "-minbase", ", kernel-less"),
)

TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            name=SELFINSTALL,
            title="selfinstall",
            program=None,
            root=False,
            seconds=(65, 30, 20),
        ),
        Tool(
            name="by-hand",
            title="by hand",
            program="by-hand",
            root=True,
            seconds=(50, 5, 6),
        ),
        Tool(
            name="by-hand-unsafe",
            title="by hand, unsafe I/O",
            program="by-hand",
            root=True,
            environment={"BENCH_UNSAFE_IO": "yes"},
            seconds=(25, 4, 6),
        ),
        Tool(
            name="vmdb2",
            title="vmdb2",
            program="vmdb2",
            root=True,
            seconds=(85, 45, 8),
        ),
        Tool(
            name="vmdb2-lean",
            title="vmdb2, no zerofree",
            program="vmdb2",
            root=True,
            environment={"BENCH_ZEROFREE": "no"},
            seconds=(35, 8, 6),
        ),
        Tool(
            name="guestfish",
            title="guestfish (TCG)",
            program="guestfish",
            root=False,
            seconds=(0, 70, 60),
        ),
    )
}

_NATIVE = ("by-hand", "vmdb2")
_ALL_NATIVE = ("by-hand", "by-hand-unsafe", "vmdb2", "vmdb2-lean")

CASES = {
    case.name: case
    for case in (
        Case(
            name="complete",
            title="complete",
            base="complete",
            tools=(SELFINSTALL, *_ALL_NATIVE, "guestfish"),
        ),
        Case(
            name="minbase",
            title="kernel-less",
            base="minbase",
            tools=(SELFINSTALL, *_ALL_NATIVE),
        ),
        Case(
            name="second",
            title="kernel-less, second build",
            base="minbase",
            kind="second",
            tools=(SELFINSTALL, "by-hand"),
        ),
        Case(
            name="arm64",
            title="kernel-less, arm64",
            base="minbase-arm64",
            tools=(SELFINSTALL,),
        ),
        Case(
            name="ppc64el",
            title="kernel-less, ppc64el",
            base="minbase-ppc64el",
            tools=(SELFINSTALL,),
        ),
        Case(
            name="complete+1g",
            title="complete + 1 GB",
            base="complete",
            extra_gb=1,
            tools=(SELFINSTALL, *_NATIVE),
        ),
        Case(
            name="complete+3g",
            title="complete + 3 GB",
            base="complete",
            extra_gb=3,
            tools=(SELFINSTALL, *_NATIVE),
        ),
        Case(
            name="minbase+1g",
            title="kernel-less + 1 GB",
            base="minbase",
            extra_gb=1,
            tools=(SELFINSTALL, *_NATIVE),
        ),
        Case(
            name="minbase+3g",
            title="kernel-less + 3 GB",
            base="minbase",
            extra_gb=3,
            tools=(SELFINSTALL, *_NATIVE),
        ),
        *(
            Case(
                name=f"verify-{firmware}{suffix}",
                title=f"verify, {title}{words}",
                base=base,
                kind="verify",
                firmware=firmware,
                tools=(SELFINSTALL,),
            )
            for base, suffix, words in _BOOTED
            for firmware, title in (("bios", "BIOS"), ("efi", "UEFI"))
        ),
    )
}

#: A guess for a boot, seconds.
_BOOT_SECONDS = 50.0


def guess(case: Case, tool: Tool, known: Mapping[tuple[str, str], float]) -> float:
    """How many seconds one run may take: what earlier runs took, else a guess.

    :param known: medians by names of case and tool.
    """
    measured = known.get((case.name, tool.name))
    if measured is not None:
        return measured
    if case.kind == "verify":
        return _BOOT_SECONDS
    minbase, complete, each_gb = tool.seconds
    start = complete if case.base == "complete" else minbase
    return known.get((case.base, tool.name), start) + each_gb * case.extra_gb


def split_names(texts: Iterable[str], known: Iterable[str], what: str) -> tuple[str, ...]:
    """Names given as ``a,b c``, in the order of *known*.

    :raises ValueError: one is not known.
    """
    wanted = {name for text in texts for name in text.replace(",", " ").split()}
    names = tuple(known)
    unknown = sorted(wanted.difference(names))
    if unknown:
        raise ValueError(f"no {what} {', '.join(unknown)}; there are: {', '.join(names)}")
    return tuple(name for name in names if name in wanted)
