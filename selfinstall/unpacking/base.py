"""A base that is extracted already: dpkg's database beside it, so that dpkg need only configure it.

The files of these packages are in the rootfs, as debootstrap's first stage and
``--suite`` put them there.  To have dpkg unpack them once more would write the
same files again; what is left of unpacking is the ``preinst`` and the database.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping, Sequence

from selfinstall.unpacking import rule
from selfinstall.unpacking.contents import Contents, data_members
from selfinstall.unpacking.view import View

#: What of a package's kinds may be what in the rootfs.
_FILES = frozenset(("file", "link"))


def digests(package: Contents) -> dict[str, str]:
    """MD5 of each configuration file that is a plain file in *package*, by path with slash.

    As dpkg's status file has them when they are in place.
    """
    wanted = {path for path, _ in package.conffiles}
    found: dict[str, str] = {}
    if not wanted:
        return found
    with package.fetched.path.open("rb") as stream:
        for member in data_members(package.fetched):
            if member.type == "file" and f"/{member.path}" in wanted:
                stream.seek(member.offset)
                content = stream.read(member.stored)
                found[f"/{member.path}"] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return found


def objections(
    packages: Sequence[Contents], view: View, hashes: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Why dpkg must unpack some of *packages* nevertheless, by name.

    :param view: the rootfs; it need have nothing but what shares a name with these.
    :param hashes: by package name, what :func:`digests` found.
    """
    shared: collections.Counter[str | None] = collections.Counter(
        view.place(item.path)
        for package in packages
        for item in package.items
        if item.type != "dir"
    )
    found = {}
    for package in packages:
        why = _objection(package, view, shared, hashes.get(package.name, {}))
        if why is not None:
            found[package.name] = why
    return found


def _objection(
    package: Contents,
    view: View,
    shared: Mapping[str | None, int],
    hashes: Mapping[str, str],
) -> str | None:
    why = rule.own_objection(package)
    if why is not None:
        return why
    for path, flag in package.conffiles:
        if flag or path not in hashes:
            return f"the configuration file {path} is no plain one"
    for item in package.items:
        place = view.place(item.path) if item.path else ""
        node = None if place is None else view.get(place)
        if item.type == "dir":
            there = view.is_folder(place)
        else:
            there = node is not None and (
                node.type == item.type or {node.type, item.type} <= _FILES
            )
            if shared[place] > 1:
                return f"/{item.path} is in two packages"
        # A folder can have taken the place of a link, where /usr is merged.
        if not there and not (item.type == "symlink" and view.is_folder(place)):
            return f"/{item.path} is not in the rootfs"
    return None
