"""The types of the option table: an option, a group of them, a verb."""

from __future__ import annotations

import dataclasses

from selfinstall.cli import values


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option.

    :param flags: its spellings, the short one first.
    :param help: what it does, one sentence.
    :param metavar: what the help calls its value; empty for a switch.
    :param convert: from text to value.
    :param dest: the name of the value: the field's name where a Request holds it.
    :param repeat: whether it may be given several times, each adding a value.
    :param switch: the value that a switch stands for.
    :param tally: whether each occurrence adds one to a number.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    convert: values.Convert = values.word
    dest: str
    repeat: bool = False
    switch: bool = True
    tally: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Options that the help shows under one title."""

    title: str
    options: tuple[Option, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One verb.

    :param name: the first argument; ``build`` stands for none.
    :param summary: what it does, one sentence.
    :param file: what the help calls its one argument; empty when it has none.
    :param file_help: what that argument is.
    :param convert: from that argument's text to its value.
    :param command: the words that begin its command line.
    """

    name: str
    summary: str
    command: str
    file: str = ""
    file_help: str = ""
    convert: values.Convert = values.path
    groups: tuple[Group, ...]

    @property
    def options(self) -> tuple[Option, ...]:
        """All its options, in the order of the help."""
        return tuple(option for group in self.groups for option in group.options)
