"""Finding and reading profiles: the shipped ones, the user's own, and those named by a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from pathlib import Path

from selfinstall.errors import InputError, UsageError
from selfinstall.profiles import NAME, Profile
from selfinstall.profiles.declaration import parse

DECLARATION = "profile.toml"
HOOK = "hook"
FILES = "files"
#: Where the profiles of selfinstall itself are, for people.
SHIPPED = "shipped"
#: Bounds against the wrong folder, as of other small files of the user's.
MAXIMUM_BYTES = 16 << 20
MAXIMUM_FILES = 1000
MAXIMUM_DEPTH = 32


def own_folder(environ: Mapping[str, str]) -> Path:
    """Where the user's own profiles are: ``$XDG_CONFIG_HOME/selfinstall/profiles``."""
    base = environ.get("XDG_CONFIG_HOME", "")
    # The specification has relative paths ignored.
    root = Path(base) if base.startswith("/") else Path(environ.get("HOME", "/")) / ".config"
    return root / "selfinstall" / "profiles"


def known(own: Path) -> tuple[str, ...]:
    """The names of all profiles that need no path.

    :param own: the folder of the user's own ones, which need not exist.
    """
    return tuple(sorted({*_names(_shipped()), *_names(own)}))


def read_profiles(wanted: Sequence[str], own: Path) -> tuple[Profile, ...]:
    """The profiles that are *wanted*, each once, in that order.

    :param wanted: names; with a slash, paths of folders or ``.toml`` files.
    :param own: the folder of the user's own ones, which go before shipped ones of that name.
    :raises UsageError: there is no profile of that name, or two are called the same.
    :raises InputError: a profile cannot be read or understood.
    """
    found: dict[str, Profile] = {}
    for word in dict.fromkeys(wanted):
        profile = _read(*(_by_path(word) if "/" in word else _named(word, own)))
        other = found.setdefault(profile.name, profile)
        if other.source != profile.source:
            raise UsageError(
                f"two profiles are called {profile.name}: {other.source} and {profile.source}",
                "rename the folder of one",
            )
    return tuple(found.values())


def _shipped() -> Traversable:
    return resources("selfinstall") / "profiles"


def _names(folder: Traversable) -> Iterator[str]:
    """What is in a folder of profiles; nothing when it is none."""
    try:
        entries = list(folder.iterdir()) if folder.is_dir() else []
    except OSError:
        return
    for entry in entries:
        name = entry.name if entry.is_dir() else entry.name.removesuffix(".toml")
        if (entry.is_dir() or name != entry.name) and NAME.fullmatch(name):
            yield name


def _by_path(word: str) -> tuple[Traversable, str]:
    # What the path leads to has a name also where the path ends in "." or "..".
    place = Path(word).resolve()
    return place, str(place)


def _named(name: str, own: Path) -> tuple[Traversable, str]:
    """Where the profile of that name is, and that for people."""
    for folder in (own, _shipped()):
        for file in (name, f"{name}.toml"):
            place = folder / file
            if NAME.fullmatch(name) and (place.is_dir() or place.is_file()):
                return place, str(place) if folder is own else SHIPPED
    raise UsageError(
        f"there is no profile {name!r}",
        f"known: {', '.join(known(own))}; a path to one of your own has a slash, as in ./{name}",
    )


def _read(place: Traversable, source: str) -> Profile:
    """The profile at *place*, a folder or a declaration."""
    name = place.name.removesuffix(".toml")
    if not NAME.fullmatch(name):
        raise InputError(
            f"{source}: {name!r} cannot be a profile's name",
            "a name has lower case letters, digits and hyphens; 32 at most",
        )
    try:
        if not place.is_dir():
            return parse(name, source, _content(place))
        declaration = _content(place / DECLARATION)
        hook = place / HOOK
        script = _script(hook) if hook.is_file() else b""
        return parse(name, source, declaration, hook=script, files=_files(place / FILES))
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else source
        hint = f"a profile is a folder with a {DECLARATION}, or a .toml file"
        raise InputError(f"profile {name}: {where}: {error.strerror}", hint) from None


def _content(file: Traversable) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(MAXIMUM_BYTES + 1)
    if len(content) > MAXIMUM_BYTES:
        raise InputError(f"{file} is larger than {MAXIMUM_BYTES >> 20} MiB")
    return content


def _script(file: Traversable) -> bytes:
    content = _content(file)
    if not content.startswith(b"#!"):
        raise InputError(f"{file} does not begin with #!", "name its interpreter: #!/bin/sh")
    return content


def _files(folder: Traversable) -> dict[str, tuple[bytes, bool]]:
    """The tree for the image's root; nothing where there is none."""
    found: dict[str, tuple[bytes, bool]] = {}
    total = 0
    for path, entry in _walk(folder, "") if folder.is_dir() else ():
        content = _content(entry)
        total += len(content)
        if len(found) >= MAXIMUM_FILES or total > MAXIMUM_BYTES:
            raise InputError(
                f"{folder} holds more than {MAXIMUM_FILES} files or {MAXIMUM_BYTES >> 20} MiB",
                "what is large belongs into a package: --include with --packages DIR",
            )
        # By content: not every way in which files travel keeps their modes.
        found[path] = content, content.startswith((b"#!", b"\x7fELF"))
    return found


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    if prefix.count("/") > MAXIMUM_DEPTH:
        raise InputError(f"{folder}: folders more than {MAXIMUM_DEPTH} deep")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = f"{prefix}{entry.name}"
        if isinstance(entry, Path) and entry.is_symlink():
            raise InputError(f"{entry} is a symbolic link", "let the profile's hook make links")
        if entry.is_dir():
            yield from _walk(entry, f"{path}/")
        elif entry.is_file():
            yield path, entry
        else:
            raise InputError(f"{entry} is neither a file nor a folder")
