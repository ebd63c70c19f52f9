#!/usr/bin/env python3
"""A small build daemon's job: an image for a suite and architecture, and sbuild in it.

    buildd.py --arch arm64 trixie hello_2.10-5.dsc

The image is built once and used until it is older than --max-age.  Exit status: 0 built;
1 the package does not build; 2 this job will not succeed however often it is tried; 75
(EX_TEMPFAIL of sysexits.h) the machine is at fault, try again later.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import selfinstall
from selfinstall.errors import GuestHung, HostError, SelfinstallError

BUILT, DOES_NOT_BUILD, GIVE_UP, TRY_AGAIN = 0, 1, 2, 75
#: What passes when the host is repaired or less loaded; all else stays as it is.
INFRASTRUCTURE = (HostError, GuestHung)
#: sbuild's exit statuses: 2 is a package that does not build, 3 one that is given back.
SBUILD = {0: BUILT, 2: DOES_NOT_BUILD, 3: TRY_AGAIN}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One build.

    :param architecture: Debian's name.
    :param source: a .dsc file.
    :param images: where images are kept.
    :param results: where the packages go.
    :param mirror: where the image's packages come from; None for the host's mirror.
    :param accel: as ``selfinstall --accel``.
    :param reboot_timeout: seconds until the image's login prompt; emulation needs many.
    :param max_age: days that an image is used.
    """

    suite: str
    architecture: str
    source: Path
    images: Path
    results: Path
    mirror: str | None = None
    accel: selfinstall.request.Accel = "auto"
    reboot_timeout: int = 60
    max_age: float = 7

    @property
    def image(self) -> Path:
        """The image, by the name that sbuild-qemu knows it by too."""
        return self.images / f"{self.suite}-autopkgtest-{self.architecture}.img"

    @property
    def request(self) -> selfinstall.Request:
        """What selfinstall is asked for."""
        return selfinstall.Request(
            suite=self.suite,
            arch=self.architecture,
            profiles=("autopkgtest",),
            # Else sbuild installs them for each package anew.
            include=("build-essential", "fakeroot"),
            mirror=self.mirror,
            output=self.image,
            format="qcow2",
            size=25 << 30,
            accel=self.accel,
        )


class Log:
    """A log with a time on each line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        """Write one line."""
        now = datetime.datetime.now(datetime.UTC)
        print(f"{now:%Y-%m-%dT%H:%M:%SZ} {text}", file=self.stream, flush=True)

    def event(self, event: selfinstall.Event) -> None:
        """Write what happened in a build; progress would only fill the log."""
        if event.event == "end":
            self.write(f"{event.step}: {event.seconds:.1f} s")
        elif event.event != "progress":
            self.write(f"{event.step}: {event.message or event.event}")


def is_fresh(job: Job) -> bool:
    """Whether the image can be used as it is."""
    if not job.image.exists():
        return False
    return time.time() - job.image.stat().st_mtime < job.max_age * 24 * 3600


def make_image(
    job: Job, log: Log, build: Callable[..., selfinstall.Result] = selfinstall.build
) -> int:
    """Build the image if need be; the exit status that the outcome stands for."""
    if is_fresh(job):
        log.write(f"{job.image} is fresh")
        return BUILT
    began = time.monotonic()
    try:
        result = build(job.request, log.event)
    except SelfinstallError as error:
        again = isinstance(error, INFRASTRUCTURE)
        log.write(f"{type(error).__name__}: {error.message}")
        if error.hint:
            log.write(f"hint: {error.hint}")
        return TRY_AGAIN if again else GIVE_UP
    log.write(f"{result.image}: built and tested in {time.monotonic() - began:.0f} s")
    return BUILT


def sbuild_command(job: Job) -> list[str]:
    """The command that builds the package in the image."""
    return [
        "sbuild",
        "--chroot-mode=autopkgtest",
        "--autopkgtest-virt-server=qemu",
        f"--autopkgtest-virt-server-opt=--dpkg-architecture={job.architecture}",
        f"--autopkgtest-virt-server-opt=--timeout-reboot={job.reboot_timeout}",
        "--autopkgtest-virt-server-opt=--ram-size=2048",
        # Last of all: what sbuild would take for a percent escape is doubled.
        f"--autopkgtest-virt-server-opt={str(job.image.absolute()).replace('%', '%%')}",
        f"--dist={job.suite}",
        f"--arch={job.architecture}",
        f"--build-dir={job.results.absolute()}",
        "--no-run-lintian",
        "--no-clean-source",
        str(job.source.absolute()),
    ]


def build_package(job: Job, log: Log) -> int:
    """Run sbuild; the exit status that its own stands for."""
    command = sbuild_command(job)
    log.write(f"running {' '.join(command)}")
    try:
        status = subprocess.run(command, cwd=job.results, stdin=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        log.write("this host has no sbuild")
        return TRY_AGAIN
    log.write(f"sbuild: exit status {status}")
    return SBUILD.get(status, TRY_AGAIN)


def parse(arguments: Sequence[str]) -> tuple[Job, Path | None]:
    """The job that the command line asks for, and the log's file."""
    parser = argparse.ArgumentParser(
        description="Build a source package by sbuild in an image of its own.",
        epilog="exit status: 0 built, 1 does not build, 2 hopeless, 75 try again later",
    )
    parser.add_argument("suite", help="such as trixie")
    parser.add_argument("source", type=Path, metavar="DSC")
    parser.add_argument("--arch", default="amd64", help="default: %(default)s")
    parser.add_argument("--images", type=Path, default=Path.home() / ".cache/sbuild")
    parser.add_argument("--results", type=Path, default=Path())
    parser.add_argument("--mirror", help="default: that of the host's apt")
    parser.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    parser.add_argument("--reboot-timeout", type=int, default=60, metavar="SECONDS")
    parser.add_argument("--max-age", type=float, default=7, metavar="DAYS")
    parser.add_argument("--log", type=Path, help="default: standard error")
    given = parser.parse_args(arguments)
    job = Job(
        suite=given.suite,
        architecture=given.arch,
        source=given.source,
        images=given.images,
        results=given.results,
        mirror=given.mirror,
        accel=given.accel,
        reboot_timeout=given.reboot_timeout,
        max_age=given.max_age,
    )
    return job, given.log


def work(job: Job, log: Log) -> int:
    """Do the whole job."""
    job.images.mkdir(parents=True, exist_ok=True)
    return make_image(job, log) or build_package(job, log)


def main(arguments: Sequence[str]) -> int:
    """Do the job that the command line asks for."""
    job, file = parse(arguments)
    if file is None:
        return work(job, Log(sys.stderr))
    with file.open("a") as stream:
        return work(job, Log(stream))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
