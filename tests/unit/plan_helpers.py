"""Facts, resolutions and plans that need no tarball."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfinstall import plan
from selfinstall.arch import all_arches
from selfinstall.packages.resolution import Package, Resolution, Step
from selfinstall.plan import Plan
from selfinstall.request import Request
from selfinstall.rootfs.facts import RootfsFacts

SEED = "golden"


def make_facts(**changes: Any) -> RootfsFacts:
    """Facts of a small kernel-less tarball."""
    values: dict[str, Any] = {
        "name": "rootfs.tar.zst",
        "sha256": "0" * 64,
        "compression": "zstd",
        "compressed_bytes": 50_000_000,
        "tar_bytes": 165_588_480,
        "content_bytes": 150_000_000,
        "members": 9000,
        "architecture": "amd64",
        "distribution": "debian",
        "suite": "trixie",
        "pretty_name": "Debian GNU/Linux 13 (trixie)",
        "init": "systemd",
        "merged_usr": True,
        "hostname": None,
        "kernels": (),
        "packages": {"mount": "1", "passwd": "1", "login": "1", "systemd": "257"},
        "unconfigured": (),
        "sources": (),
        "keyrings": (),
        "machine_id": False,
    }
    return RootfsFacts(**{**values, **changes})


def make_package(
    name: str, *, automatic: bool = False, installed: int = 1 << 20, architecture: str = "amd64"
) -> Package:
    return Package(
        name=name,
        version="1.0-1",
        architecture=architecture,
        filename=f"{name}_1.0-1_{architecture}.deb",
        sha256="1" * 64,
        size=1000,
        installed_size=installed,
        automatic=automatic,
    )


def make_resolution(architecture: str = "amd64", kernel: str | None = None) -> Resolution:
    """A tool and a kernel, by default the architecture's first, ``NAME`` or ``NAME:ARCH``."""
    kernel = kernel or all_arches()[architecture].kernel_packages[0]
    name, _, foreign = kernel.partition(":")
    packages = (
        make_package("kmod", automatic=True, architecture=architecture),
        make_package(name, architecture=foreign or architecture),
    )
    return Resolution(
        packages=packages,
        steps=(
            Step("unpack", tuple(p.filename for p in packages)),
            Step("configure", tuple(f"{p.name}:{p.architecture}" for p in packages)),
        ),
    )


def make_plan(
    facts: RootfsFacts | None = None, resolution: Resolution | None = None, **request: Any
) -> Plan:
    """A plan from facts and the changed fields of a request."""
    facts = facts or make_facts()
    arch = all_arches()[facts.architecture]
    asked = Request(tarball=Path("rootfs.tar.zst"), **request)
    return plan.make(
        asked, facts, arch, resolution or make_resolution(facts.architecture), seed=SEED
    )
