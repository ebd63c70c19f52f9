"""A qemu for tests: a small program that speaks on the sockets it inherits."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from selfinstall import arch
from selfinstall.qemu.argv import Machine
from selfinstall.qemu.emulator import Emulator

AMD64 = arch.get("amd64")

_PRELUDE = """\
#!{python} -IS
import json, os, re, signal, sys, threading, time
from _socket import socket, SHUT_WR
words = " ".join(sys.argv)
kvm = "-accel kvm" in words
with open({trace!r}, "a") as trace:
    print(os.getpid(), "kvm" if kvm else "tcg", file=trace)
def open_fd(name):
    found = re.search(rf"socket,id={{name}},fd=(\\d+)", words)
    return socket(fileno=int(found[1])) if found else None
ports = {{m[2]: open_fd(m[1]) for m in re.finditer(r"chardev=(port\\d+),name=(\\S+)", words)}}
serial, control = open_fd("console"), open_fd("qmp")
status, operations, moving = "running", 0, False
def console(text):
    serial.sendall(text.encode())
def raw(data):
    ports["org.selfinstall.events"].sendall(data)
def event(kind, hook=None, **more):
    raw(json.dumps({{"event": kind, "hook": hook, **more}}).encode() + b"\\n")
def manifest(data):
    ports["org.selfinstall.manifest"].sendall(data)
def tell(**message):
    control.sendall(json.dumps(message).encode() + b"\\r\\n")
def serve():
    global operations
    tell(QMP={{}})
    rest = b""
    while data := control.recv(4096):
        *lines, rest = (rest + data).split(b"\\n")
        for line in lines:
            order = json.loads(line)
            answer = {{}}
            if order["execute"] == "human-monitor-command":
                answer = "Hub -1 (net0):\\n" + "".join(
                    f"  TCP[HOST_FORWARD]  9  127.0.0.1 {{host}}  10.0.2.15 {{guest}}  0  0\\n"
                    for host, guest in forwards
                )
            if order["execute"] == "quit":
                os._exit(0)
            if order["execute"] == "query-status":
                answer = {{"status": status}}
            if order["execute"] == "query-blockstats":
                operations += moving
                answer = [{{"stats": {{"rd_operations": operations}}}}]
            tell(**{{"return": answer, "id": order["id"]}})
forwards, listeners = [], []
for host, guest in re.findall(r"hostfwd=tcp:127.0.0.1:(\\d+)-:(\\d+)", words):
    listener = socket()
    listener.setsockopt(1, 2, 1)
    listener.bind(("127.0.0.1", int(host)))
    listener.listen(5)
    listeners.append(listener)
    forwards.append((listener.getsockname()[1], guest))
def answer_ssh(banner=b"SSH-2.0-fake\\r\\n"):
    def speak():
        while True:
            fd, _ = listeners[0]._accept()
            if banner:
                os.write(fd, banner)
            os.close(fd)
    threading.Thread(target=speak, daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
def done(status=0):
    sys.stderr.flush()
    os._exit(status)
def for_ever():
    while True:
        time.sleep(60)
"""


class FakeQemu:
    """Writes the program; knows afterwards how often and as what it ran."""

    def __init__(self, folder: Path, body: str) -> None:
        self._trace = folder / "starts"
        self.program = folder / "qemu-system-fake"
        text = _PRELUDE.format(python=sys.executable, trace=str(self._trace))
        self.program.write_text(text + body, encoding="utf-8")
        self.program.chmod(0o755)

    @property
    def emulator(self) -> Emulator:
        return Emulator(program=str(self.program), version="7.2.0", sandbox=False)

    def machine(self, accel: str = "tcg") -> Machine:
        return Machine(arch=AMD64, emulator=self.emulator, accel=accel, memory=64)

    @property
    def starts(self) -> list[str]:
        """The accelerator of each start."""
        return [line.split()[1] for line in self._lines()]

    def running(self) -> list[int]:
        """Process ids that still exist; one that was just killed gets a moment to go."""
        pids = [int(line.split()[0]) for line in self._lines()]
        end = time.monotonic() + 2
        while any(map(_exists, pids)) and time.monotonic() < end:
            time.sleep(0.01)
        return [pid for pid in pids if _exists(pid)]

    def _lines(self) -> list[str]:
        return self._trace.read_text().splitlines() if self._trace.exists() else []


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    # An orphan may stay a zombie where nobody reaps it.
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
