"""Every option of a build, declared once."""

from __future__ import annotations

import dataclasses
from typing import get_args

from selfinstall.cli import values
from selfinstall.cli.shared import (
    ACCEL,
    ARCH,
    CACHE,
    LOG,
    MEMORY,
    OUTPUT_EVENTS,
    QEMU,
    SMP,
    STALL,
    choice,
    firmware,
    path,
    switch,
)
from selfinstall.cli.table import Group, Option, Verb
from selfinstall.loader import all_loaders
from selfinstall.plan import NO_LOADER
from selfinstall.request import FORMATS, PayloadMode, Variant

_LOADERS = ("auto", *sorted({loader.family for loader in all_loaders().values()}), NO_LOADER)
#: Where a tarball of another architecture is told apart from an unknown name.
_TARBALL_ARCH = dataclasses.replace(
    ARCH,
    convert=values.architecture_name,
    help="The Debian architecture; another one in the tarball is an error. With --suite, "
    "default: the host's.",
)

_INPUT = Group(
    title="Input and image",
    options=(
        path(
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
        path(
            "--from-image",
            dest="from_image",
            metavar="IMAGE",
            text="No tarball: adapt this image, made by whatever tool; it is only read.",
        ),
        choice(
            "--variant",
            "variant",
            get_args(Variant),
            "Which of the suite's packages, by priority. Default: minbase, what is "
            "essential or required, and apt.",
        ),
        path(
            "-o",
            "--output",
            dest="output",
            metavar="IMAGE",
            text="The image to make. Default: the name of the tarball, or of suite and "
            "architecture, with the format's suffix.",
        ),
        _TARBALL_ARCH,
        choice(
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
        choice(
            "--bootloader",
            "bootloader",
            _LOADERS,
            "The boot loader; none puts kernel and initramfs beside the image. "
            "Default: auto, the architecture's own.",
        ),
        firmware(
            "The firmware that must start the image, where there is a choice "
            "(selfinstall arches). Default: both, all of them.",
            "both",
        ),
    ),
)

_PACKAGES = Group(
    title="Packages",
    options=(
        path(
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
        path(
            "--sources",
            dest="sources",
            text="A .list or .sources file to use in place of the tarball's "
            "(with --suite, the image gets it).",
        ),
        path(
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
            help="The proxy for downloads, or DIRECT for none. Default: that of the host's apt.",
        ),
        switch(
            "--allow-unsigned",
            dest="allow_unsigned",
            switch=True,
            text="Take packages without a good signature too: whoever is between here "
            "and the mirror then chooses what is installed.",
        ),
    ),
)

_SYSTEM = Group(
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
        path(
            "--root-password-file",
            dest="root_password_file",
            text="Holds root's password in its first line. Root is locked without it.",
        ),
        path(
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
        path(
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
        path(
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
        switch(
            "--customize-network",
            dest="customize_network",
            text="Let these scripts reach the network; the image then has iproute2.",
        ),
    ),
)

_CACHE = Group(
    title="The cache",
    options=(
        CACHE,
        switch(
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
)

_RUN = Group(
    title="The build",
    options=(
        choice(
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
        switch(
            "--verify",
            dest="verify",
            text="Boot the image before it gets its name. This is the default.",
        ),
        switch("--no-verify", dest="verify", switch=False, text="Do not boot the image."),
        Option(
            flags=("--seed",),
            dest="seed",
            metavar="TEXT",
            help="What UUIDs and ids are derived from. Default: the hashes of "
            "tarball and packages.",
        ),
        switch(
            "--dry-run",
            dest="dry_run",
            text="Print the plan (with --json: as JSON) and build nothing.",
        ),
    ),
)

_OUTPUT = Group(
    title="Output",
    options=(
        path("--manifest", dest="manifest", text="Where to write a JSON manifest."),
        LOG,
        *OUTPUT_EVENTS.options,
    ),
)

BUILD = Verb(
    name="build",
    command="selfinstall",
    summary="Build an image out of a Debian rootfs tarball, or of a suite's packages.",
    groups=(_INPUT, _PACKAGES, _SYSTEM, _CACHE, _RUN, _OUTPUT),
)
