"""The qemu machine protocol, without any input or output of its own.

Neither a blocking client nor ``qemu.qmp`` (asyncio) fits: answers and events
arrive in the same wait as console, ports and the process's end, and one
thread serves one guest.  So this only turns bytes into facts and orders
into bytes.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

#: qemu's longest answers here (query-blockstats of a few disks) take some KiB.
LONGEST_LINE = 1 << 20


@dataclasses.dataclass(slots=True)
class Qmp:
    """One connection.

    :ivar ready: qemu has answered, so its main loop runs.
    :ivar status: the last known run state: ``running``, ``internal-error``, ``io-error`` …
    :ivar operations: disk operations that the guest has done so far, None while unknown.
    :ivar no_space: a write failed because the host's file system is full.
    :ivar usernet: what the monitor said of the user-mode network, None until it was asked.
    :ivar resets: how often the guest restarted itself.
    :ivar shutdown: why the machine ended: ``guest-shutdown``, ``guest-reset``, ``guest-panic`` …
    """

    ready: bool = False
    status: str | None = None
    operations: int | None = None
    no_space: bool = False
    usernet: str | None = None
    resets: int = 0
    shutdown: str | None = None
    _rest: bytearray = dataclasses.field(default_factory=bytearray)

    def feed(self, data: bytes) -> bytes:
        """Take what qemu said; returns what is to be sent back at once, often nothing."""
        self._rest += data
        reply = b""
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest[-LONGEST_LINE:])
        for line in lines:
            message = _parse(line)
            if "QMP" in message:
                reply += order("qmp_capabilities", "capabilities")
            elif "event" in message:
                self._event(message["event"], message.get("data"))
                if message["event"] == "STOP":
                    reply += POLL  # why it stopped is in its status
            elif "return" in message:
                self._answer(message.get("id"), message["return"])
        return reply

    def _event(self, name: Any, data: Any) -> None:
        data = data if isinstance(data, dict) else {}
        if name == "BLOCK_IO_ERROR" and data.get("nospace") is True:
            self.no_space = True
        elif name == "SHUTDOWN":
            self.shutdown = str(data.get("reason", "unknown"))
        elif name == "RESET":
            # Not so when the host's user asked for it.
            self.resets += data.get("guest") is True
        elif name == "GUEST_PANICKED":
            self.status = "guest-panicked"

    def _answer(self, identity: Any, value: Any) -> None:
        if identity == "capabilities":
            self.ready = True
        elif identity == "status" and isinstance(value, dict):
            self.status = str(value.get("status"))
        elif identity == "usernet" and isinstance(value, str):
            self.usernet = value
        elif identity == "disks" and isinstance(value, list):
            self.operations = sum(_operations(disk) for disk in value)


def order(command: str, identity: str, **arguments: str) -> bytes:
    """The bytes that make qemu execute *command*; *identity* comes back in its answer."""
    message: dict[str, Any] = {"execute": command, "id": identity}
    if arguments:
        message["arguments"] = arguments
    return json.dumps(message).encode() + b"\r\n"


#: Ask how the machine is and what its disks have done.
POLL = order("query-status", "status") + order("query-blockstats", "disks")
QUIT = order("quit", "quit")
#: Only the monitor for people tells which ports were taken.
ASK_PORTS = order("human-monitor-command", "usernet", **{"command-line": "info usernet"})


def _parse(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):  # also an empty line
        return {}
    return message if isinstance(message, dict) else {}


def _operations(disk: Any) -> int:
    stats = disk.get("stats") if isinstance(disk, dict) else None
    if not isinstance(stats, dict):
        return 0
    counts = (stats.get(f"{kind}_operations") for kind in ("rd", "wr", "flush", "unmap"))
    return sum(count for count in counts if isinstance(count, int))
