"""Layers: the disk as it is before a build becomes one certain machine, kept for further builds.

What a tarball and packages become on a disk does not depend on the host name,
keys, users, size or format that are asked for: the hooks up to a point
(:data:`POINTS`) need none of these.  At that point the guest freezes the disk
and the host copies it into the cache, under the hash of everything that went
into it (:mod:`selfinstall.layers.key`).  A build with the same hash begins with a
copy of that disk, and of the hooks that come before runs only those that say
``Runs: always``.
"""

from __future__ import annotations

from selfinstall.initramfs.hooks import load_hook

#: The hooks at which a layer is taken, in their order.
POINTS = ("69-layer",)


def with_points(hooks: tuple[str, ...]) -> tuple[str, ...]:
    """The hooks of a build that keeps layers."""
    return tuple(sorted({*hooks, *POINTS}))


def after(hooks: tuple[str, ...], point: str) -> tuple[str, ...]:
    """Those of *hooks* that run in a build which begins with the layer taken at *point*."""
    return tuple(name for name in hooks if name > point or load_hook(name).always)
