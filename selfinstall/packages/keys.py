"""Private copies of the keyrings that the sources are verified with."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

from selfinstall.errors import InputError
from selfinstall.packages import keyring
from selfinstall.packages.sources import Source
from selfinstall.packages.target import AptInput, read, readable

#: Where the host keeps keys, used when the tarball has none.
HOST_TRUSTED = Path("/etc/apt")
HOST_KEYRINGS = Path("/usr/share/keyrings")


class Keys:
    """Private copies of the keyrings below *folder*/keyrings, named by their content.

    :param folder: apt's private root.
    :param here: what apt calls that folder.
    :raises InputError: when the user's keyring is none.
    """

    def __init__(self, inputs: AptInput, folder: Path, here: str) -> None:
        self._folder = folder
        self._here = here
        self._own: str | None = None
        self._tarball = {keyring.normal(path): data for path, data in inputs.keyrings}
        self._from_user = inputs.sources_file is not None
        if inputs.keyring is not None:
            data = keyring.binary(str(inputs.keyring), read(inputs.keyring))
            self._own = self._copy(data)
            self._default: str | None = self._own
        else:
            found = keyring.trusted(inputs.keyrings) or ({} if inputs.keyrings else host_keyrings())
            merged = keyring.merged(found)
            self._default = self._copy(merged) if merged else None
        if self._default is not None:
            # For sources that name a key by its fingerprint.
            path = folder / "trusted.gpg.d" / "target.gpg"
            shutil.copyfile(folder / self._default.removeprefix(f"{self._here}/"), path)

    def apply(self, source: Source) -> Source:
        """*source* with paths of private keyrings."""
        if self._own is not None:
            signed_by: tuple[str, ...] = (self._own,)
        elif source.key_block is not None:
            signed_by = (self._copy(keyring.binary(source.origin, source.key_block.encode())),)
        elif source.signed_by:
            signed_by = tuple(self._named(source, word) for word in source.signed_by)
        else:
            signed_by = () if self._default is None else (self._default,)
        return dataclasses.replace(source, signed_by=signed_by, key_block=None)

    def _named(self, source: Source, word: str) -> str:
        if not word.startswith("/"):
            return word  # a fingerprint
        host = readable(Path(word))
        data = keyring.named(word, self._tarball)
        # Who wrote sources on this machine means this machine's files.
        data = (host or data) if self._from_user else (data or host)
        if data is None:
            raise InputError(f"{source.origin}: there is no keyring {word}", keyring.HINT)
        return self._copy(keyring.binary(word, data))

    def _copy(self, data: bytes) -> str:
        name = f"keyrings/{hashlib.sha256(data).hexdigest()[:32]}.gpg"
        (self._folder / name).write_bytes(data)
        return f"{self._here}/{name}"


def host_keyrings() -> dict[str, bytes]:
    """The host's trusted keys and Debian's archive keyring, as far as it has them."""
    paths = [
        HOST_TRUSTED / "trusted.gpg",
        *sorted((HOST_TRUSTED / "trusted.gpg.d").glob("*")),
        HOST_KEYRINGS / "debian-archive-keyring.pgp",
        HOST_KEYRINGS / "debian-archive-keyring.gpg",
    ]
    found = ((path, readable(path)) for path in paths)
    return {str(path): data for path, data in found if data}
