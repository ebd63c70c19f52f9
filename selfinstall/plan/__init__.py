"""The plan: everything decided before anything runs.  Pure: values in, values out.

A request and the facts of a rootfs come in.  What the request settles is checked first
(:mod:`~selfinstall.plan.choices`), then comes what is chosen
(:mod:`~selfinstall.plan.initsystem`, :mod:`~selfinstall.plan.bootloaders`) and which packages
the rootfs lacks for it (:mod:`~selfinstall.plan.lacking`).  When apt has answered,
:mod:`~selfinstall.plan.making` puts :mod:`~selfinstall.plan.disk`,
:mod:`~selfinstall.plan.machine`, :mod:`~selfinstall.plan.kernel` and what the guest's hooks
read (:mod:`~selfinstall.plan.settings`) together to a :class:`Plan`
(:mod:`~selfinstall.plan.model`).
"""

from __future__ import annotations

from selfinstall.plan.bootloaders import NO_LOADER, chosen_loaders
from selfinstall.plan.choices import arch_of, check_arch, check_source, output_path
from selfinstall.plan.disk import needed_root_bytes, place
from selfinstall.plan.initsystem import INIT_PACKAGES, INIT_SYSTEMS, NO_NAME_SERVER, chosen_init
from selfinstall.plan.kernel import INSTALLER_ARGS, kernel_arguments
from selfinstall.plan.lacking import BASE_PACKAGES, USEFUL_PACKAGES, Needs, needs
from selfinstall.plan.making import content_seed, make
from selfinstall.plan.model import Plan
from selfinstall.plan.settings import ROOT_HOOK

__all__ = [
    "BASE_PACKAGES",
    "INIT_PACKAGES",
    "INIT_SYSTEMS",
    "INSTALLER_ARGS",
    "NO_LOADER",
    "NO_NAME_SERVER",
    "ROOT_HOOK",
    "USEFUL_PACKAGES",
    "Needs",
    "Plan",
    "arch_of",
    "check_arch",
    "check_source",
    "chosen_init",
    "chosen_loaders",
    "content_seed",
    "kernel_arguments",
    "make",
    "needed_root_bytes",
    "needs",
    "output_path",
    "place",
]
