"""The user's small files (passwords, keys, scripts, profiles), checked before anything runs."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from pathlib import Path

from selfinstall.errors import InputError, UsageError
from selfinstall.packages import hostapt, proxy
from selfinstall.profiles import Profile, check_together, folder
from selfinstall.request import Request

#: Far more than any of these files has; a bound against the wrong file.
MAXIMUM_BYTES = 16 << 20
#: Key types of OpenSSH 9.2 (ssh-keygen(1)); options may stand before them (sshd(8)).
SSH_KEY = re.compile(
    rb"(?:^|\s)(?:sk-)?(?:ssh|ecdsa-sha2)-[a-z0-9@.-]+\s+AAAA[A-Za-z0-9+/=]+", re.MULTILINE
)
#: useradd(8)'s rule in Debian, narrowed to what needs no quoting anywhere.
USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Contents of the user's files.

    :param secrets: by the name that the guest's hooks know: ``root-password`` …
    :param customize: the customize hooks' file names and contents, in order.
    :param profiles: the profiles, in order.
    :param environment: what those hooks find in their environment, a line for each variable.
    :param closed: some other users of this host may not read what the image is made of.
    """

    secrets: dict[str, bytes] = dataclasses.field(repr=False)
    customize: tuple[tuple[str, bytes], ...] = dataclasses.field(repr=False)
    profiles: tuple[Profile, ...] = ()
    environment: bytes = dataclasses.field(default=b"", repr=False)
    closed: bool = False

    @property
    def private(self) -> bool:
        """Whether the image will hold something that others must not read."""
        passwords = bool({"root-password", "user-password"} & self.secrets.keys())
        # A proxy's URI may hold one (``http://NAME:PASSWORD@…``).
        return self.closed or passwords or b"@" in self.secrets.get("apt-proxy", b"")


def read_inputs(request: Request) -> Inputs:
    """Read what the request names.

    :raises InputError: a file is missing, empty or not what it should be.
    :raises UsageError: a user's password or name that cannot be; unknown profiles.
    """
    if request.user is not None and not USER_NAME.fullmatch(request.user):
        raise UsageError(
            f"{request.user!r} is no user name", "lower case letters, digits, - and _; 32 at most"
        )
    if request.user_password_file is not None and request.user is None:
        raise UsageError("a user's password needs --user")
    secrets: dict[str, bytes] = {}
    for name, path in (
        ("root-password", request.root_password_file),
        ("user-password", request.user_password_file),
    ):
        if path is not None:
            secrets[name] = _password(path)
    if request.ssh_key is not None:
        secrets["ssh-key"] = public_keys(request.ssh_key)
    profiles = folder.read_profiles(request.profiles, folder.own_folder(os.environ))
    check_together(profiles, request)
    if settings := _image_proxy(request):
        secrets["apt-proxy"] = settings.encode()
    made_of = (request.tarball, request.from_image, *request.customize_hooks)
    return Inputs(
        secrets=secrets,
        customize=tuple((path.name, _script(path)) for path in request.customize_hooks),
        environment=b"".join(_assignment(*pair) for pair in request.customize_environment),
        profiles=profiles,
        closed=any(map(_closed, made_of)),
    )


def _closed(path: Path | None) -> bool:
    """Whether *path* is a file that not everybody may read."""
    if path is None or not path.is_file():
        return False
    return not path.stat().st_mode & stat.S_IROTH


def _image_proxy(request: Request) -> str:
    """The settings of the image's apt."""
    if request.apt_proxy is not None:
        proxy.checked(request.apt_proxy)
    if request.image_apt_proxy is None:
        return ""
    if request.image_apt_proxy != proxy.HOST:
        proxy.checked(request.image_apt_proxy)
    return hostapt.image_proxy(request.image_apt_proxy, request.apt_proxy)


def _assignment(name: str, value: str) -> bytes:
    if not _VARIABLE.fullmatch(name) or any(char in value for char in "\n\0"):
        raise UsageError(f"{name!r} cannot be a variable of the customize hooks with this value")
    return f"{name}={value}\n".encode("utf-8", "surrogateescape")


def read_bounded(path: Path, what: str) -> bytes:
    """The content of one of the user's small files.

    :raises InputError: it cannot be read, or is too large to be one.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}") from None
    if len(content) > MAXIMUM_BYTES:
        raise InputError(f"{what} {path} is larger than {MAXIMUM_BYTES >> 20} MiB")
    return content


def _password(path: Path) -> bytes:
    line = read_bounded(path, "password file").partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise InputError(f"password file {path}: its first line is empty")
    if b"\0" in line or len(line) > 512:
        raise InputError(f"password file {path}: its first line is no password")
    return line + b"\n"


def public_keys(path: Path) -> bytes:
    """The public ssh keys in a file.

    :raises InputError: it cannot be read, or holds none.
    """
    content = read_bounded(path, "ssh key file")
    if b"PRIVATE KEY-----" in content:
        raise InputError(f"{path} is a private key", f"give the public one: {path}.pub")
    if not SSH_KEY.search(content):
        raise InputError(f"{path} holds no public ssh key", "such as ~/.ssh/id_ed25519.pub")
    return content if content.endswith(b"\n") else content + b"\n"


def _script(path: Path) -> bytes:
    content = read_bounded(path, "customize hook")
    if not content.startswith((b"#!", b"\x7fELF")):
        raise InputError(
            f"customize hook {path} does not begin with #!", "name its interpreter: #!/bin/sh"
        )
    return content
