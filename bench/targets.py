"""What the project wants to reach, checked against the figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from bench.cases import SELFINSTALL
from bench.records import Summary, ratio

Summaries = Mapping[tuple[str, str], Summary]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """An upper bound: *value* gives the figure, None when it was not measured."""

    text: str
    limit: float
    unit: str
    value: Callable[[Summaries], float | None]


def _wall(case: str) -> Callable[[Summaries], float | None]:
    def value(found: Summaries) -> float | None:
        summary = found.get((case, SELFINSTALL))
        return summary.wall if summary else None

    return value


def _ratio(case: str, tool: str) -> Callable[[Summaries], float | None]:
    return lambda found: ratio(found.get((case, SELFINSTALL)), found.get((case, tool)))


def _to_amd64(case: str) -> Callable[[Summaries], float | None]:
    return lambda found: ratio(found.get((case, SELFINSTALL)), found.get(("minbase", SELFINSTALL)))


def _qemu_rss(case: str) -> Callable[[Summaries], float | None]:
    def value(found: Summaries) -> float | None:
        summary = found.get((case, SELFINSTALL))
        return summary.qemu_rss / 1e6 if summary and summary.qemu_rss else None

    return value


def _host_growth(small: str, large: str) -> Callable[[Summaries], float | None]:
    def value(found: Summaries) -> float | None:
        first, last = found.get((small, SELFINSTALL)), found.get((large, SELFINSTALL))
        return (last.host_rss - first.host_rss) / 1e6 if first and last else None

    return value


def growth(found: Summaries, tool: str, small: str, large: str, gb: float) -> float | None:
    """Seconds that each GB (10^9 bytes) of unpacked rootfs adds, between two cases."""
    first, last = found.get((small, tool)), found.get((large, tool))
    return (last.wall - first.wall) / gb if first and last else None


def _growth(small: str, large: str, gb: float) -> Callable[[Summaries], float | None]:
    return lambda found: growth(found, SELFINSTALL, small, large, gb)


TARGETS = (
    Target(text="complete tarball to image", limit=20, unit="s", value=_wall("complete")),
    Target(
        text="the same, to vmdb2 as root", limit=0.6, unit="×", value=_ratio("complete", "vmdb2")
    ),
    Target(text="kernel-less tarball to image", limit=60, unit="s", value=_wall("minbase")),
    Target(
        text="the same, to the work by hand as root",
        limit=1.2,
        unit="×",
        value=_ratio("minbase", "by-hand"),
    ),
    Target(
        text="kernel-less arm64 (trixie), to amd64", limit=2, unit="×", value=_to_amd64("arm64")
    ),
    Target(
        text="kernel-less ppc64el (bookworm), to amd64",
        limit=2,
        unit="×",
        value=_to_amd64("ppc64el"),
    ),
    Target(
        text="second build, other host name and size", limit=10, unit="s", value=_wall("second")
    ),
    Target(text="verify under BIOS", limit=25, unit="s", value=_wall("verify-bios")),
    Target(text="verify under UEFI", limit=25, unit="s", value=_wall("verify-efi")),
    Target(
        text="each GB of rootfs, complete",
        limit=15,
        unit="s",
        value=_growth("complete", "complete+3g", 3),
    ),
    Target(
        text="each GB of rootfs, kernel-less",
        limit=15,
        unit="s",
        value=_growth("minbase", "minbase+3g", 3),
    ),
    Target(
        text="host program's memory, growth for 3 GB",
        limit=10,
        unit="MB",
        value=_host_growth("minbase", "minbase+3g"),
    ),
    Target(
        text="qemu's peak memory, kernel-less", limit=900, unit="MB", value=_qemu_rss("minbase")
    ),
)
