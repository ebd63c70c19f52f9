"""Drives a booted image as a person would: ``selfinstall boot`` on a terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pexpect

#: Seconds; everything here runs emulated.  Only a failing test waits so long.
PATIENCE = 600
SELFINSTALL = [sys.executable, "-m", "selfinstall"]
_ESCAPES = re.compile(
    r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][0-9A-B]?|\r|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
)


class Console:
    """An image on the terminal."""

    def __init__(self, image: Path, *options: str, log: Path | None = None) -> None:
        self.child = pexpect.spawn(
            SELFINSTALL[0],
            [*SELFINSTALL[1:], "boot", str(image), *options],
            timeout=PATIENCE,
            encoding="utf-8",
            codec_errors="replace",
            dimensions=(50, 500),
        )
        if log is not None:
            self.child.logfile_read = log.open("w")

    def login(self, password: str, user: str = "root") -> None:
        """Wait for the prompt and log in; the shell then has a prompt that nothing else prints."""
        self.child.expect("login: ")
        self.child.sendline(user)
        self.child.expect("[Pp]assword: ")
        self.child.sendline(password)
        self.child.expect(r"[#$] ")
        # Split in the source so that its echo is not taken for the prompt itself.
        self.child.sendline("PS1='@@''ready '; stty -echo; bind 'set enable-bracketed-paste off'")
        self.child.expect("@@ready ")
        # What the kernel says of late modules would stand among the answers.
        self.child.sendline("dmesg -n 1 || true")
        self.child.expect("@@ready ")

    def run(self, command: str) -> str:
        """The output of *command*, which must succeed."""
        self.child.sendline(f"{command}; printf '@@%s@@' $?")
        self.child.expect(r"@@(\d+)@@")
        output = _ESCAPES.sub("", self.child.before or "").strip()
        assert self.child.match is not None
        status = self.child.match.group(1)
        self.child.expect("@@ready ")
        assert status == "0", f"{command}: status {status}: {output}"
        return output

    def drain(self, seconds: float) -> None:
        """Read the console for *seconds*."""
        self.child.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=seconds)

    def power_off(self) -> None:
        self.child.sendline("poweroff")
        self.child.expect(pexpect.EOF)

    def close(self) -> None:
        self.child.close(force=True)
