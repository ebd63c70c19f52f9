"""Every verb and option, declared once; the parser, ``--help`` and the manual's test read this."""

from __future__ import annotations

import dataclasses
from typing import get_args

from selfinstall.arch import DIRECT, all_arches
from selfinstall.cachefolder import KINDS
from selfinstall.cli import values
from selfinstall.cli.table import Group, Option, Verb
from selfinstall.loader import all_loaders
from selfinstall.plan import NO_LOADER
from selfinstall.request import FORMATS, Accel, PayloadMode, Style, Variant


def _choice(flag: str, dest: str, names: tuple[str, ...], text: str) -> Option:
    return Option(
        flags=(flag,),
        dest=dest,
        metavar="|".join(names),
        convert=values.choice(*names),
        help=text,
    )


def _firmware(text: str, *others: str) -> Option:
    """``--firmware``, whose values are the data's; *others* stand for more than one."""
    names = (*others, *_FIRMWARES)
    return Option(
        flags=("--firmware",),
        dest="firmware",
        metavar="|".join((*others, "NAME")),
        convert=values.choice(*names),
        help=text,
    )


def _path(*flags: str, dest: str, metavar: str = "FILE", repeat: bool = False, text: str) -> Option:
    return Option(
        flags=flags, dest=dest, metavar=metavar, convert=values.path, repeat=repeat, help=text
    )


def _switch(*flags: str, dest: str, switch: bool = True, tally: bool = False, text: str) -> Option:
    return Option(flags=flags, dest=dest, switch=switch, tally=tally, help=text)


_LOADERS = ("auto", *sorted({loader.family for loader in all_loaders().values()}), NO_LOADER)
_FIRMWARES = tuple(
    dict.fromkeys(f.name for a in all_arches().values() for f in (*a.firmwares, DIRECT))
)

