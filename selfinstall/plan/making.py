"""All decisions put together."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable

from selfinstall import profiles as profiling
from selfinstall.arch import Arch
from selfinstall.identity import derived_uuid, fat_id
from selfinstall.packages.resolution import Package, Resolution
from selfinstall.plan.bootloaders import fitting_loaders, tested_firmwares
from selfinstall.plan.choices import check_arch, has_network, output_path
from selfinstall.plan.disk import needed_root_bytes, new_disk
from selfinstall.plan.initsystem import NO_NAME_SERVER, chosen_init
from selfinstall.plan.kernel import INSTALLER_ARGS, chosen_kernel, console, kernel_arguments
from selfinstall.plan.machine import DEFAULT_SMP, chosen_payload
from selfinstall.plan.model import Plan
from selfinstall.plan.settings import guest_hooks, guest_settings
from selfinstall.profiles import Profile
from selfinstall.request import Request
from selfinstall.rootfs.facts import Init, RootfsFacts


def content_seed(request: Request, facts: RootfsFacts, packages: Iterable[Package]) -> str:
    """What ids are derived from by default: equal tarballs and packages have equal ids."""
    rootfs = facts.sha256 if request.suite is None else request.suite
    hashes = (rootfs, *sorted(p.sha256 for p in packages))
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def make(
    request: Request,
    facts: RootfsFacts,
    arch: Arch,
    resolution: Resolution,
    *,
    base: tuple[Package, ...] = (),
    profiles: tuple[Profile, ...] = (),
    seed: str,
) -> Plan:
    """Decide everything.

    :param base: what the second stage installs before all others.
    :param profiles: those of the request, read.
    :param seed: what ids are derived from; the request's, or :func:`content_seed`.
    :raises UsageError: options that do not fit; a disk that is too small.
    :raises InputError: the tarball is not of the architecture that was asked for.
    """
    check_arch(request, facts)
    uses = fitting_loaders(request, facts, resolution, arch)
    packages = (*base, *resolution.packages)
    required = needed_root_bytes(facts, packages)
    disk = new_disk(request, facts, arch, uses, required, seed)
    payload, memory = chosen_payload(request, facts, arch, packages)
    init = chosen_init(request, facts)
    kernel = chosen_kernel(request, facts, arch, resolution)
    plan = Plan(
        tarball=facts.name,
        from_suite=request.suite is not None,
        arch=arch.name,
        system=facts.pretty_name,
        suite=facts.suite,
        output=output_path(request),
        format=request.format,
        hostname=request.hostname or facts.hostname or facts.distribution,
        distributor=facts.distribution.capitalize(),
        init=init,
        seed=seed,
        disk=disk,
        root_bytes=required,
        root_uuid=derived_uuid(seed, "root file system"),
        root_hash_seed=derived_uuid(seed, "root directory hash"),
        esp_id=fat_id(seed, "ESP"),
        loaders=uses,
        firmwares=tested_firmwares(request, uses),
        base=base,
        unconfigured=len(facts.unconfigured),
        resolution=resolution,
        kernel=kernel,
        payload=payload,
        unpack=request.unpack,
        memory_mib=memory,
        smp=request.smp or DEFAULT_SMP,
        profiles=tuple(profiling.Used(p.name, p.source, p.sha256) for p in profiles),
        hooks=guest_hooks(
            uses,
            second_stage=bool(base),
            profiles=any(p.acts for p in profiles),
            unpack=request.unpack,
        ),
        settings={},
        installer_args=(console(arch), *INSTALLER_ARGS, *arch.installer_args),
        image_args=(
            *kernel_arguments(arch, init),
            *dict.fromkeys(argument for p in profiles for argument in p.kernel_args),
        ),
        # Numbers, not the files' own names: those can hold anything.
        customize_hooks=tuple(f"{n:02d}" for n, _ in enumerate(request.customize_hooks, 1)),
        customize_files=request.customize_hooks,
        network=has_network(request),
        verify=request.verify,
        allow_unsigned=request.allow_unsigned,
        warnings=(
            *_warnings(facts, packages, init, unsigned=request.allow_unsigned),
            *profiling.missed(profiles, request),
            *profiling.without_modules(profiles, kernel),
        ),
    )
    return dataclasses.replace(plan, settings=guest_settings(plan, request, arch, facts, profiles))


def _warnings(
    facts: RootfsFacts, packages: Iterable[Package], init: Init, *, unsigned: bool
) -> tuple[str, ...]:
    there = {*facts.packages, *(p.name for p in packages)}
    found = []
    if unsigned:
        found.append(
            "--allow-unsigned: packages are taken whoever made them; "
            "the image is as trustworthy as the network on the way to the mirror"
        )
    if "fdisk" not in there:
        found.append("the root will not grow with the disk: the package fdisk is not installed")
    if init == "systemd" and "systemd-resolved" not in there:
        found.append(NO_NAME_SERVER)
    return tuple(found)
