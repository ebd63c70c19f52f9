"""Options that several verbs have, and how options of a kind are declared."""

from __future__ import annotations

from typing import get_args

from selfinstall.arch import DIRECT, all_arches
from selfinstall.cli import values
from selfinstall.cli.table import Group, Option
from selfinstall.request import Accel

#: What starts images of any architecture.
_FIRMWARES = tuple(
    dict.fromkeys(f.name for a in all_arches().values() for f in (*a.firmwares, DIRECT))
)


def choice(flag: str, dest: str, names: tuple[str, ...], text: str) -> Option:
    """An option whose value is one of *names*."""
    return Option(
        flags=(flag,),
        dest=dest,
        metavar="|".join(names),
        convert=values.choice(*names),
        help=text,
    )


def firmware(text: str, *others: str) -> Option:
    """``--firmware``, whose values are the data's; *others* stand for more than one."""
    names = (*others, *_FIRMWARES)
    return Option(
        flags=("--firmware",),
        dest="firmware",
        metavar="|".join((*others, "NAME")),
        convert=values.choice(*names),
        help=text,
    )


def path(*flags: str, dest: str, metavar: str = "FILE", repeat: bool = False, text: str) -> Option:
    """An option whose value is a file or folder."""
    return Option(
        flags=flags, dest=dest, metavar=metavar, convert=values.path, repeat=repeat, help=text
    )


def switch(*flags: str, dest: str, switch: bool = True, tally: bool = False, text: str) -> Option:
    """An option without a value."""
    return Option(flags=flags, dest=dest, switch=switch, tally=tally, help=text)


HELP = switch("-h", "--help", dest="help", text="Show this help and exit.")
VERSION = switch("--version", dest="version", text="Show the version and exit.")
QUIET = switch("-q", "--quiet", dest="quiet", text="Print nothing but errors and the result.")
VERBOSE = switch(
    "-v",
    "--verbose",
    dest="verbose",
    tally=True,
    text="Print notes and beginnings of steps too; twice: tracebacks of internal errors.",
)
JSON_EVENTS = switch(
    "--json", dest="json", text="Write events to standard output, one JSON object a line."
)
JSON = switch("--json", dest="json", text="Write one JSON document to standard output.")

ARCH = Option(
    flags=("--arch",),
    dest="arch",
    metavar="ARCH",
    convert=values.architecture,
    help="The Debian architecture; another one in the file is an error.",
)
MEMORY = Option(
    flags=("--memory",),
    dest="memory",
    metavar="MIB",
    convert=values.memory,
    help="The guest's memory, in MiB or as in 2G. Default: what it needs.",
)
SMP = Option(
    flags=("--smp",),
    dest="smp",
    metavar="N",
    convert=values.count,
    help="The guest's number of CPUs. Default: 1, and up to 2 for verify.",
)
ACCEL = choice(
    "--accel",
    "accel",
    get_args(Accel),
    "The accelerator. Default: auto, KVM where guests run under it, else TCG.",
)
QEMU = path(
    "--qemu",
    dest="qemu",
    metavar="PROGRAM",
    text="The system emulator to run in place of the architecture's.",
)
STALL = Option(
    flags=("--stall",),
    dest="stall",
    metavar="SECONDS",
    convert=values.seconds,
    help="How long a guest may show no sign of life before it counts as hung.",
)
LOG = path("--log", dest="log", text="Where to keep the guest's console.")
BOOT_FIRMWARE = firmware(
    "The firmware to start; selfinstall arches names them. Default: the first that the image "
    "has a boot loader for."
)
VERIFY_FIRMWARE = firmware(
    "The firmware to test. Default: both, one for each boot loader of the image.", "both"
)

CACHE = path(
    "--cache",
    dest="cache",
    metavar="DIR",
    text="The cache's folder. Default: $XDG_CACHE_HOME/selfinstall.",
)

OUTPUT = Group(title="Output", options=(QUIET, VERBOSE, HELP, VERSION))
OUTPUT_EVENTS = Group(title="Output", options=(JSON_EVENTS, QUIET, VERBOSE, HELP, VERSION))
OUTPUT_DOCUMENT = Group(title="Output", options=(JSON, QUIET, VERBOSE, HELP, VERSION))
MACHINE = (ARCH, ACCEL, MEMORY, SMP, QEMU)
