"""What later builds need again, in the user's cache folder.

Safe to share between builds at the same moment and to be killed at any:
everything is written under a temporary name and renamed, entries never
change, and what is taken out is verified first.  No locks: what a build takes it
links into a folder of its own, so it stays whoever removes the entry.

    debs/SHA256.deb           packages as downloaded
    repacked/SHA256.deb       the same without compression, by the hash of the original
    repacked/SHA256.json      what the repacked file must be
    derived/SHA256.KIND       other things made of a package, and SHA256.KIND.json likewise
    lists/KEY/                apt's verified index files for one set of sources
    decided/KEY               what apt decided from such, after its own hash
    tmp/                      what is being written, and links to what builds have taken
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from selfinstall.errors import HostError, InputError
from selfinstall.host import NO_ROOM, room_in
from selfinstall.packages import deb
from selfinstall.scratch import private_folder, sweep

#: How the names of what is being written begin.
TEMPORARY = "new-"
FORMAT = 1
#: The way out of a full disk.
MOVE_CACHE = "make room there, or set XDG_CACHE_HOME to another folder"
_HASHES = "sha256.json"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RepackedDeb:
    """A repacked .deb in the cache and where its uncompressed ``data.tar`` is, in bytes."""

    path: Path
    data_offset: int
    data_size: int


def default_folder(environment: Mapping[str, str]) -> Path:
    """``$XDG_CACHE_HOME/selfinstall``, or ``~/.cache/selfinstall`` without an absolute one."""
    named = Path(environment.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "selfinstall"
    home = Path(environment.get("HOME", ""))
    if not home.is_absolute():
        raise HostError(
            "there is no home directory to keep downloads in",
            "set XDG_CACHE_HOME to a folder that you can write to",
        )
    return home / ".cache" / "selfinstall"


def check_folder() -> None:
    """See that the user's cache folder can be made and written to.

    :raises HostError: it cannot.
    """
    folder = default_folder(os.environ)
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Turns what goes wrong in *folder* into the :class:`HostError` that names it."""
    try:
        yield
    except OSError as error:
        raise HostError(
            f"the cache folder {folder} cannot be used: {error.strerror}",
            "set XDG_CACHE_HOME to a folder that you can write to",
        ) from error


def folder_or(given: Path | None, other: Path) -> Path:
    """The cache's folder, or *other* for a user who has none and so remembers nothing."""
    if given is not None:
        return given
    try:
        return default_folder(os.environ)
    except HostError:
        return other


