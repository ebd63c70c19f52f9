"""The text of ``--help``, out of the option table.  Pure."""

from __future__ import annotations

import textwrap

from selfinstall.cli.options import BUILD, VERBS
from selfinstall.cli.table import Option, Verb

_WIDTH = 80
_COLUMN = 30
EXIT_STATUS = (
    (0, "done"),
    (2, "usage"),
    (3, "bad input"),
    (4, "the host lacks something"),
    (5, "the guest failed"),
    (6, "the guest hung"),
    (7, "the image does not boot"),
    (70, "a bug in selfinstall"),
    (129, "hung up"),
    (130, "interrupted"),
    (141, "nobody reads the output"),
    (143, "terminated"),
)


def _entry(left: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, _WIDTH - _COLUMN)
    if len(left) > _COLUMN - 3:
        return [f"  {left}", *(" " * _COLUMN + line for line in lines)]
    head = f"  {left}".ljust(_COLUMN)
    return [head + lines[0], *(" " * _COLUMN + line for line in lines[1:])]


def _spelling(option: Option) -> str:
    flags = ", ".join(option.flags)
    return f"{flags} {option.metavar}" if option.metavar else flags


def _usage(verb: Verb) -> list[str]:
    if verb is not BUILD:
        words = [verb.command, verb.file, "[options]"]
        return ["usage: " + " ".join(word for word in words if word)]
    lines = ["usage: selfinstall --tarball FILE|- [-o IMAGE] [options]"]
    lines += [
        "       " + " ".join(w for w in (v.command, v.file, "[options]") if w)
        for v in VERBS.values()
    ]
    return lines


def text(verb: Verb) -> str:
    """The help for *verb*."""
    lines = [*_usage(verb), "", verb.summary]
    if verb is BUILD:
        lines += ["", "Verbs:"]
        for other in VERBS.values():
            lines += _entry(other.name, other.summary)
    if verb.file:
        lines += ["", "Argument:", *_entry(verb.file, verb.file_help)]
    for group in verb.groups:
        lines += ["", f"{group.title}:"]
        for option in group.options:
            lines += _entry(_spelling(option), option.help)
    if verb is BUILD:
        status = "; ".join(f"{number} {meaning}" for number, meaning in EXIT_STATUS)
        lines += ["", *textwrap.wrap(f"Exit status: {status}.", _WIDTH)]
    return "\n".join(lines)
