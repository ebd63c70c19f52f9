"""The plan itself, and how it is shown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

from selfinstall import profiles as profiling
from selfinstall.arch import LoaderUse
from selfinstall.layout import MIB, Disk
from selfinstall.packages.resolution import Package, Resolution, Step
from selfinstall.request import Format, Unpack
from selfinstall.rootfs.facts import Init


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What will be done.  Sizes in bytes but for *memory_mib*.

    *firmwares* has a row for each boot of the verification: of the names in it, the
    first that the host has.
    :param tarball: its name, or that of the suite or of the image that is adapted.
    :param base: packages of a system that is only extracted, to install first and by force.
    :param unconfigured: how many packages of the tarball dpkg has not finished with.
    """

    tarball: str
    from_suite: bool
    arch: str
    system: str
    suite: str | None
    output: Path
    format: Format
    hostname: str
    distributor: str
    init: Init
    seed: str
    disk: Disk
    root_bytes: int
    root_uuid: str
    root_hash_seed: str
    esp_id: str
    loaders: tuple[LoaderUse, ...]
    firmwares: tuple[tuple[str, ...], ...]
    base: tuple[Package, ...]
    unconfigured: int
    resolution: Resolution
    kernel: str
    payload: Literal["initramfs", "disk"]
    unpack: Unpack
    memory_mib: int
    smp: int
    profiles: tuple[profiling.Used, ...]
    hooks: tuple[str, ...]
    settings: dict[str, str]
    installer_args: tuple[str, ...]
    image_args: tuple[str, ...]
    customize_hooks: tuple[str, ...]
    customize_files: tuple[Path, ...]
    network: bool
    verify: bool
    allow_unsigned: bool
    warnings: tuple[str, ...]
    from_image: bool = False

    @property
    def packages(self) -> tuple[Package, ...]:
        """All packages that the guest installs."""
        return (*self.base, *self.resolution.packages)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What dpkg does in the guest, before it configures whatever is left."""
        first = [Step("base", tuple(p.filename for p in self.base))] if self.base else []
        begun = [Step("pending")] if self.unconfigured else []
        return (*begun, *first, *self.resolution.steps)

    def to_json(self) -> str:
        """The whole plan as one JSON object."""
        return json.dumps(dataclasses.asdict(self), default=str, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """The plan for people."""
        return _describe(self)


def _describe(plan: Plan) -> str:
    def size(number: int) -> str:
        return f"{number / MIB:,.0f} MiB"

    rows: list[tuple[str, str]] = [
        (
            "suite" if plan.from_suite else "from" if plan.from_image else "tarball",
            f"{plan.tarball} ({plan.system}, {plan.arch})",
        ),
        ("image", f"{plan.output} ({plan.format}, {size(plan.disk.size)})"),
        ("host name", plan.hostname or "none"),
        *(("profile", f"{used.name} ({used.source})") for used in plan.profiles),
        ("kernel", plan.kernel),
        *(
            (f"partition {p.number}", f"{p.role}, {size(p.size)} at {size(p.start)}, {p.uuid}")
            for p in plan.disk.partitions
        ),
        ("root", f"ext4, UUID {plan.root_uuid}"),
        *(
            ("boot loader", use.loader + (f" ({use.target})" if use.target else ""))
            for use in plan.loaders
        ),
        ("payload", f"in the {plan.payload}" if plan.payload == "initramfs" else "second disk"),
        ("guest", f"{plan.memory_mib} MiB, {plan.smp} CPU{'s' if plan.smp > 1 else ''}"),
        ("hooks", " ".join(plan.hooks)),
        *(("customize", str(path)) for path in plan.customize_files),
        *((("network", "for the customize hooks"),) if plan.network else ()),
        ("kernel args", " ".join(plan.image_args)),
        *((("to finish", f"{plan.unconfigured} packages"),) if plan.unconfigured else ()),
        *((("base", f"{len(plan.base)} packages to install first"),) if plan.base else ()),
        *(("", f"{p.name} {p.version} ({p.architecture})") for p in plan.base),
        ("packages", f"{len(plan.resolution.packages)} to install"),
        *(("", f"{p.name} {p.version} ({p.architecture})") for p in plan.resolution.packages),
        ("verify", ", ".join(map(" or ".join, plan.firmwares)) if plan.verify else "no"),
        ("seed", plan.seed),
        *(("warning", text) for text in plan.warnings),
    ]
    return "".join(f"{key + ':' if key else '':14}{value}\n" for key, value in rows)
