"""The manifest: what an image holds and how it was made, as one JSON object."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfinstall import version
from selfinstall.errors import HostError, InputError
from selfinstall.image.digest import Digest, digest
from selfinstall.plan import Plan
from selfinstall.qemu.install import GuestReport
from selfinstall.rootfs.facts import RootfsFacts
from selfinstall.verification import Verified

#: Far more than any manifest has.
MAXIMUM_BYTES = 64 << 20
_CHANGED = "it was damaged, replaced, or run with boot --write since"


def make(
    plan: Plan,
    facts: RootfsFacts,
    report: GuestReport,
    verified: Sequence[Verified],
    image: Digest | None,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The manifest of a finished image.

    :param image: its digest, None when nobody asked for it.
    """
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
        "allow_unsigned": plan.allow_unsigned,
        "format": plan.format,
        "image": None if image is None else dataclasses.asdict(image),
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


def check(path: Path, image: Path) -> None:
    """Compare *image* with what the manifest at *path* says of its content.

    :raises InputError: they differ, or the manifest does not tell.
    """
    told = _told(path)
    found = digest(image)
    if told.size != found.size:
        raise InputError(
            f"{image} is not the image of {path}: it has {found.size} bytes, not {told.size}",
            _CHANGED,
        )
    if told != found:
        raise InputError(f"{image} is not the image of {path}: its content differs", _CHANGED)


def _told(path: Path) -> Digest:
    try:
        with path.open("rb") as stream:
            image = json.loads(stream.read(MAXIMUM_BYTES))["image"]
        return Digest(int(image["size"]), str(image["pieces_sha256"]))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError(
            f"{path} is no manifest that tells what is in an image",
            "selfinstall writes one with --manifest FILE",
        ) from None


def write(content: Mapping[str, Any], path: Path) -> None:
    """Write *content* to *path*.

    :raises HostError: it cannot be written.
    """
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
    except OSError as error:
        raise HostError(f"cannot write the manifest {path}: {error.strerror}") from None
