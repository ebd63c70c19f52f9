"""The init system that an image will have, and the packages that it takes."""

from __future__ import annotations

from selfinstall.request import Request
from selfinstall.rootfs.facts import Init, RootfsFacts

#: The packages of each init system, and what lets it find its network.
INIT_SYSTEMS: dict[Init, tuple[str, ...]] = {
    "systemd": ("systemd-sysv",),
    "sysvinit": ("sysvinit-core",),
    # Debian's openrc is started by sysvinit's init.
    "openrc": ("openrc", "sysvinit-core"),
}
INIT_PACKAGES: dict[Init, tuple[str, ...]] = {
    # resolved was part of systemd itself before bookworm; dbus: without it logind fails.
    "systemd": ("systemd-resolved", "dbus"),
    "sysvinit": ("ifupdown", "dhcpcd-base"),
    "openrc": ("ifupdown", "dhcpcd-base"),
}
NO_NAME_SERVER = "no name server will be set by DHCP: systemd-resolved is not installed"


def chosen_init(request: Request, facts: RootfsFacts | None) -> Init:
    """The init system that the image will have: the rootfs's, an included one, or systemd."""
    if facts is not None and facts.init is not None:
        return facts.init
    included = included_names(request)
    # openrc needs sysvinit's packages, so it is asked first.
    by_package: tuple[tuple[str, Init], ...] = (
        ("openrc", "openrc"),
        ("sysvinit-core", "sysvinit"),
    )
    return next((init for package, init in by_package if package in included), "systemd")


def included_names(request: Request) -> set[str]:
    """Names of the packages that the request adds, without architecture and version."""
    return {name.partition(":")[0].partition("=")[0] for name in request.include}