HELP = _switch("-h", "--help", dest="help", text="Show this help and exit.")
VERSION = _switch("--version", dest="version", text="Show the version and exit.")
QUIET = _switch("-q", "--quiet", dest="quiet", text="Print nothing but errors and the result.")
VERBOSE = _switch(
    "-v",
    "--verbose",
    dest="verbose",
    tally=True,
    text="Print notes and beginnings of steps too; twice: tracebacks of internal errors.",
)
JSON_EVENTS = _switch(
    "--json", dest="json", text="Write events to standard output, one JSON object a line."
)
JSON = _switch("--json", dest="json", text="Write one JSON document to standard output.")

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
    help="The guest's number of CPUs. Default: 1.",
)
ACCEL = _choice(
    "--accel",
    "accel",
    get_args(Accel),
    "The accelerator. Default: auto, KVM where guests run under it, else TCG.",
)
QEMU = _path(
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
LOG = _path("--log", dest="log", text="Where to keep the guest's console.")
BOOT_FIRMWARE = _firmware(
    "The firmware to start; selfinstall arches names them. Default: the first that the image "
    "has a boot loader for."
)
VERIFY_FIRMWARE = _firmware(
    "The firmware to test. Default: both, one for each boot loader of the image.", "both"
)

CACHE = _path(
    "--cache",
    dest="cache",
    metavar="DIR",
    text="The cache's folder. Default: $XDG_CACHE_HOME/selfinstall.",
)

#: Of a build, where a tarball of another architecture is told apart from an unknown name.
_TARBALL_ARCH = dataclasses.replace(
    ARCH,
    convert=values.architecture_name,
    help="The Debian architecture; another one in the tarball is an error. With --suite, "
    "default: the host's.",
)

_OUTPUT = Group(title="Output", options=(QUIET, VERBOSE, HELP, VERSION))
_OUTPUT_EVENTS = Group(title="Output", options=(JSON_EVENTS, QUIET, VERBOSE, HELP, VERSION))
_OUTPUT_DOCUMENT = Group(title="Output", options=(JSON, QUIET, VERBOSE, HELP, VERSION))
_MACHINE = (ARCH, ACCEL, MEMORY, SMP, QEMU)

BUILD = Verb(
    name="build",
    command="selfinstall",
    summary="Build an image out of a Debian rootfs tarball, or of a suite's packages.",
    groups=(
        Group(
            title="Input and image",
            options=(
                _path(
                    "--tarball",
                    dest="tarball",
                    metavar="FILE|-",
                    text="The rootfs tarball (plain, gz, xz, zst, bz2); - for standard input.",
                ),
                Option(
                    flags=("--suite",),
                    dest="suite",
                    metavar="SUITE",
                    convert=values.suite,
                    help="No tarball: make the rootfs of this Debian suite's packages.",
                ),
                _path(
                    "--from-image",
                    dest="from_image",
                    metavar="IMAGE",
                    text="No tarball: adapt this image, made by whatever tool; it is only read.",
                ),
                _choice(
                    "--variant",
                    "variant",
                    get_args(Variant),
                    "Which of the suite's packages, by priority. Default: minbase, what is "
                    "essential or required, and apt.",
                ),
                _path(
                    "-o",
                    "--output",
                    dest="output",
                    metavar="IMAGE",
                    text="The image to make. Default: the name of the tarball, or of suite and "
                    "architecture, with the format's suffix.",
                ),
                _TARBALL_ARCH,
                _choice(
                    "--format",
                    "format",
                    FORMATS,
                    "The image's format. Default: by the suffix of the image's name, else raw.",
                ),
                Option(
                    flags=("--size",),
                    dest="size",
                    metavar="SIZE",
                    convert=values.size,
                    help="The virtual disk's size: 10G, 512M, or bytes. Default: 10G.",
                ),
                _choice(
                    "--bootloader",
                    "bootloader",
                    _LOADERS,
                    "The boot loader; none puts kernel and initramfs beside the image. "
                    "Default: auto, the architecture's own.",
                ),
                _firmware(
                    "The firmware that must start the image, where there is a choice "
                    "(selfinstall arches). Default: both, all of them.",
                    "both",
                ),
            ),
        ),
        Group(
            title="Packages",
            options=(
                _path(
                    "--packages",
                    dest="packages",
                    metavar="DIR",
                    text="Take packages from this folder of .deb files and use no network.",
                ),
                Option(
                    flags=("--include",),
                    dest="include",
                    metavar="PKG,…",
                    convert=values.packages,
                    repeat=True,
                    help="Further packages to install.",
                ),
                Option(
                    flags=("--kernel",),
                    dest="kernel",
                    metavar="PKG",
                    convert=values.package,
                    help="The kernel package. Default: the architecture's usual one.",
                ),
                Option(
                    flags=("--mirror",),
                    dest="mirror",
                    metavar="URI",
                    convert=values.uri,
                    help="The mirror to use in place of those in the tarball's sources "
                    "(with --suite, in place of the host's).",
                ),
                _path(
                    "--sources",
                    dest="sources",
                    text="A .list or .sources file to use in place of the tarball's "
                    "(with --suite, the image gets it).",
                ),
                _path(
                    "--keyring",
                    dest="keyring",
                    text="An OpenPGP keyring to use in place of the tarball's "
                    "(with --suite, in place of Debian's).",
                ),
                Option(
                    flags=("--apt-proxy",),
                    dest="apt_proxy",
                    metavar="URI",
                    convert=values.proxy,
                    help="The proxy for downloads, or DIRECT for none. Default: that of the "
                    "host's apt.",
                ),
                _switch(
                    "--allow-unsigned",
                    dest="allow_unsigned",
                    switch=True,
                    text="Take packages without a good signature too: whoever is between here "
                    "and the mirror then chooses what is installed.",
                ),
            ),
        ),
        Group(
            title="The system in the image",
            options=(
                Option(
                    flags=("--profile",),
                    dest="profiles",
                    metavar="NAME,…",
                    convert=values.profiles,
                    repeat=True,
                    help="What to make it ready for: autopkgtest, ssh, cloud, or one of your own "
                    "(with a slash, its path). Default: plain, nothing.",
                ),
                Option(
                    flags=("--hostname",),
                    dest="hostname",
                    metavar="NAME",
                    convert=values.hostname,
                    help="Its host name. Default: the tarball's, else debian.",
                ),
                _path(
                    "--root-password-file",
                    dest="root_password_file",
                    text="Holds root's password in its first line. Root is locked without it.",
                ),
                _path(
                    "--ssh-key",
                    dest="ssh_key",
                    text="Holds public keys that may log in as root (and as the user).",
                ),
                Option(
                    flags=("--user",),
                    dest="user",
                    metavar="NAME",
                    convert=values.user,
                    help="An ordinary user to make.",
                ),
                _path(
                    "--user-password-file",
                    dest="user_password_file",
                    text="Holds that user's password in its first line.",
                ),
                Option(
                    flags=("--image-apt-proxy",),
                    dest="image_apt_proxy",
                    metavar="URI|host",
                    convert=values.proxy_or_host,
                    help="The proxy of its own apt; host for the one that downloads go through. "
                    "Default: none.",
                ),
                _path(
                    "--customize-hook",
                    dest="customize_hooks",
                    repeat=True,
                    text="A script to run in the image's root, natively; several run in order.",
                ),
                Option(
                    flags=("--customize-env",),
                    dest="customize_environment",
                    metavar="NAME=VALUE",
                    convert=values.assignment,
                    repeat=True,
                    help="A variable for these scripts. May be given several times.",
                ),
                _switch(
                    "--customize-network",
                    dest="customize_network",
                    text="Let these scripts reach the network; the image then has iproute2.",
                ),
            ),
        ),
        Group(
            title="The cache",
            options=(
                CACHE,
                _switch(
                    "--no-cache",
                    dest="use_cache",
                    switch=False,
                    text="Take nothing from it, and leave nothing in it.",
                ),
                Option(
                    flags=("--cache-limit",),
                    dest="cache_limit",
                    metavar="SIZE",
                    convert=values.size_or_none,
                    help="What it may hold when the build ends; none for nothing. "
                    "Default: $SELFINSTALL_CACHE_LIMIT, else 20G.",
                ),
            ),
        ),
        Group(
            title="The build",
            options=(
                _choice(
                    "--payload",
                    "payload",
                    get_args(PayloadMode),
                    "How the rootfs reaches the guest. Default: auto, the initramfs while "
                    "memory holds it, else a second disk.",
                ),
                MEMORY,
                SMP,
                ACCEL,
                QEMU,
                STALL,
                _switch(
                    "--verify",
                    dest="verify",
                    text="Boot the image before it gets its name. This is the default.",
                ),
                _switch(
                    "--no-verify",
                    dest="verify",
                    switch=False,
                    text="Do not boot the image.",
                ),
                Option(
                    flags=("--seed",),
                    dest="seed",
                    metavar="TEXT",
                    help="What UUIDs and ids are derived from. Default: the hashes of "
                    "tarball and packages.",
                ),
                _switch(
                    "--dry-run",
                    dest="dry_run",
                    text="Print the plan (with --json: as JSON) and build nothing.",
                ),
            ),
        ),
        Group(
            title="Output",
            options=(
                _path("--manifest", dest="manifest", text="Where to write a JSON manifest."),
                LOG,
                *_OUTPUT_EVENTS.options,
            ),
        ),
    ),
)

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
                _switch("--write", dest="write", text="Write to the image itself."),
                _switch(
                    "--snapshot",
                    dest="write",
                    switch=False,
                    text="Write to a throw-away overlay. This is the default.",
                ),
                _switch(
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
                *_MACHINE,
                _choice(
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
                _switch(
                    "--cloud-seed",
                    dest="cloud_seed",
                    text="Attach a NoCloud seed, made of what follows.",
                ),
                _path(
                    "--user-data",
                    dest="user_data",
                    text="Its user-data. Default: root may log in with the keys.",
                ),
                _path("--ssh-key", dest="ssh_key", text="Public keys that may log in."),
                Option(
                    flags=("--hostname",),
                    dest="hostname",
                    metavar="NAME",
                    convert=values.hostname,
                    help="The machine's name.",
                ),
            ),
        ),
        _OUTPUT,
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
                *_MACHINE,
                STALL,
                LOG,
                _path(
                    "--manifest",
                    dest="manifest",
                    text="First see whether the image's content is what this manifest says.",
                ),
            ),
        ),
        _OUTPUT_EVENTS,
    ),
)

