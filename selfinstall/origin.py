"""What a build starts from: a tarball, a suite's packages or an image."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from selfinstall import arch as arches
from selfinstall import plan, stage, suite
from selfinstall.adapt import base as images
from selfinstall.adapt.base import Base
from selfinstall.clock import Clock
from selfinstall.packages.aptroot import AptRoot
from selfinstall.packages.cache import Cache
from selfinstall.packages.resolution import Fetched
from selfinstall.packages.target import AptInput
from selfinstall.request import Request
from selfinstall.rootfs.facts import RootfsFacts
from selfinstall.rootfs.inspect import Inspection, inspect
from selfinstall.stage import SecondStage


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a build starts from, wherever it comes from.

    :param second_stage: what is to be finished of it.
    :param apt: where its packages come from, and what apt believes to be installed.
    :param fetched: packages of the second stage that are fetched already.
    :param image: the image that is adapted, None where a new one is made.
    """

    inspection: Inspection
    second_stage: SecondStage
    apt: AptInput
    fetched: tuple[Fetched, ...] = ()
    image: Base | None = None


def from_tarball(request: Request, work: Path, clock: Clock, *, spool: Path | None) -> Origin:
    """The rootfs as it is in a tarball."""
    assert request.tarball is not None
    inspection = inspect(request.tarball, spool=spool, on_event=clock.on_event)
    facts = inspection.facts
    plan.check_arch(request, facts)
    second = stage.of_tarball(inspection.dpkg_status, facts.held)
    return Origin(
        inspection=inspection, second_stage=second, apt=_apt_input(request, facts, second)
    )


def from_image(
    request: Request, work: Path, clock: Clock, *, spool: Path | None, disk: Path | None
) -> Origin:
    """The system that is in an image.

    :param disk: where the image is copied to; None to look only.
    """
    assert request.from_image is not None
    facts = images.look_at(request.from_image)
    if disk is None and facts.format == "raw":
        disk = facts.path
    else:
        disk = disk or work / "disk.raw"
        with clock.step("copy"):
            images.copy(facts, disk, clock.on_event)
    base = images.look_into(facts, disk)
    inspection = images.inspect(base, disk, spool=spool, on_event=clock.on_event)
    plan.check_arch(request, inspection.facts)
    second = stage.of_tarball(inspection.dpkg_status, ())
    apt = _apt_input(request, inspection.facts, second)
    return Origin(inspection=inspection, second_stage=second, apt=apt, image=base)


def from_suite(
    request: Request,
    work: Path,
    clock: Clock,
    holding: contextlib.ExitStack,
    *,
    spool: Path | None,
) -> Origin:
    """The rootfs made of a suite's packages."""
    arches.get(request.arch or "")
    files = suite.image_files(request)
    apt = suite.apt_input(request, files)
    cache = Cache(request.cache, holding)
    with clock.step("packages"), AptRoot(apt, work / "apt", cache, on_event=clock.on_event) as root:
        base = suite.find_base(request, root, fetching=spool is not None, on_event=clock.on_event)
    inspection = suite.make_rootfs(request, base, files, spool=spool, on_event=clock.on_event)
    second = base.second_stage
    apt = dataclasses.replace(apt, dpkg_status=second.status)
    return Origin(inspection=inspection, second_stage=second, apt=apt, fetched=base.fetched)


def _apt_input(request: Request, facts: RootfsFacts, second: SecondStage) -> AptInput:
    """What apt is told about a system that is there."""
    return AptInput(
        architecture=facts.architecture,
        dpkg_status=second.status,
        sources=facts.sources,
        keyrings=facts.keyrings,
        suite=facts.suite,
        mirror=request.mirror,
        sources_file=request.sources,
        keyring=request.keyring,
        packages_dir=request.packages,
        proxy=request.apt_proxy,
        held=second.rest,
        allow_unsigned=request.allow_unsigned,
    )
