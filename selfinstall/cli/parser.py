"""From the command line's words to a :class:`Command`."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from selfinstall.cli.options import BUILD, VERBS
from selfinstall.cli.table import Option, Verb
from selfinstall.errors import UsageError

_SEE_HELP = "selfinstall --help"


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What the command line says.

    :param verb: the verb, :data:`selfinstall.cli.build_options.BUILD` when none was named.
    :param given: the values of the options that were given, by their ``dest``;
        the verb's file is ``file``.
    :param words: the command line itself, without the program's name.
    """

    verb: Verb
    given: dict[str, Any]
    words: tuple[str, ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of one option, *default* when it was not given."""
        return self.given.get(name, default)


class Parser(argparse.ArgumentParser):
    """Raises :class:`UsageError` where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "), self.epilog or _SEE_HELP)


def add(parser: argparse.ArgumentParser, option: Option) -> None:
    """Teach *parser* an option of the table."""
    keywords: dict[str, Any] = {"dest": option.dest, "default": argparse.SUPPRESS}
    if option.tally:
        keywords |= {"action": "count"}
    elif not option.metavar:
        keywords |= {"action": "store_const", "const": option.switch}
    else:
        keywords |= {"type": option.convert, "metavar": option.metavar}
        keywords |= {"action": "append"} if option.repeat else {}
    parser.add_argument(*option.flags, **keywords)


def _see_help(verb: Verb) -> str:
    return f"{verb.command} --help"


def _parser(verb: Verb) -> Parser:
    parser = Parser(prog="selfinstall", add_help=False, allow_abbrev=False, epilog=_see_help(verb))
    for option in verb.options:
        add(parser, option)
    if verb.file:
        # Not required here: --help works without it; parse() asks for it afterwards.
        parser.add_argument("file", metavar=verb.file, nargs="?", type=verb.convert)
    return parser


def unknown_option(verb: Verb, word: str) -> UsageError:
    """What is wrong with *word*, and which option may have been meant."""
    flag = word.partition("=")[0]
    flags = [flag for option in verb.options for flag in option.flags]
    near = difflib.get_close_matches(flag, flags, n=1, cutoff=0.8)
    hint = f"did you mean {near[0]}?" if near else _see_help(verb)
    return UsageError(f"unknown option {flag!r}", hint)


def _refuse_strays(verb: Verb, strays: Sequence[str]) -> None:
    for word in strays:
        if word.startswith("-") and word not in ("-", "--"):
            raise unknown_option(verb, word)
    if not strays:
        return
    if verb is BUILD:
        raise UsageError(
            f"{strays[0]!r} is no verb and follows no option",
            "a tarball is given as --tarball FILE, a suite as --suite NAME; the verbs are "
            f" {', '.join(VERBS)}",
        )
    raise UsageError(f"one argument too many: {strays[0]!r}", _see_help(verb))


def read(verb: Verb, words: Sequence[str]) -> Command:
    """The command that *words* behind *verb* stand for; what lacks is not looked at.

    :raises UsageError: for what is unknown or impossible.
    """
    parsed, strays = _parser(verb).parse_known_args(list(words))
    _refuse_strays(verb, strays)
    return Command(verb, vars(parsed))


def parse(arguments: Sequence[str]) -> Command:
    """The command that *arguments* (without the program's name) stand for.

    :raises UsageError: for what is unknown, impossible, or lacks.
    """
    verb = VERBS.get(arguments[0], BUILD) if arguments else BUILD
    command = read(verb, arguments if verb is BUILD else arguments[1:])
    command = dataclasses.replace(command, words=tuple(arguments))
    if command.get("help") or command.get("version"):
        return command
    if verb is BUILD and not {"tarball", "suite", "from_image"} & command.given.keys():
        raise UsageError(
            "no tarball and no suite given",
            "selfinstall --tarball rootfs.tar.zst -o disk.img, or selfinstall --suite trixie",
        )
    if verb.file and command.get("file") is None:
        raise UsageError(f"no {verb.file} given", f"{verb.command} {verb.file}")
    return command
