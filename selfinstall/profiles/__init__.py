"""Profiles: what an image is made ready for, declared in small files.

A profile is a folder with a declaration (``profile.toml``) and, where wanted, a script that
runs natively in the image's root (``hook``) and a tree of files for it (``files/``); or the
declaration alone (``NAME.toml``).  The shipped ones are folders beside this file.
:mod:`selfinstall.profiles.folder` finds them, :mod:`selfinstall.profiles.declaration` reads
what they declare, and here is what it means for a build.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import get_args

from selfinstall.errors import InputError, UsageError
from selfinstall.request import Request
from selfinstall.rootfs.facts import Init

#: Names are folders in the guest and words of a shell's list.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
#: Options of a build that a declaration can speak of, and the request's fields behind them.
OPTIONS = {
    "hostname": "hostname",
    "root-password-file": "root_password_file",
    "ssh-key": "ssh_key",
    "user": "user",
    "user-password-file": "user_password_file",
}
INITS: tuple[Init, ...] = get_args(Init)
#: What a hook is told by selfinstall begins so.
RESERVED = "SELFINSTALL_"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One profile, read.

    :param name: what it is called.
    :param source: where it was found, for people.
    :param packages: packages to install; apt must find them.
    :param useful: packages to install where the suite has them.
    :param init_packages: further *packages* under each init system.
    :param init_useful: further *useful* ones under each init system.
    :param kernel_args: arguments of the image's kernel.
    :param modules: kernel modules that the image's kernel should have.
    :param user: an ordinary user to make when the request names none; empty for none.
    :param conflicts: profiles that it cannot be combined with.
    :param inits: the init systems that it is for.
    :param provides: options (:data:`OPTIONS`) that nobody misses with it.
    :param warn_without: what is to be said when an option is missing.
    :param settings: variables for the hook.
    :param hook: the script, empty for none.
    :param files: contents for the image's root by their relative path, and whether they
        are programs.
    """

    name: str
    source: str
    description: str = ""
    packages: tuple[str, ...] = ()
    useful: tuple[str, ...] = ()
    init_packages: Mapping[Init, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    init_useful: Mapping[Init, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    kernel_args: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    user: str = ""
    conflicts: tuple[str, ...] = ()
    inits: tuple[Init, ...] = INITS
    provides: tuple[str, ...] = ()
    warn_without: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hook: bytes = b""
    files: Mapping[str, tuple[bytes, bool]] = dataclasses.field(default_factory=dict)
    declaration: bytes = b""

    @property
    def acts(self) -> bool:
        """Whether it does anything in the guest beside installing packages."""
        return bool(self.hook or self.files)

    @property
    def sha256(self) -> str:
        """A hash of all that it consists of."""
        digest = hashlib.sha256()
        pieces = [self.declaration, self.hook]
        for path in sorted(self.files):
            content, program = self.files[path]
            pieces += [path.encode("utf-8", "surrogateescape"), b"x" if program else b"-", content]
        for piece in pieces:
            digest.update(f"{len(piece)}:".encode() + piece)
        return digest.hexdigest()

    def wanted(self, init: Init) -> tuple[str, ...]:
        """Its packages under *init*."""
        return (*self.packages, *self.init_packages.get(init, ()))

    def wished(self, init: Init) -> tuple[str, ...]:
        """Its useful packages under *init*."""
        return (*self.useful, *self.init_useful.get(init, ()))


@dataclasses.dataclass(frozen=True, slots=True)
class Used:
    """A profile as plan and manifest tell of it."""

    name: str
    source: str
    sha256: str


def check_together(profiles: Iterable[Profile], request: Request) -> None:
    """:raises UsageError: the profiles cannot be combined."""
    known = tuple(profiles)
    names = {profile.name for profile in known}
    for profile in known:
        for other in profile.conflicts:
            if other in names:
                raise UsageError(
                    f"the profiles {profile.name} and {other} do not go together",
                    "build an image for each",
                )
    users = {profile.user: profile.name for profile in known if profile.user}
    if len(users) > 1 and request.user is None:
        told = ", ".join(f"{user} ({name})" for user, name in users.items())
        raise UsageError(f"the profiles make different users: {told}", "name one with --user")


def check_init(profiles: Iterable[Profile], init: Init) -> None:
    """:raises UsageError: a profile is not for the image's init system."""
    for profile in profiles:
        if init not in profile.inits:
            raise UsageError(
                f"the profile {profile.name} does not work under {init}",
                f"it is for: {', '.join(profile.inits)}",
            )


def user(profiles: Iterable[Profile], request: Request) -> str:
    """The ordinary user to make; empty for none."""
    return request.user or next((p.user for p in profiles if p.user), "")


def missed(profiles: Iterable[Profile], request: Request) -> tuple[str, ...]:
    """What is to be said of options that the profiles would have liked."""
    known = tuple(profiles)
    provided = {option for profile in known for option in profile.provides}
    return tuple(
        f"profile {profile.name}: {text}"
        for profile in known
        for option, text in profile.warn_without.items()
        if option not in provided and getattr(request, OPTIONS[option]) is None
    )


def without_modules(profiles: Iterable[Profile], kernel: str) -> tuple[str, ...]:
    """What is to be said of modules that Debian's cloud flavour of the kernel has not.

    :param kernel: the package's name, or the kernel's version.
    """
    if "cloud" not in kernel.split("-"):
        return ()
    return tuple(
        f"profile {profile.name}: the kernel {kernel} is of the cloud flavour, which has not "
        f"the modules {', '.join(profile.modules)}; name another with --kernel"
        for profile in profiles
        if profile.modules
    )


def blamed(error: InputError, profiles: Iterable[Profile], init: Init) -> InputError:
    """*error*, of apt on packages, with the names of the profiles that wanted these."""
    said = {word.strip(",;:()") for word in error.message.split()}
    names = [p.name for p in profiles if said & {*p.wanted(init)}]
    if not names:
        return error
    title = "profile" if len(names) == 1 else "profiles"
    return InputError(f"{title} {', '.join(names)}: {error.message}", error.hint)
