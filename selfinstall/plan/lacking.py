"""The packages that a rootfs lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from selfinstall import loader as loaders
from selfinstall import profiles as profiling
from selfinstall.arch import Arch
from selfinstall.plan.bootloaders import chosen_loaders
from selfinstall.plan.choices import has_network
from selfinstall.plan.initsystem import INIT_PACKAGES, INIT_SYSTEMS, chosen_init, included_names
from selfinstall.profiles import Profile
from selfinstall.request import Request
from selfinstall.rootfs.facts import RootfsFacts

#: What an image needs whatever its boot loader: to make and check its file
#: system, to load drivers, to log in.  Some minbase tarballs lack some of these.
BASE_PACKAGES = ("e2fsprogs", "kmod", "login", "mount", "passwd", "udev")
#: What an image is better with; left out where the suite has no such package
#: or where nothing else must be fetched.  fdisk: the root can grow.  zstd: the
#: distribution's own choice for its initramfs.
USEFUL_PACKAGES = ("fdisk", "zstd")
#: What makes an initramfs, the default first: its package, and what packages call to have it done.
GENERATORS = {"initramfs-tools": "update-initramfs", "dracut": "dracut"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """Names of packages that a tarball lacks.

    :param wanted: without these no image; apt must find them.
    :param useful: taken when apt is asked anyway and knows them.
    :param kernels: of these the first that apt knows; empty when a kernel is there or wanted.
    """

    wanted: tuple[str, ...]
    useful: tuple[str, ...]
    kernels: tuple[str, ...] = ()

    @property
    def foreign_architectures(self) -> tuple[str, ...]:
        """Those that a wanted package or kernel names (``NAME:ARCH``)."""
        return _architectures((*self.wanted, *self.kernels))

    @property
    def nothing(self) -> bool:
        """Whether apt need not be asked at all."""
        return not self.wanted and not self.kernels


def needs(
    request: Request, facts: RootfsFacts, arch: Arch, profiles: tuple[Profile, ...] = ()
) -> Needs:
    """What must be added to the rootfs that *facts* describe.

    :raises UsageError: the request names a boot loader or firmware that the architecture has
        not, or a profile that is not for the init system.
    """
    wanted = [*BASE_PACKAGES]
    init = chosen_init(request, facts)
    profiling.check_init(profiles, init)
    if facts.init is None:
        wanted += INIT_SYSTEMS[init]
    kernels: tuple[str, ...] = ()
    if request.kernel is not None:
        wanted.append(request.kernel)
    elif not facts.kernels and not _holds_any(facts, arch.kernel_packages):
        kernels = arch.kernel_packages
    if not any(kernel.initrd for kernel in facts.kernels) and not _has_generator(request, facts):
        wanted.append(next(iter(GENERATORS)))
    for use in chosen_loaders(request, arch):
        wanted += [use.package] if use.package else []
        wanted += loaders.all_loaders()[use.loader].packages
    if request.ssh_key is not None:
        wanted.append("openssh-server")
    useful = [*USEFUL_PACKAGES, *INIT_PACKAGES[init]]
    for profile in profiles:
        wanted += profile.wanted(init)
        useful += profile.wished(init)
    if has_network(request):
        wanted.append("iproute2")

    def lacking(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for n in names if n not in facts.packages))

    return Needs(
        wanted=(*lacking(wanted), *request.include), useful=lacking(useful), kernels=kernels
    )


def _has_generator(request: Request, facts: RootfsFacts) -> bool:
    return not GENERATORS.keys().isdisjoint({*facts.packages, *included_names(request)})


def _holds_any(facts: RootfsFacts, names: Iterable[str]) -> bool:
    """Whether one of the packages is among those that wait for the second stage."""
    return bool(facts.held) and any(name in facts.packages for name in names)


def _architectures(names: Iterable[str]) -> tuple[str, ...]:
    """Architectures that names of packages end in (``NAME:ARCH=VERSION``)."""
    found = (name.partition("=")[0].partition(":")[2] for name in names)
    return tuple(dict.fromkeys(filter(None, found)))
