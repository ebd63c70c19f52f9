"""What commands and keeper say to each other: one order a connection, one answer.

The socket lies in a folder that only its owner can enter, so both ends trust
each other as far as to unpickle what they get.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from selfinstall.errors import HostError, SelfinstallError

#: ``wait``: until ssh answers.  ``revert``: begin anew with the image's disk, and wait.
#: ``wait-reboot``: until the machine has restarted and ssh answers.  ``quit``: end.
#: The answer is the port, but nothing to the last.
Command = Literal["wait", "revert", "wait-reboot", "quit"]
_LONGEST = 64
_PATIENCE = 10.0


class Order:
    """An order and the connection that its answer goes to."""

    def __init__(self, command: Command, link: socket.socket) -> None:
        self.command = command
        self._link = link

    def answer(self, value: int | SelfinstallError) -> None:
        """Answer, and hang up; who is gone already does not matter."""
        with contextlib.suppress(OSError), self._link:
            self._link.sendall(pickle.dumps(value))

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        try:
            return self._link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def accept(listener: socket.socket) -> Order | None:
    """The next order; None when what came is none."""
    link, _ = listener.accept()
    link.settimeout(_PATIENCE)
    try:
        word = link.recv(_LONGEST).decode(errors="replace").strip()
    except OSError:
        word = ""
    for command in get_args(Command):
        if word == command:
            link.settimeout(None)
            return Order(command, link)
    link.close()
    return None


def listen(path: Path) -> socket.socket:
    """A socket at *path*, however long that is."""
    with short(path) as name:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(name)
        listener.listen()
        return listener


def send(path: Path, command: Command) -> int | None:
    """Give an order to who listens at *path*, and wait for the answer, however long it takes.

    :returns: the port that leads to ssh; None when the answer is the end.
    :raises HostError: nobody listens, or who did ended without an answer.
    :raises SelfinstallError: what the keeper answers.
    """
    with short(path) as name, socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(name)
            link.sendall(command.encode())
            said = b"".join(iter(lambda: link.recv(1 << 16), b""))
        except OSError as error:
            raise HostError("the machine is gone") from error
    if not said and command != "quit":
        raise HostError("the machine was ended before it answered")
    value = pickle.loads(said) if said else None
    if isinstance(value, SelfinstallError):
        raise value
    assert value is None or isinstance(value, int)
    return value


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for *path* that fits into a socket's address (107 bytes, unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
