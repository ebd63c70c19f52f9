"""The keeper's process; apart, so that a job is of the same class here as where it was made."""

from __future__ import annotations

import pickle
import socket
import sys
from pathlib import Path

from selfinstall.cli.signals import interruptible
from selfinstall.errors import SelfinstallError
from selfinstall.virtssh.keeper import Job, keep
from selfinstall.virtssh.state import State


def main(folder: str, descriptor: str) -> int:
    """Do the job in *folder*, the state's; *descriptor* is a listening socket."""
    state = State(Path(folder))
    job = pickle.loads(state.job.read_bytes())
    assert isinstance(job, Job)
    with socket.socket(fileno=int(descriptor)) as listener:
        try:
            with interruptible():
                keep(job, listener, state.console)
        except SelfinstallError as error:
            return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
