"""Ports of the host that lead into a machine: whether they are free, and which qemu took."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterable

from selfinstall.errors import HostError
from selfinstall.qemu.argv import Forward

LOOPBACK = "127.0.0.1"
#: What the monitor's ``info usernet`` tells of a listening port (libslirp, slirp_connection_info).
_LISTENING = re.compile(
    rf"^\s*TCP\[HOST_FORWARD\]\s+\d+\s+{re.escape(LOOPBACK)}\s+(\d{{1,5}})\s+\S+\s+(\d{{1,5}})\s",
    re.MULTILINE,
)


def check_free(forwards: Iterable[Forward]) -> None:
    """See whether the ports can be listened on, since qemu's own words for it name no cause.

    :raises HostError: one is in use, or not for ordinary users.
    """
    for forward in forwards:
        if forward.host == 0:
            continue
        with socket.socket() as probe:
            # As qemu does it: connections that just ended are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, forward.host))
                probe.listen()
            except OSError as error:
                raise _refused(forward, error) from None


def _refused(forward: Forward, error: OSError) -> HostError:
    if error.errno == errno.EADDRINUSE:
        cause = "is in use"
    elif error.errno in (errno.EACCES, errno.EPERM):
        cause = "is for root only"
    else:
        cause = f"cannot be used: {error.strerror}"
    return HostError(
        f"port {forward.host} of this host {cause}",
        f"choose another one; --forward :{forward.guest} takes one that is free",
    )


def listening(text: str) -> tuple[Forward, ...]:
    """The forwarded ports by what ``info usernet`` says."""
    return tuple(Forward(int(host), int(guest)) for host, guest in _LISTENING.findall(text))
