"""The ``selfinstall-virt-ssh`` program."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from selfinstall import __main__ as program
from selfinstall.cli.options import VIRT_SSH
from selfinstall.cli.parser import Command, read
from selfinstall.cli.run import guarded
from selfinstall.cli.streams import put
from selfinstall.errors import UsageError

#: As autopkgtest-virt-ssh(1) has them.
COMMANDS = ("open", "cleanup", "revert", "wait-reboot", "debug-failure")
_HELP = frozenset(("-h", "--help", "--version"))


def _parse(arguments: Sequence[str]) -> Command:
    name, *rest = arguments or ("",)
    if name in _HELP:
        return read(VIRT_SSH, [name])
    if name not in COMMANDS:
        wrong = f"{name!r} is no command" if name else "no command given"
        raise UsageError(wrong, f"the commands are {', '.join(COMMANDS)}")
    command = read(VIRT_SSH, rest)
    return dataclasses.replace(command, given={**command.given, "command": name})


def _perform(command: Command) -> int:
    from selfinstall.virtssh import commands

    names = {field.name for field in dataclasses.fields(commands.Options)}
    given = {name: value for name, value in command.given.items() if name in names}
    if "file" in command.given:
        given["image"] = command.given["file"]
    name: str = command.get("command")
    # autopkgtest reads what debug-failure says from standard error.
    stream = sys.stderr if name == "debug-failure" else sys.stdout
    for line in commands.COMMANDS[name](commands.Options(**given)):
        put(stream, line)
    return 0


def run(arguments: Sequence[str]) -> int:
    """Do what *arguments* (without the program's name) say; the exit status."""
    return guarded(lambda: _parse(arguments), _perform)


def main() -> int:
    """Run the command line that this process was started with; its exit status."""
    return program.main(run)


if __name__ == "__main__":
    sys.exit(main())
