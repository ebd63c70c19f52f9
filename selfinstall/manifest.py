"""The manifest: what an image holds and how it was made, as one JSON object."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfinstall import version
from selfinstall.errors import HostError
from selfinstall.plan import Plan
from selfinstall.qemu.install import GuestReport
from selfinstall.rootfs.facts import RootfsFacts
from selfinstall.verification import Verified


def make(
    plan: Plan,
    facts: RootfsFacts,
    report: GuestReport,
    verified: Sequence[Verified],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The manifest of a finished image."""
    return {
        "selfinstall": version.VERSION,
        "arch": plan.arch,
        "system": plan.system,
        "suite": plan.suite,
        "tarball": (
            None
            if plan.from_suite or plan.from_image
            else {"name": facts.name, "sha256": facts.sha256}
        ),
        "from_image": facts.name if plan.from_image else None,
        "profiles": [dataclasses.asdict(used) for used in plan.profiles],
        "seed": plan.seed,
        "format": plan.format,
        "disk": dataclasses.asdict(plan.disk),
        "root": {"type": "ext4", "uuid": plan.root_uuid},
        "esp": {"id": plan.esp_id},
        "loaders": [use.loader for use in plan.loaders],
        "kernel_args": list(plan.image_args),
        "packages": _packages(report.manifest),
        "added": [
            {"name": p.name, "version": p.version, "sha256": p.sha256} for p in plan.packages
        ],
        "qemu": {
            "version": report.qemu_version,
            "accel": report.accel,
            "cpu_seconds": report.cpu_seconds,
            "max_rss": report.max_rss,
        },
        "seconds": dict(seconds),
        "boots": [dataclasses.asdict(v) for v in verified],
    }


def _packages(listing: bytes) -> list[dict[str, str]]:
    """The lines that the guest's dpkg-query wrote: name, version, state."""
    rows = (line.split("\t") for line in listing.decode("utf-8", "replace").splitlines())
    return [
        {"name": row[0], "version": row[1], "status": row[2].strip()}
        for row in rows
        if len(row) == 3
    ]


def write(content: Mapping[str, Any], path: Path) -> None:
    """Write *content* to *path*.

    :raises HostError: it cannot be written.
    """
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
    except OSError as error:
        raise HostError(f"cannot write the manifest {path}: {error.strerror}") from None
