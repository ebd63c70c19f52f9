"""What a request settles by itself, and whether it fits what was found."""

from __future__ import annotations

from pathlib import Path

from selfinstall import arch as arches
from selfinstall.arch import Arch
from selfinstall.errors import InputError, UsageError
from selfinstall.request import STDIN, SUFFIXES, Request
from selfinstall.rootfs.facts import RootfsFacts


def check_source(request: Request) -> None:
    """:raises UsageError: the request does not name one thing to make the image of."""
    if request.tarball is None and request.suite is None and request.from_image is None:
        raise UsageError(
            "no tarball and no suite given",
            "selfinstall --tarball rootfs.tar.zst -o disk.img, or selfinstall --suite trixie",
        )
    if request.tarball is not None and request.suite is not None:
        raise UsageError(
            "--suite makes a rootfs and --tarball brings one",
            "give either; --sources FILE gives the tarball other packages",
        )
    if request.suite is None and request.variant != "minbase":
        raise UsageError(
            "--variant chooses packages of a suite, and a tarball has its own",
            "add packages to the tarball with --include, or give --suite in place of it",
        )


def output_path(request: Request) -> Path:
    """Where the image goes: as asked, or the tarball's name with the format's suffix.

    :raises UsageError: standard input has no name to go by.
    """
    if request.output is not None:
        return request.output
    if request.tarball is None:
        return Path(f"{request.suite}-{request.arch}{SUFFIXES[request.format]}")
    if request.tarball == STDIN:
        raise UsageError("standard input gives the image no name", "name it with -o")
    name = request.tarball.name
    stem = name.partition(".tar")[0] if ".tar" in name else request.tarball.stem
    return Path(stem + SUFFIXES[request.format])


def arch_of(facts: RootfsFacts) -> Arch:
    """The data of the tarball's architecture; :class:`InputError` when there is none yet."""
    try:
        return arches.get(facts.architecture)
    except UsageError as error:
        raise InputError(f"{facts.name}: {error.message}", error.hint) from None


def check_arch(request: Request, facts: RootfsFacts) -> None:
    """:raises InputError: the tarball is not of the architecture that was asked for."""
    if request.arch is not None and request.arch != facts.architecture:
        raise InputError(
            f"{facts.name} is {facts.architecture}, not {request.arch}",
            "leave out --arch, or give the tarball or image of that architecture",
        )


def has_network(request: Request) -> bool:
    """Whether the guest has a network card."""
    return request.customize_network and bool(request.customize_hooks)
