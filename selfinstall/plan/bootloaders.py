"""The boot loaders that an image gets, and the firmware that starts it."""

from __future__ import annotations

from selfinstall import loader as loaders
from selfinstall.arch import DIRECT, Arch, LoaderUse
from selfinstall.errors import UsageError
from selfinstall.packages.resolution import Resolution
from selfinstall.plan.kernel import foreign
from selfinstall.request import Request
from selfinstall.rootfs.facts import RootfsFacts

#: ``--bootloader`` for kernel and initramfs beside the image.
NO_LOADER = "none"


def chosen_loaders(request: Request, arch: Arch) -> tuple[LoaderUse, ...]:
    """The boot loaders to install: the architecture's usual ones, or as the request narrows them.

    None at all when kernel and initramfs shall lie beside the image.

    :raises UsageError: nothing is left, or a name is unknown.
    """
    if request.bootloader == NO_LOADER:
        return ()
    descriptors = loaders.all_loaders()
    families = list(dict.fromkeys(descriptors[use.loader].family for use in arch.loaders))
    if request.bootloader not in ("auto", *families):
        raise UsageError(
            f"{arch.name} has no boot loader {request.bootloader!r}",
            f"it has: auto, {', '.join([*families, NO_LOADER])}",
        )
    if request.firmware != "both":
        arch.firmware(request.firmware)
    family = tuple(
        use
        for use in arch.loaders
        if (use.auto if request.bootloader == "auto" else _family(use) == request.bootloader)
    )
    chosen = tuple(use for use in family if request.firmware in ("both", *use.firmwares))
    if family and not chosen:
        raise UsageError(
            f"the boot loader {request.bootloader} of {arch.name} is not for the firmware "
            f"{request.firmware}",
            f"it is for: {', '.join(dict.fromkeys(f for use in family for f in use.firmwares))}",
        )
    return chosen


def _family(use: LoaderUse) -> str:
    return loaders.all_loaders()[use.loader].family


def fitting_loaders(
    request: Request, facts: RootfsFacts, resolution: Resolution, arch: Arch
) -> tuple[LoaderUse, ...]:
    """Those of the chosen loaders that can start a kernel that is there or comes."""
    uses = chosen_loaders(request, arch)
    there = {arch.name, *foreign(resolution, arch), *(k.architecture for k in facts.kernels)}
    fitting = tuple(use for use in uses if use.kernel_architecture in (None, *there))
    if uses and not fitting:
        raise UsageError(
            f"the firmware {request.firmware} cannot start a kernel of {arch.name}",
            f"name one of {uses[0].kernel_architecture} with --kernel, or leave out --firmware",
        )
    return fitting


def tested_firmwares(request: Request, uses: tuple[LoaderUse, ...]) -> tuple[tuple[str, ...], ...]:
    """A row for each boot of the verification (:class:`~selfinstall.plan.model.Plan`)."""
    if not uses:
        return ((DIRECT.name,),)
    if request.firmware != "both":
        return ((request.firmware,),)
    return tuple(dict.fromkeys(use.firmwares for use in uses))
