"""The boot loaders: one file each with one frozen :class:`Loader`, and one hook of the same name.

Its hook is ``hooks/65-NAME``; hooks named ``68-…`` make the boot menu, and make it again
when the user's scripts changed what stands in it.  What differs by architecture (platform,
package) stands in the architecture's file as a
:class:`selfinstall.arch.LoaderUse`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil

from selfinstall.layout import Partition


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Loader:
    """What a boot loader needs of disk and packages, whatever the architecture.

    :param name: as :class:`selfinstall.arch.LoaderUse` and the hook call it.
    :param family: as ``--bootloader`` calls it.
    :param partitions: partitions of its own, in disk order; the root partition follows.
    :param packages: packages it needs beside the platform's own.
    :param hooks: the guest's hooks, first its own.
    :param target_setting: the setting in which its hook finds the platforms' names,
        separated by spaces; None when it needs none.
    :param menu_programs: what packages call to have the boot menu made again.  None of them runs
        before the loader is there, whichever loader the image gets.
    :param menu_inputs: files and folders that the menu is made of, beside ``/boot``, without
        leading slash.
    :param magic: the disk's first bytes once it is installed, where they are its own.
    :param dos_magic: the same under a DOS label, where it needs no partition of its own.
    :param root_attributes: attributes of the root partition, as sfdisk(8) names them.
    """

    name: str
    family: str
    partitions: tuple[Partition, ...]
    packages: tuple[str, ...]
    hooks: tuple[str, ...]
    target_setting: str | None = None
    root_attributes: str = ""
    menu_programs: tuple[str, ...] = ()
    menu_inputs: tuple[str, ...] = ()
    magic: bytes = b""
    dos_magic: bytes = b""


@functools.cache
def all_loaders() -> dict[str, Loader]:
    """Every boot loader by name, found by listing this package's modules."""
    found: dict[str, Loader] = {}
    for module in pkgutil.iter_modules(__path__):
        loader = importlib.import_module(f"{__name__}.{module.name}").LOADER
        found[loader.name] = loader
    return found
