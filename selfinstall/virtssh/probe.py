"""Whether an ssh server answers at a port that qemu forwards."""

from __future__ import annotations

import re
import socket

from selfinstall.qemu.session import Session
from selfinstall.qemu.usernet import LOOPBACK

NAME = "ssh"
#: Seconds between two tries; qemu takes connections at any time and drops those that the
#: guest refuses, which is the only sign there is.
RETRY = 1.0
#: Seconds after which a connection that says nothing is given up: its first packet may have
#: been lost when the guest had no network yet.
PATIENCE = 30.0
# Other lines may come before (RFC 4253, 4.2).
_BANNER = re.compile(rb"^SSH-", re.MULTILINE)


class Probe:
    """Connects to *port* again and again, beside what else a session waits for.

    :ivar refused: whether the guest refused the last connection, rather than not answering.
    """

    def __init__(self, session: Session, port: int) -> None:
        self.refused = False
        self._session = session
        self._port = port
        self._link: socket.socket | None = None
        self._said = b""
        self._since = 0.0
        self._next = 0.0

    def answered(self, said: list[tuple[str, bytes]], now: float) -> bool:
        """Take what the session said; whether a server has answered.

        :param now: any steadily growing clock, seconds.
        """
        self._said += b"".join(data for name, data in said if name == NAME)
        if _BANNER.search(self._said):
            self.close()
            return True
        if self._link is not None and not self._session.watches(NAME):
            self.refused = True
            self.close()
            self._next = now + RETRY
        elif self._link is not None and now - self._since > PATIENCE:
            self.refused = False
            self.close()
        if self._link is None and now >= self._next:
            self._connect(now)
        return False

    def close(self) -> None:
        """Hang up."""
        if self._link is None:
            return
        if self._session.watches(NAME):
            self._session.forget(NAME)
        self._link.close()
        self._link, self._said = None, b""

    def _connect(self, now: float) -> None:
        self._link = link = socket.socket()
        self._since = now
        link.setblocking(False)
        # What becomes of it is read from it.
        link.connect_ex((LOOPBACK, self._port))
        self._session.watch(link.fileno(), NAME, lambda: link.recv(4096))
