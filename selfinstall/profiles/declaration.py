"""A profile's declaration: TOML, of which nothing is overlooked that is not understood."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from selfinstall.errors import InputError
from selfinstall.profiles import INITS, NAME, OPTIONS, RESERVED, Profile

#: A word that neither GRUB's configuration nor a shell reads as anything else.
_ARGUMENT = re.compile(r"[A-Za-z0-9._,:/=+@%-]+")
#: Debian policy 5.6.1, with apt's architecture.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+](?::[a-z0-9-]+)?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MODULE = re.compile(r"[A-Za-z0-9_-]+")
_SETTING = re.compile(r"[A-Z][A-Z0-9_]*")


def parse(
    name: str,
    source: str,
    declaration: bytes,
    *,
    hook: bytes = b"",
    files: Mapping[str, tuple[bytes, bool]] | None = None,
) -> Profile:
    """Read a declaration.

    :raises InputError: it is not TOML, or holds what a declaration cannot hold.
    """
    try:
        values = tomllib.loads(declaration.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{_of(name, source)} is not TOML: {error}") from None
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key not in _KEYS:
            raise InputError(
                f"{_of(name, source)} has an unknown key {key!r}",
                f"it may have: {', '.join(sorted(_KEYS))}",
            )
        try:
            fields |= _KEYS[key](key, value)
        except ValueError as error:
            raise InputError(f"{_of(name, source)}: {error}", _HINTS.get(key)) from None
    return Profile(
        name=name, source=source, declaration=declaration, hook=hook, files=files or {}, **fields
    )


def _of(name: str, source: str) -> str:
    return f"the declaration of profile {name} ({source})"


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{key} is {value!r}, not a string of one line")
    return value


def _matching(key: str, value: object, pattern: re.Pattern[str], what: str) -> str:
    text = _text(key, value)
    if not pattern.fullmatch(text):
        raise ValueError(f"{key} has {text!r}, which is not {what}")
    return text


def _list(key: str, value: object, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{key} is {value!r}, not a list of strings")
    return tuple(_matching(key, each, pattern, what) for each in value)


def _chosen(key: str, value: object, names: Iterable[str]) -> tuple[str, ...]:
    known = tuple(names)
    return _list(key, value, re.compile("|".join(map(re.escape, known))), f"one of {known}")


def _table(key: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r}, not a table")
    return value


def _lists_of(
    field: str, pattern: re.Pattern[str], what: str
) -> Callable[[str, object], dict[str, Any]]:
    return lambda key, value: {field: _list(key, value, pattern, what)}


def _init(key: str, value: object) -> dict[str, Any]:
    """``[init.NAME]``: packages that one init system needs."""
    found: dict[str, dict[str, tuple[str, ...]]] = {"init_packages": {}, "init_useful": {}}
    for init, table in _table(key, value).items():
        (name,) = _chosen(key, [init], INITS)
        for inner, names in _table(f"{key}.{init}", table).items():
            (sort,) = _chosen(f"{key}.{init}", [inner], ("packages", "useful"))
            listed = _list(f"{key}.{init}.{inner}", names, _PACKAGE, "a package's name")
            found[f"init_{sort}"][name] = listed
    return dict(found)


def _warn_without(key: str, value: object) -> dict[str, Any]:
    table = _table(key, value)
    _chosen(key, list(table), OPTIONS)
    return {"warn_without": {name: _text(f"{key}.{name}", table[name]) for name in table}}


def _settings(key: str, value: object) -> dict[str, Any]:
    table = _table(key, value)
    for name in table:
        _matching(key, name, _SETTING, "a variable's name in capitals")
        if name.startswith(RESERVED):
            raise ValueError(f"{key} has {name}, and {RESERVED}… is what selfinstall itself sets")
    return {"settings": {name: _text(f"{key}.{name}", table[name]) for name in table}}


#: What each key gives; raises ValueError.
_KEYS: dict[str, Callable[[str, object], dict[str, Any]]] = {
    "description": lambda key, value: {"description": _text(key, value)},
    "packages": _lists_of("packages", _PACKAGE, "a package's name"),
    "useful": _lists_of("useful", _PACKAGE, "a package's name"),
    "kernel-args": _lists_of("kernel_args", _ARGUMENT, "one kernel argument without quotes"),
    "modules": _lists_of("modules", _MODULE, "a kernel module's name"),
    "user": lambda key, value: {"user": _matching(key, value, _USER, "a user's name")},
    "conflicts": _lists_of("conflicts", NAME, "a profile's name"),
    "inits": lambda key, value: {"inits": _chosen(key, value, INITS)},
    "provides": lambda key, value: {"provides": _chosen(key, value, OPTIONS)},
    "init": _init,
    "warn-without": _warn_without,
    "settings": _settings,
}
_HINTS = {
    "packages": 'such as packages = ["python3", "tzdata"]',
    "kernel-args": 'such as kernel-args = ["quiet", "systemd.unit=rescue.target"]',
    "init": 'such as [init.systemd] and below it packages = ["dbus"]',
    "settings": 'such as [settings] and below it LEVEL = "3"',
    "warn-without": f'such as ssh-key = "…"; it knows: {", ".join(OPTIONS)}',
}
