"""A running qemu: the process and the sockets that lead into it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

from selfinstall.errors import HostError
from selfinstall.host import bound
from selfinstall.qemu.argv import Channel, Machine, argv

CONSOLE = "console"
QMP = "qmp"
STDERR = "stderr"
_EXIT = "exit"
#: glibc asks for huge pages for what qemu allocates: under TCG it looks in tens of MB for the
#: translation of nearly each jump.  Other C libraries ignore it, and so does glibc before 2.35.
_TUNABLES = "glibc.malloc.hugetlb=1"

#: Bytes taken from one channel at a time, so that none starves the others.
CHUNK = 64 << 10


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """How qemu ended.

    :param status: its exit status, or the negative number of the signal that ended it.
    :param cpu_seconds: user and system time of all its threads.
    :param max_rss: its largest resident size in bytes (never below this process's own
        at the start, by the kernel's way of counting).
    """

    status: int
    cpu_seconds: float
    max_rss: int


class Session:
    """What :func:`start` yields.  Used by the one thread that started it."""

    def __init__(self, process: subprocess.Popen[bytes], sockets: dict[str, socket.socket]) -> None:
        self.exit: Exit | None = None
        self._process = process
        self._sockets = sockets
        # Unlike epoll, poll takes regular files (a redirected standard input) too.
        self._selector = selectors.PollSelector()
        self._open: dict[str, Callable[[], bytes]] = {}
        self._outgoing: dict[str, bytearray] = {name: bytearray() for name in sockets}

    @property
    def pid(self) -> int:
        """The process's id, which is also its group's."""
        return self._process.pid

    def read(self, timeout: float) -> list[tuple[str, bytes]]:
        """Wait up to *timeout* seconds for anything; returns (channel, bytes) pairs.

        Once :attr:`exit` is set, everything that was said has been returned.
        """
        said: list[tuple[str, bytes]] = []
        ended = False
        for key, ready in self._selector.select(timeout):
            if key.data == _EXIT:
                ended = True
                continue
            if ready & selectors.EVENT_WRITE:
                self._send(key.data)
            if ready & selectors.EVENT_READ:
                said += self._take(key.data)
        if ended:
            # What is watched beside (a terminal) would make us wait for a key.
            for name in (*self._sockets, STDERR):
                while chunk := self._take(name):
                    said += chunk
            self._reap()
        return said

    def post(self, name: str, data: bytes) -> None:
        """Send *data* on a channel as soon as qemu takes it; :meth:`read` sees to that."""
        if name in self._open:
            self._outgoing[name] += data
            self._send(name)

    def backlog(self, name: str) -> int:
        """Bytes posted on a channel that qemu has not taken yet."""
        return len(self._outgoing[name])

    def is_port(self, name: str) -> bool:
        """Whether *name* is a channel into the machine, rather than something watched beside it."""
        return name in self._outgoing

    def watch(self, stream: int, name: str, read: Callable[[], bytes] | None = None) -> None:
        """Return what can be read from descriptor *stream* as *name*; it stays the caller's.

        :param read: for what is not read by :func:`os.read`.
        """
        self._add(stream, name, read or (lambda: os.read(stream, CHUNK)))

    def watches(self, name: str) -> bool:
        """Whether *name* is read from: neither forgotten nor at its end."""
        return name in self._open

    def forget(self, name: str) -> None:
        """Read no more from *name*."""
        del self._open[name]
        self._selector.unregister(self._key(name).fileobj)

    def kill(self) -> Exit:
        """End qemu at once, if it still runs."""
        if self.exit is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._reap()
        assert self.exit is not None
        return self.exit

    def _add(self, fd: int, name: str, read: Callable[[], bytes]) -> None:
        self._open[name] = read
        self._selector.register(fd, selectors.EVENT_READ, name)

    def _listen(self, stack: contextlib.ExitStack) -> None:
        stack.callback(self._selector.close)
        for name, end in self._sockets.items():
            end.setblocking(False)
            self._add(end.fileno(), name, lambda end=end: end.recv(CHUNK))  # type: ignore[misc]
        stderr = self._process.stderr
        assert stderr is not None
        stack.callback(stderr.close)
        os.set_blocking(stderr.fileno(), False)
        self._add(stderr.fileno(), STDERR, lambda: os.read(stderr.fileno(), CHUNK))
        pidfd = os.pidfd_open(self.pid)
        stack.callback(os.close, pidfd)
        self._selector.register(pidfd, selectors.EVENT_READ, _EXIT)

    def _take(self, name: str) -> list[tuple[str, bytes]]:
        """What a channel has; it is dropped once it has nothing more for ever."""
        if name not in self._open:
            return []
        try:
            data = self._open[name]()
        except BlockingIOError:
            return []
        except OSError:  # reset by a qemu that is gone
            data = b""
        if data:
            return [(name, data)]
        self.forget(name)
        return []

    def _send(self, name: str) -> None:
        outgoing = self._outgoing[name]
        try:
            del outgoing[: self._sockets[name].send(outgoing)]
        except BlockingIOError:
            ...  # the rest goes when there is room
        except OSError:  # nobody will take it any more
            outgoing.clear()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if outgoing else 0)
        self._selector.modify(self._key(name).fileobj, wanted, name)

    def _key(self, name: str) -> selectors.SelectorKey:
        return next(k for k in self._selector.get_map().values() if k.data == name)

    def _reap(self) -> None:
        """Wait for the process's end with its usage, which subprocess does not tell."""
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.exit = Exit(
            status=self._process.returncode,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            max_rss=usage.ru_maxrss * 1024,
        )


@contextlib.contextmanager
def start(machine: Machine) -> Iterator[Session]:
    """Start *machine* with a socket for its console, for QMP and for each of its channels.

    qemu runs in a session of its own, so that keys on the terminal do not reach
    it, and is killed with the thread that started it, whatever kills that.

    :param machine: its console, QMP and channel sockets are made here; those given are ignored.
    :raises HostError: qemu or setpriv cannot be started.
    """
    names = (CONSOLE, QMP, *(channel.name for channel in machine.channels))
    with contextlib.ExitStack() as stack:
        ours: dict[str, socket.socket] = {}
        theirs: dict[str, socket.socket] = {}
        for name in names:
            here, there = socket.socketpair()
            ours[name] = stack.enter_context(here)
            theirs[name] = stack.enter_context(there)
        command = argv(
            dataclasses.replace(
                machine,
                console=theirs[CONSOLE].fileno(),
                qmp=theirs[QMP].fileno(),
                channels=tuple(Channel(c.name, theirs[c.name].fileno()) for c in machine.channels),
            )
        )
        process = _spawn(bound(command), theirs)
        session = Session(process, ours)
        try:
            for there in theirs.values():
                there.close()
            session._listen(stack)
            yield session
        finally:
            session.kill()


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """*given* as qemu gets it; what the user has tuned himself stays."""
    tuned = given.get("GLIBC_TUNABLES")
    return {**given, "GLIBC_TUNABLES": f"{_TUNABLES}:{tuned}" if tuned else _TUNABLES}


def _spawn(command: Sequence[str], pass_on: dict[str, socket.socket]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[end.fileno() for end in pass_on.values()],
            start_new_session=True,
        )
    except OSError as error:
        raise HostError(f"cannot run {command[0]}: {error.strerror}") from error
