"""A tree seen with merged /usr, link by link.

The initramfs has ``/bin``, ``/lib`` … as links into ``/usr`` whatever the
tree has, so that the loader's and the scripts' absolute paths hold for
tarballs and packages of either kind.
"""

from __future__ import annotations

import dataclasses
import posixpath

from selfinstall.rootfs.tree import MAXIMUM_LINKS, Entry, Tree, normal

#: The folders that merged /usr turned into links (as in Debian's base-files and libc6).
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")
#: What else the initramfs takes files from.
OTHERS = ("etc", "opt", "var")


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A file and how one gets there.

    :param path: of the file itself, with merged /usr.
    :param entry: the file itself, never a symbolic link.
    :param links: path and target of each symbolic link on the way.
    """

    path: str
    entry: Entry
    links: tuple[tuple[str, str], ...]


def merged_path(path: str) -> str:
    """*path* with merged /usr: ``/bin/sh`` is ``usr/bin/sh``."""
    path = normal(path)
    return f"usr/{path}" if path.partition("/")[0] in MERGED else path


class MergedTree:
    """A snapshot of a tree's programs and settings (not of ``/boot`` or ``/dev``)."""

    def __init__(self, tree: Tree) -> None:
        self._entries: dict[str, Entry] = {}
        for top in ("usr", *OTHERS):
            self._entries.update(tree.under(top))
        for top in MERGED:
            # In a merged tree only a package, newer than the tree, has files at the old place.
            newer = tree.resolve(top) == f"usr/{top}"
            for path, entry in tree.under(top):
                self._add(path, entry, newer)

    def _add(self, path: str, entry: Entry, newer: bool) -> None:
        place = merged_path(path)
        old = self._entries.get(place)
        # Unmerged trees have compatibility links between both places: the file is what counts.
        was_link = old is not None and old.type == "symlink" and entry.type != "symlink"
        if old is None or was_link or (newer and old.type == entry.type):
            self._entries[place] = _moved(path, entry)

    def find(self, path: str) -> Found | None:
        """The file at *path* after following all links, None when it is absent or links loop."""
        done: list[str] = []
        todo = normal(path).split("/")[::-1]
        links: dict[str, str] = {}
        hops = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            if not done and part in MERGED:
                done = ["usr"]
            done.append(part)
            here = "/".join(done)
            entry = self._entries.get(here)
            if entry is None or entry.type != "symlink":
                continue
            hops += 1
            if hops > MAXIMUM_LINKS:
                return None
            links[here] = entry.target
            done = [] if entry.target.startswith("/") else done[:-1]
            todo += entry.target.split("/")[::-1]
        place = "/".join(done)
        entry = self._entries.get(place)
        return None if entry is None else Found(place, entry, tuple(links.items()))

    def file(self, path: str) -> Found | None:
        """:meth:`find`, but only a regular file."""
        found = self.find(path)
        return found if found is not None and found.entry.type == "file" else None


def _moved(path: str, entry: Entry) -> Entry:
    """*entry* one folder deeper: a link that climbs out of the old folder becomes absolute."""
    if entry.type != "symlink" or not entry.target.startswith("../"):
        return entry
    target = posixpath.join("/", posixpath.dirname(path), entry.target)
    return dataclasses.replace(entry, target=posixpath.normpath(target))
