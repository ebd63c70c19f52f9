"""The folder by which the commands for one machine find each other."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import urllib.parse
from pathlib import Path

from selfinstall.errors import HostError, UsageError
from selfinstall.host import temporary_folder

_PREFIX = "selfinstall-virt-ssh-"
#: What a word of ``extraopts`` may hold: autopkgtest-virt-ssh splits them at blanks, and
#: its keys from values at ``=``.
_SAFE = "/:+,@"


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """A folder that only its owner can enter."""

    folder: Path

    @property
    def control(self) -> Path:
        """The keeper's socket."""
        return self.folder / "control"

    @property
    def console(self) -> Path:
        """The log of the machine's console."""
        return self.folder / "console.log"

    @property
    def complaints(self) -> Path:
        """What the keeper says when it should not."""
        return self.folder / "keeper.log"

    @property
    def job(self) -> Path:
        """What the keeper is started for."""
        return self.folder / "job"

    @property
    def key(self) -> Path:
        """The private key that was made for this machine, where one was."""
        return self.folder / "key"

    @property
    def seed(self) -> Path:
        """cloud-init's seed, where there is one."""
        return self.folder / "seed.iso"

    @property
    def word(self) -> str:
        """The folder's name as one word without blanks."""
        return urllib.parse.quote(str(self.folder), safe=_SAFE)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def make() -> State:
    """A new one.

    :raises HostError: it cannot be made.
    """
    parent = temporary_folder()
    try:
        return State(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)))
    except OSError as error:
        raise HostError(
            f"cannot make a folder in {parent}: {error.strerror}",
            "set TMPDIR to a folder that you can write to",
        ) from None


def find(word: str) -> State:
    """The one that :attr:`State.word` stands for.

    :raises UsageError: it cannot be one.
    """
    folder = Path(urllib.parse.unquote(word))
    if not folder.is_absolute() or not folder.name.startswith(_PREFIX):
        raise UsageError(f"{word!r} is no folder of selfinstall-virt-ssh")
    return State(folder)
