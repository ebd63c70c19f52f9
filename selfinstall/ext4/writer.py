"""An archive's members put into an ext4 file system as tar(1) would put them into a mounted one."""

from __future__ import annotations

import os

from selfinstall.ext4 import folders, inode
from selfinstall.ext4.attributes import Attributes, attributes, kind
from selfinstall.ext4.data import Data, runs
from selfinstall.ext4.folders import FOLDER, KINDS, LINK, MAXIMUM_NAME, Folder
from selfinstall.ext4.inode import BLOCK, Stamp
from selfinstall.ext4.library import FileSystem
from selfinstall.ext4.owners import NOBODY, Owners
from selfinstall.rootfs.headers import damage
from selfinstall.rootfs.members import Member
from selfinstall.rootfs.source import shown
from selfinstall.rootfs.tree import follow

#: Documentation/filesystems/ext4/special_inodes.rst; mke2fs makes lost+found first.
ROOT, LOST_FOUND = 2, 11
_FILE, _DIR, _LINK = 0o100000, 0o040000, 0o120000
#: Of folders that no member describes.
_IMPLIED_MODE = 0o755
_LINK_MODE = 0o777


class Writer:
    """Fills a new and empty file system.

    :param fs: it.
    :param data: its files' contents.
    :param made: the time that all files get but for that of their last modification.
    """

    def __init__(self, fs: FileSystem, data: Data, made: Stamp) -> None:
        self._fs = fs
        self._data = data
        self._made = made
        self._archive = -1
        self._owners = NOBODY
        root = Folder(ROOT, ROOT)
        root.put(b"lost+found", LOST_FOUND, FOLDER)
        root.subfolders = 1
        #: By path, in which no links are.
        self._folders = {"": root, "lost+found": Folder(LOST_FOUND, ROOT)}
        #: A folder's path as members have it, its own, and the folder: of the last member.
        self._last = ("", "", root)
        #: Inodes without names: number, whether it is a folder, whether it has a map of blocks.
        self._dead: list[tuple[int, bool, bool]] = []

    def begin(self, archive: int, owners: Owners) -> None:
        """Say whence the next members come.

        :param archive: descriptor of the file that their offsets belong to.
        :param owners: whose names count before their owners' numbers.
        """
        self._archive = archive
        self._owners = owners

    def add(self, member: Member) -> None:
        """Make what *member* describes, in place of what has its name.

        :raises TarDamageError: that cannot be.
        :raises Full: there is no room for it.
        """
        bits = kind(member)
        if not member.path:
            if bits == _DIR:
                self._describe(self._folders[""], member)
            return
        above, _, text = member.path.rpartition("/")
        name = os.fsencode(text)
        if len(name) > MAXIMUM_NAME:
            damage(f"the name {shown(text)} is longer than 255 bytes")
        own, parent = self._parent(above)
        path = f"{own}/{text}" if own else text
        if bits == _DIR:
            self._add_folder(path, parent, name, member)
        elif bits:
            self._add_file(path, parent, name, member, bits)
        else:
            self._add_name(path, parent, name, member)

    def finish(self) -> None:
        """Write the folders, and give back what is no longer used.

        :raises Full: there is no room for them.
        """
        for folder in self._folders.values():
            self._write_folder(folder)
        # Not before: a block that is used again the library could overwrite from its cache.
        for number, is_folder, mapped in self._dead:
            self._fs.free(number, inode.SIZE, folder=is_folder, blocks=mapped)

    def _parent(self, path: str) -> tuple[str, Folder]:
        """The folder at *path*, with the path that it has when links are followed."""
        if path != self._last[0]:
            own = follow(path, self._target)
            if own is None:
                damage(f"the links of {shown(path)} lead in circles")
            self._last = (path, own, self._folders.get(own) or self._make_way(own))
        return self._last[1:]

    def _make_way(self, path: str) -> Folder:
        """Make folders that no member has described so far."""
        above, _, text = path.rpartition("/")
        parent = self._folders.get(above) or self._make_way(above)
        name = os.fsencode(text)
        if parent.get(name) is not None:
            damage(f"there are files below {shown(path)}, which is no folder")
        known = Attributes(0, 0, self._made, (0, 0), {})
        return self._new_folder(path, parent, name, _IMPLIED_MODE, known)

    def _target(self, path: str) -> str | None:
        """Where the link at *path* points."""
        above, _, text = path.rpartition("/")
        folder = self._folders.get(above)
        entry = folder.get(os.fsencode(text)) if folder else None
        if entry is None or entry[1] != LINK:
            return None
        packed = self._fs.read_inode(entry[0], inode.SIZE)
        size = inode.size_of(packed)
        if size < inode.MAP:
            return os.fsdecode(inode.mapped(packed)[:size])
        return os.fsdecode(self._data.read(inode.extents(packed) or (), size))

    def _clear(self, path: str, parent: Folder, name: bytes) -> None:
        """Take *name* away from what has it, if anything has."""
        entry = parent.get(name)
        if entry is None:
            return
        number, old = entry
        self._last = ("", "", self._folders[""])
        if old == FOLDER:
            if not self._folders[path].empty or number == LOST_FOUND:
                damage(f"{shown(path)} is both a folder with files in it and something else")
            del self._folders[path]
            parent.subfolders -= 1
            self._dead.append((number, True, False))
            return
        packed = self._fs.read_inode(number, inode.SIZE)
        if links := inode.links_of(packed) - 1:
            self._fs.write_inode(number, inode.with_links(packed, links))
        else:
            self._dead.append((number, False, inode.has_extents(packed)))

    def _add_folder(self, path: str, parent: Folder, name: bytes, member: Member) -> None:
        entry = parent.get(name)
        if entry is not None and entry[1] == FOLDER:
            self._describe(self._folders[path], member)
            return
        self._clear(path, parent, name)
        self._new_folder(path, parent, name, member.mode, attributes(member, self._owners))

    def _new_folder(
        self, path: str, parent: Folder, name: bytes, mode: int, known: Attributes
    ) -> Folder:
        number = self._fs.new_inode(parent.number, _DIR | mode, folder=True)
        self._write(number, self._packed(_DIR | mode, known, 0, extents=True), known)
        parent.put(name, number, FOLDER)
        parent.subfolders += 1
        folder = self._folders[path] = Folder(number, parent.number)
        return folder

    def _describe(self, folder: Folder, member: Member) -> None:
        """Give a folder that is there the attributes that *member* has."""
        known = attributes(member, self._owners)
        old = self._fs.read_inode(folder.number, inode.SIZE)
        new = self._packed(_DIR | member.mode, known, 0, extents=True)
        self._write(folder.number, inode.with_blocks_of(new, old), known)

    def _add_name(self, path: str, parent: Folder, name: bytes, member: Member) -> None:
        """A hard link."""
        above, _, text = member.target.rpartition("/")
        own = follow(above, self._target)
        folder = None if own is None else self._folders.get(own)
        entry = folder.get(os.fsencode(text)) if folder else None
        if entry is None or entry[1] == FOLDER:
            damage(f"{shown(member.path)} is a hard link to {shown(member.target)}, no file")
        if parent.get(name) == entry:
            return
        self._clear(path, parent, name)
        packed = self._fs.read_inode(entry[0], inode.SIZE)
        links = inode.links_of(packed) + 1
        if links > inode.MAXIMUM_LINKS:
            damage(f"{shown(member.target)} has more names than ext4 can count")
        self._fs.write_inode(entry[0], inode.with_links(packed, links))
        parent.put(name, *entry)

    def _add_file(self, path: str, parent: Folder, name: bytes, member: Member, bits: int) -> None:
        known = attributes(member, self._owners)
        self._clear(path, parent, name)
        mode = bits | (_LINK_MODE if bits == _LINK else member.mode)
        number = self._fs.new_inode(parent.number, mode, folder=False)
        if bits == _FILE:
            packed = self._content(number, mode, known, member)
        elif bits == _LINK:
            packed = self._link(number, mode, known, os.fsencode(member.target))
        else:
            device = inode.device_map(*known.device)
            packed = self._packed(mode, known, 0, content=device)
        self._write(number, packed, known)
        parent.put(name, number, KINDS[bits])

    def _content(self, number: int, mode: int, known: Attributes, member: Member) -> bytes:
        packed = self._packed(mode, known, member.size, extents=True)
        pieces = ((0, member.size),) if member.pieces is None else member.pieces
        wanted = runs(pieces)
        if wanted:
            packed, extents = self._data.allocate(number, packed, wanted)
            self._data.copy(self._archive, member.offset, pieces, extents)
        return packed

    def _link(self, number: int, mode: int, known: Attributes, target: bytes) -> bytes:
        if len(target) < inode.MAP:
            return self._packed(mode, known, len(target), content=target)
        if len(target) >= BLOCK:
            damage("a link's target is longer than 4095 bytes")
        packed = self._packed(mode, known, len(target), extents=True)
        packed, extents = self._data.allocate(number, packed, [(0, 1)])
        self._data.write(target, extents)
        return packed

    def _packed(
        self,
        mode: int,
        known: Attributes,
        size: int,
        *,
        extents: bool = False,
        content: bytes = b"",
    ) -> bytes:
        return inode.pack(
            mode=mode,
            uid=known.uid,
            gid=known.gid,
            size=size,
            modified=known.modified,
            made=self._made,
            extents=extents,
            content=content,
        )

    def _write(self, number: int, packed: bytes, known: Attributes) -> None:
        self._fs.write_inode(number, packed)
        if known.extended:
            self._fs.set_attributes(number, known.extended)

    def _write_folder(self, folder: Folder) -> None:
        blocks = list(folders.blocks(folder))
        packed = self._fs.read_inode(folder.number, inode.SIZE)
        # The root and lost+found have some from mke2fs.
        before = inode.size_of(packed) // BLOCK
        extents = inode.extents(packed) or []
        if len(blocks) > before:
            wanted = [(before, len(blocks) - before)]
            packed, extents = self._data.allocate(folder.number, packed, wanted)
        size = max(before, len(blocks)) * BLOCK
        packed = inode.with_size(inode.with_links(packed, folder.subfolders + 2), size)
        self._fs.write_inode(folder.number, packed)
        sealed = (self._fs.seal_folder_block(folder.number, block) for block in blocks)
        self._data.write(b"".join(sealed), extents)