def link_or_copy(source: Path, target: Path) -> None:
    """Make *target* the same file as *source*, or a copy where file systems do not allow that."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Cache:
    """The cache folder.

    :param folder: None for :func:`default_folder` of the process's environment.
    :param holding: until it closes, the files whose paths are given out stay; without it they
        may go at any time.
    :raises HostError: when it cannot be made or written to.
    """

    def __init__(
        self, folder: Path | None = None, holding: contextlib.ExitStack | None = None
    ) -> None:
        self.folder = default_folder(os.environ) if folder is None else folder.absolute()
        self._numbers = itertools.count()
        self._held: Path | None = None
        with _usable(self.folder):
            for name in ("debs", "repacked", "derived", "lists", "decided", "tmp"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder / "tmp"):
                pass
            sweep(self.folder / "tmp", TEMPORARY)
            if holding is not None:
                # Not _temporary(), which would take any full disk until the end for this one.
                with room_in(self.folder, MOVE_CACHE):
                    place = private_folder(self.folder / "tmp", TEMPORARY)
                    self._held = holding.enter_context(place)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        """A folder on the cache's file system, removed afterwards."""
        with (
            room_in(self.folder, MOVE_CACHE),
            private_folder(self.folder / "tmp", TEMPORARY) as folder,
        ):
            yield folder

    def _own(self, file: Path, place: Path) -> Path:
        """Where *file*, whose place is *place*, stays for as long as it is needed.

        :raises FileNotFoundError: there is none.
        """
        if self._held is None:
            return place
        own = self._held / f"{next(self._numbers)}-{place.name}"
        with room_in(self.folder, MOVE_CACHE):
            link_or_copy(file, own)
        return own

    def deb(self, sha256: str) -> Path | None:
        """The .deb with that hash, its content verified, or None; a damaged one is removed."""
        path = self.folder / "debs" / f"{sha256}.deb"
        try:
            own = self._own(path, path)
            if sha256_of(own) == sha256:
                _touch(path)
                return own
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return None

    def add_deb(self, path: Path, sha256: str) -> Path:
        """Keep the .deb at *path*, whose hash the caller has verified; its place in the cache."""
        target = self.folder / "debs" / f"{sha256}.deb"
        with self._temporary() as folder:
            link_or_copy(path, folder / "deb")
            own = self._own(folder / "deb", target)
            (folder / "deb").replace(target)
        _touch(target)
        return own

    def repacked(self, sha256: str) -> RepackedDeb | None:
        """The repacked form of the .deb with that hash, verified, or None."""
        path, record = self._repacked_paths(sha256)
        try:
            facts = json.loads(record.read_text())
            own = self._own(path, path)
            if facts["format"] != FORMAT or sha256_of(own) != facts["sha256"]:
                return None
            place = deb.place(own)
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError, InputError):
            return None
        _touch(record)
        return RepackedDeb(path=own, data_offset=place.data_offset, data_size=place.data_size)

    def repack(self, source: Path, sha256: str) -> RepackedDeb:
        """Make and keep the repacked form of the .deb at *source*, which has that hash.

        :raises InputError: when *source* is damaged.
        :raises HostError: when the disk is full.
        """
        path, record = self._repacked_paths(sha256)
        with self._temporary() as folder:
            temporary = folder / path.name
            with temporary.open("xb") as stream:
                place = deb.repack(source, stream)
            facts = {"format": FORMAT, "sha256": sha256_of(temporary)}
            (folder / record.name).write_text(json.dumps(facts))
            own = self._own(temporary, path)
            # Equal input gives equal bytes, so it does not matter who comes last.
            temporary.replace(path)
            (folder / record.name).replace(record)
        return RepackedDeb(path=own, data_offset=place.data_offset, data_size=place.data_size)

    def derived(self, sha256: str, kind: str, make: Callable[[Path], None]) -> BinaryIO:
        """What *make* makes of the package with that hash; made once, then kept and verified.

        :returns: it, open; to be closed by the caller.

        :param kind: its name; a new one for each change of what *make* does.
        :param make: writes the file whose path it is given.
        """
        path = self.folder / "derived" / f"{sha256}.{kind}"
        record = path.with_name(f"{path.name}.json")
        with contextlib.suppress(
            FileNotFoundError, ValueError, KeyError, TypeError, RecursionError
        ):
            wanted = json.loads(record.read_text())["sha256"]
            with contextlib.ExitStack() as stack:
                stream = stack.enter_context(path.open("rb"))
                if hashlib.file_digest(stream, "sha256").hexdigest() == wanted:
                    _touch(record)
                    stream.seek(0)
                    stack.pop_all()
                    return stream
        with self._temporary() as folder:
            made = folder / path.name
            make(made)
            (folder / record.name).write_text(json.dumps({"sha256": sha256_of(made)}))
            stream = made.open("rb")
            made.replace(path)
            (folder / record.name).replace(record)
        return stream

    def _repacked_paths(self, sha256: str) -> tuple[Path, Path]:
        folder = self.folder / "repacked"
        return folder / f"{sha256}.deb", folder / f"{sha256}.json"

    def take_lists(self, key: str, target: Path) -> bool:
        """Fill the empty folder *target* with what is kept under *key*; whether there is any."""
        source = self.folder / "lists" / key
        try:
            hashes = json.loads((source / _HASHES).read_text())
            for name, sha256 in hashes.items():
                if name != Path(name).name:
                    raise ValueError(f"{name!r} is no file's name")
                link_or_copy(source / name, target / name)
                if sha256_of(target / name) != sha256:
                    raise ValueError(f"{name} is damaged")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            # None, or damaged, or just being replaced by another build.
            for path in target.iterdir():
                path.unlink()
            return False
        _touch(source)
        return bool(hashes)

    def keep_lists(self, key: str, paths: Sequence[Path]) -> None:
        """Keep these files under *key*, in place of what was there."""
        target = self.folder / "lists" / key
        with self._temporary() as folder:
            new = folder / "new"
            new.mkdir()
            for path in paths:
                link_or_copy(path, new / path.name)
            hashes = {path.name: sha256_of(new / path.name) for path in paths}
            (new / _HASHES).write_text(json.dumps(hashes))
            # Another build may be doing the same: whoever comes second here lets it be.
            with contextlib.suppress(FileNotFoundError):
                target.replace(folder / "old")
            with contextlib.suppress(FileExistsError):
                _rename_new(new, target)

    def recall(self, key: str) -> bytes | None:
        """What :meth:`remember` was given under *key*, verified, or None."""
        path = self.folder / "decided" / key
        try:
            digest, _, content = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if digest != hashlib.sha256(content).hexdigest().encode():
            path.unlink(missing_ok=True)
            return None
        _touch(path)
        return content

    def remember(self, key: str, content: bytes) -> None:
        """Keep *content* under *key*."""
        with self._temporary() as folder:
            digest = hashlib.sha256(content).hexdigest().encode()
            (folder / key).write_bytes(digest + b"\n" + content)
            (folder / key).replace(self.folder / "decided" / key)


def _rename_new(source: Path, target: Path) -> None:
    """Rename a folder; :class:`FileExistsError` when there is one that holds something."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise FileExistsError(error.errno, error.strerror, str(target)) from error


def _touch(path: Path) -> None:
    """Mark as used now; that it cannot be marked harms nothing."""
    with contextlib.suppress(OSError):
        os.utime(path)
