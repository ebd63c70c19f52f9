"""The program ``selfinstall-build-qemu``: autopkgtest-build-qemu's command line, our build.

It makes of its words and of the environment what ``selfinstall --suite …`` would have made
of others.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfinstall.cli import values
from selfinstall.cli.options import BUILD
from selfinstall.cli.parser import Command, Parser, add, unknown_option
from selfinstall.cli.run import guarded
from selfinstall.cli.table import Group, Option, Verb
from selfinstall.errors import InputError, UsageError
from selfinstall.host import workspace
from selfinstall.plan import NO_LOADER

PROGRAM = "selfinstall-build-qemu"
_SEE_HELP = f"{PROGRAM} --help"
#: ``--boot`` and what it asks of the image, as options of a Request.
BOOT: dict[str, dict[str, str]] = {
    "auto": {},
    "bios": {"firmware": "bios"},
    "efi": {"firmware": "efi"},
    "ieee1275": {"firmware": "slof"},
    "none": {"bootloader": NO_LOADER},
}
#: ``--init`` and the packages that it stands for.
INIT: dict[str, tuple[str, ...]] = {
    "auto": (),
    "systemd": (),
    "sysv-rc": ("sysvinit-core", "sysv-rc"),
    "openrc": ("sysvinit-core", "openrc"),
}
#: What every image gets that the words do not say otherwise.
DEFAULTS: dict[str, Any] = {
    "format": "qcow2",
    "size": 25 << 30,
    "hostname": "host",
    "profiles": [("autopkgtest",)],
    "image_apt_proxy": "host",
}
#: Options of ``selfinstall`` that are taken too.
_ALSO = (
    "include",
    "packages",
    "kernel",
    "root_password_file",
    "ssh_key",
    "cache",
    "use_cache",
    "memory",
    "smp",
    "accel",
    "qemu",
    "stall",
    "verify",
    "dry_run",
)
_ALSO_OUTPUT = ("manifest", "log", "json", "quiet", "verbose", "help", "version")


def _optional(convert: values.Convert) -> values.Convert:
    """*convert* for values that scripts may leave empty, which then are none."""
    return lambda text: convert(text) if text else None


def _option(*flags: str, dest: str, metavar: str, convert: values.Convert, help: str) -> Option:
    return Option(flags=flags, dest=dest, metavar=metavar, convert=_optional(convert), help=help)


def _of_build(dests: Sequence[str]) -> tuple[Option, ...]:
    return tuple(option for option in BUILD.options if option.dest in dests)


OWN = Group(
    title="Options of autopkgtest-build-qemu",
    options=(
        _option(
            "--architecture",
            "--arch",
            dest="arch",
            metavar="ARCHITECTURE",
            convert=values.architecture_name,
            help="The Debian architecture. Default: the host's.",
        ),
        _option(
            "--mirror",
            dest="mirror",
            metavar="URL",
            convert=values.uri,
            help="Where packages come from. Default: the mirror of the host's apt.",
        ),
        _option(
            "--keyring",
            dest="keyring",
            metavar="PATH",
            convert=values.path,
            help="What the mirror is signed with. Default: Debian's archive keyring.",
        ),
        _option(
            "--apt-proxy",
            dest="apt_proxy",
            metavar="http://PROXY:PORT",
            convert=values.proxy,
            help="The proxy for downloads and of the image's apt, or DIRECT for none. Default: "
            "that of the host's apt.",
        ),
        _option(
            "--script",
            dest="script",
            metavar="SCRIPT",
            convert=values.path,
            help="A script to run in the image's root, with that root's path, which is /, as its "
            "argument.",
        ),
        _option(
            "--size",
            dest="size",
            metavar="SIZE",
            convert=values.size,
            help="The virtual disk's size. Default: 25G.",
        ),
        _option(
            "--boot",
            dest="boot",
            metavar="|".join(BOOT),
            convert=values.choice(*BOOT),
            help="What must start the image. Default: auto, all that the architecture has.",
        ),
        Option(flags=("--efi",), dest="efi", help="The same as --boot=efi."),
        _option(
            "--init",
            dest="init",
            metavar="|".join(INIT),
            convert=values.choice(*INIT),
            help="The init system. Default: auto, which is systemd.",
        ),
        Option(
            flags=("--mergeusr",),
            dest="mergeusr",
            help="Does nothing: /usr is merged in every image.",
        ),
    ),
)
PROGRAM_VERB = Verb(
    name=PROGRAM,
    command=PROGRAM,
    summary="Build an image for autopkgtest-virt-qemu: no root, no binfmt, any architecture.",
    file="RELEASE IMAGE",
    file_help="The Debian suite, and the image to make, in qcow2 format. What may follow are old "
    "ways to give --mirror, --arch, --script and --size.",
    groups=(
        OWN,
        Group(title="Options of selfinstall", options=_of_build(_ALSO)),
        Group(title="Output", options=_of_build(_ALSO_OUTPUT)),
    ),
)
#: Positional arguments: the later ones are old ways to give an option.
_REQUIRED = (("suite", "RELEASE", values.suite), ("output", "IMAGE", values.path))
_DEPRECATED = ("mirror", "arch", "script", "size")


def _parser() -> Parser:
    # Abbreviations as autopkgtest-build-qemu takes them.
    parser = Parser(prog=PROGRAM, add_help=False, allow_abbrev=True, epilog=_SEE_HELP)
    for option in PROGRAM_VERB.options:
        add(parser, option)
    for dest, name, convert in _REQUIRED:
        parser.add_argument(f"argument-{dest}", metavar=name, type=convert)
    by_dest = {option.dest: option for option in OWN.options}
    for dest in _DEPRECATED:
        option = by_dest[dest]
        parser.add_argument(
            f"argument-{dest}", metavar=option.metavar, nargs="?", type=option.convert
        )
    return parser


def parse(arguments: Sequence[str]) -> Command:
    """The command that *arguments* stand for.

    :raises UsageError: for what is unknown, impossible, or lacks.
    """
    for option in PROGRAM_VERB.options:
        if option.dest in ("help", "version") and {*option.flags} & {*arguments}:
            return Command(PROGRAM_VERB, {option.dest: True})
    parsed, strays = _parser().parse_known_args(list(arguments))
    for word in strays:
        if word.startswith("-") and word not in ("-", "--"):
            raise unknown_option(PROGRAM_VERB, word)
        raise UsageError(f"one argument too many: {word!r}", _SEE_HELP)
    given = {name: value for name, value in vars(parsed).items() if value is not None}
    for number, dest in enumerate(_DEPRECATED, 3):
        if dest in given and f"argument-{dest}" in given:
            raise UsageError(
                f"argument {number} and --{dest} say the same", "give the option alone"
            )
    prefix = "argument-"
    return Command(PROGRAM_VERB, {n.removeprefix(prefix): v for n, v in given.items()})


def to_build(command: Command, environment: Mapping[str, str], folder: Path) -> Command:
    """The build that the command and the caller's environment ask for.

    :param folder: takes the files that the build reads.
    :raises UsageError: an environment variable that makes no sense.
    :raises InputError: a file that cannot be read.
    """
    given = {**DEFAULTS, **command.given}
    given |= BOOT["efi" if given.pop("efi", False) else given.pop("boot", "auto")]
    given["include"] = (*given.get("include", ()), INIT[given.pop("init", "auto")])
    proxy = _proxy(given, environment)
    if proxy is not None:
        given["apt_proxy"] = proxy
    sources = _sources(environment, folder)
    if sources is not None:
        given["sources"] = sources
    script = given.pop("script", None)
    if script is not None:
        given["customize_hooks"] = (_with_interpreter(script, folder),)
        given["customize_network"] = True
        given["customize_environment"] = tuple(_for_script(given, environment).items())
    return Command(BUILD, given)


def _proxy(given: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    """What is named, else None; the build then finds out what the host's apt goes through."""
    if "apt_proxy" in given:
        return str(given["apt_proxy"])
    # The second is how autopkgtest called it before it had its name.
    for name in ("AUTOPKGTEST_APT_PROXY", "ADT_APT_PROXY"):
        if environment.get(name):
            try:
                return values.proxy(environment[name])
            except argparse.ArgumentTypeError as error:
                raise UsageError(f"environment variable {name}: {error}") from None
    return None


