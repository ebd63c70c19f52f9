"""Every verb and option, declared once; the parser, ``--help`` and the manual's test read this.

What several verbs have is in :mod:`selfinstall.cli.shared`; the build's own verb, which has
the most, in :mod:`selfinstall.cli.build_options`.
"""

from __future__ import annotations

import dataclasses
from typing import get_args

from selfinstall.cachefolder import KINDS
from selfinstall.cli import values
from selfinstall.cli.build_options import BUILD
from selfinstall.cli.shared import (
    ARCH,
    BOOT_FIRMWARE,
    CACHE,
    HELP,
    LOG,
    MACHINE,
    OUTPUT,
    OUTPUT_DOCUMENT,
    OUTPUT_EVENTS,
    STALL,
    VERBOSE,
    VERIFY_FIRMWARE,
    VERSION,
    choice,
    path,
    switch,
)
from selfinstall.cli.table import Group, Option, Verb
from selfinstall.request import Style

__all__ = ["BUILD", "VERBS", "VIRT_SSH"]

BOOT = Verb(
    name="boot",
    command="selfinstall boot",
    summary="Run an image by its own firmware and boot loader, console on the terminal.",
    file="IMAGE",
    file_help="The image. It stays as it is: a throw-away overlay takes what is written.",
    groups=(
        Group(
            title="Options",
            options=(
                switch("--write", dest="write", text="Write to the image itself."),
                switch(
                    "--snapshot",
                    dest="write",
                    switch=False,
                    text="Write to a throw-away overlay. This is the default.",
                ),
                switch(
                    "--export",
                    dest="refresh",
                    text="With --write: afterwards, do what the verb export does.",
                ),
                Option(
                    flags=("--forward",),
                    dest="forwards",
                    metavar="[HOST]:GUEST",
                    convert=values.forward,
                    repeat=True,
                    help="A TCP port of the host's loopback that leads to one of the guest; "
                    "without HOST one that is free, and it is told which.",
                ),
                Option(
                    flags=("--share",),
                    dest="shares",
                    metavar="FOLDER[:TAG][:ro]",
                    convert=values.share,
                    repeat=True,
                    help="A folder that the guest can mount by 9p, with :ro for reading only.",
                ),
                BOOT_FIRMWARE,
                *MACHINE,
                choice(
                    "--print",
                    "print",
                    get_args(Style),
                    "Boot nothing; print qemu's command line, or a libvirt domain.",
                ),
            ),
        ),
        Group(
            title="For images with cloud-init",
            options=(
                switch(
                    "--cloud-seed",
                    dest="cloud_seed",
                    text="Attach a NoCloud seed, made of what follows.",
                ),
                path(
                    "--user-data",
                    dest="user_data",
                    text="Its user-data. Default: root may log in with the keys.",
                ),
                path("--ssh-key", dest="ssh_key", text="Public keys that may log in."),
                Option(
                    flags=("--hostname",),
                    dest="hostname",
                    metavar="NAME",
                    convert=values.hostname,
                    help="The machine's name.",
                ),
            ),
        ),
        OUTPUT,
    ),
)

VERIFY = Verb(
    name="verify",
    command="selfinstall verify",
    summary="Boot a throw-away overlay of an image until its system is up.",
    file="IMAGE",
    file_help="The image; it is only read.",
    groups=(
        Group(
            title="Options",
            options=(
                VERIFY_FIRMWARE,
                *MACHINE,
                STALL,
                LOG,
                path(
                    "--manifest",
                    dest="manifest",
                    text="First see whether the image's content is what this manifest says.",
                ),
            ),
        ),
        OUTPUT_EVENTS,
    ),
)

EXPORT = Verb(
    name="export",
    command="selfinstall export",
    summary="Copy kernel and initramfs out of an image to where boot and verify find them.",
    file="IMAGE",
    file_help="The image, of a system that is not running; it is only read.",
    groups=(Group(title="Options", options=(ARCH,)), OUTPUT_EVENTS),
)

INSPECT = Verb(
    name="inspect",
    command="selfinstall inspect",
    summary="Tell what a tarball or an image holds.",
    file="FILE",
    file_help="A rootfs tarball, - for one on standard input, or a disk image.",
    groups=(OUTPUT_DOCUMENT,),
)

ARCHES = Verb(
    name="arches",
    command="selfinstall arches",
    summary="List the architectures and what this host has for each.",
    groups=(OUTPUT_DOCUMENT,),
)

DOCTOR = Verb(
    name="doctor",
    command="selfinstall doctor",
    summary="Tell what this host lacks and the command that installs it.",
    groups=(
        Group(
            title="Options",
            options=(
                dataclasses.replace(
                    ARCH,
                    help="Look for what this architecture needs. Default: the host's own, and "
                    "a table of the others.",
                ),
                switch("--all", dest="all", text="Look for what any architecture needs."),
                CACHE,
            ),
        ),
        OUTPUT_DOCUMENT,
    ),
)

CACHE_VERB = Verb(
    name="cache",
    command="selfinstall cache",
    summary="List what earlier builds left for later ones, or remove it.",
    file="list|clear",
    file_help="What to do: list what there is, or clear it.",
    convert=values.choice("list", "clear"),
    groups=(
        Group(
            title="Options",
            options=(
                Option(
                    flags=("--kind",),
                    dest="kinds",
                    metavar="|".join(KINDS),
                    convert=values.choice(*KINDS),
                    repeat=True,
                    help="This kind only. May be given several times.",
                ),
                CACHE,
            ),
        ),
        OUTPUT_DOCUMENT,
    ),
)

VIRT_SSH = Verb(
    name="virt-ssh",
    command="selfinstall-virt-ssh COMMAND",
    summary="A setup script for autopkgtest-virt-ssh. COMMAND is open, cleanup, revert, "
    "wait-reboot or debug-failure.",
    file="IMAGE",
    file_help="The image. It stays as it is: a throw-away overlay takes what is written.",
    groups=(
        Group(
            title="Options",
            options=(
                path(
                    "-i",
                    "--identity",
                    dest="identity",
                    text="The private ssh key. Default: those that ssh finds by itself.",
                ),
                Option(
                    flags=("-l", "--login"),
                    dest="login",
                    metavar="NAME",
                    convert=values.word,
                    help="The user to log in as. Default: root.",
                ),
                switch(
                    "--cloud-seed",
                    dest="cloud_seed",
                    text="Give the key to the image's cloud-init; without --identity, a new one.",
                ),
                Option(
                    flags=("--state",),
                    dest="state",
                    metavar="WORD",
                    help="For all commands but open: what open told as extraopts.",
                ),
                BOOT_FIRMWARE,
                *MACHINE,
                STALL,
            ),
        ),
        Group(title="Output", options=(VERBOSE, HELP, VERSION)),
    ),
)

REPORT = Verb(
    name="report",
    command="selfinstall report",
    summary="Print a report of a failed build, without secrets, out of its log.",
    file="LOG",
    file_help="The log that the error named.",
    groups=(OUTPUT_DOCUMENT,),
)

VERBS: dict[str, Verb] = {
    verb.name: verb for verb in (BOOT, VERIFY, EXPORT, INSPECT, CACHE_VERB, REPORT, ARCHES, DOCTOR)
}