EXPORT = Verb(
    name="export",
    command="selfinstall export",
    summary="Copy kernel and initramfs out of an image to where boot and verify find them.",
    file="IMAGE",
    file_help="The image, of a system that is not running; it is only read.",
    groups=(Group(title="Options", options=(ARCH,)), _OUTPUT_EVENTS),
)

INSPECT = Verb(
    name="inspect",
    command="selfinstall inspect",
    summary="Tell what a tarball or an image holds.",
    file="FILE",
    file_help="A rootfs tarball, - for one on standard input, or a disk image.",
    groups=(_OUTPUT_DOCUMENT,),
)

ARCHES = Verb(
    name="arches",
    command="selfinstall arches",
    summary="List the architectures and what this host has for each.",
    groups=(_OUTPUT_DOCUMENT,),
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
                _switch("--all", dest="all", text="Look for what any architecture needs."),
                CACHE,
            ),
        ),
        _OUTPUT_DOCUMENT,
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
        _OUTPUT_DOCUMENT,
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
                _path(
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
                _switch(
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
                *_MACHINE,
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
    groups=(_OUTPUT_DOCUMENT,),
)

VERBS: dict[str, Verb] = {
    verb.name: verb for verb in (BOOT, VERIFY, EXPORT, INSPECT, CACHE_VERB, REPORT, ARCHES, DOCTOR)
}