def _sources(environment: Mapping[str, str], folder: Path) -> Path | None:
    """A file with the image's sources, where the environment has its own."""
    if environment.get("AUTOPKGTEST_KEEP_APT_SOURCES"):
        return None
    name = environment.get("AUTOPKGTEST_APT_SOURCES_FILE")
    text = _read(Path(name)) if name else environment.get("AUTOPKGTEST_APT_SOURCES", "")
    if not text:
        return None
    deb822 = any(line.startswith("Types:") for line in text.splitlines())
    path = folder / ("apt.sources" if deb822 else "apt.list")
    path.write_text(f"{text}\n", "utf-8", "surrogateescape")
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _with_interpreter(script: Path, folder: Path) -> Path:
    """The script, or one with the shell that runs what names none."""
    text = _read(script)
    if text.startswith(("#!", "\x7fELF")):
        return script
    path = folder / script.name
    path.write_text(f"#!/bin/sh\n{text}", "utf-8", "surrogateescape")
    return path


def _for_script(given: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which autopkgtest-build-qemu runs the script."""
    from selfinstall.packages import debian, proxy

    found = {
        "AUTOPKGTEST_BUILD_QEMU": "1",
        "ROOT": "/",
        "RELEASE": str(given["suite"]),
        "MIRROR": given.get("mirror") or debian.mirrors(debian.host_files()).main or "",
    }
    if "apt_proxy" in given:
        found["AUTOPKGTEST_APT_PROXY"] = proxy.seen_from_guest(given["apt_proxy"])
    own = {
        name: value
        for name, value in environment.items()
        if name.startswith("AUTOPKGTEST_") and "\n" not in value
    }
    return {**own, **found}


def perform(command: Command) -> int:
    """Build what the command asks for; the exit status."""
    from selfinstall.cli import verbs

    with workspace() as folder:
        return verbs.build(to_build(command, os.environ, folder))


def run(arguments: Sequence[str]) -> int:
    """Do what *arguments* (without the program's name) say; the exit status."""
    return guarded(lambda: parse(arguments), perform)
