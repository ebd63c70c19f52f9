"""The guest's hooks: static POSIX sh files whose header says what they need.

::

    #!/bin/sh
    # 30-format: make the file systems
    # Needs: ROOT_DEVICE ESP_DEVICE
    # Provides: the file systems at /target
    # Programs: mke2fs
    #   dd
    # Modules: ext4 ?crc32c_generic

The header ends with the first line that is no comment or an empty one; what
is explained further in comments comes after that.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import re
from importlib.resources.abc import Traversable

KEYS = ("needs", "provides", "programs", "modules", "runs")
KEY_LINE = re.compile(r"# ([A-Za-z]+):(?: (.*))?$")
CONTINUATION = re.compile(r"# {3,}(\S.*)$")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """One hook.

    :param name: its file's name.
    :param text: the whole script.
    :param title: what it does, for people.
    :param needs: settings and variables that must be there before it.
    :param provides: what is there after it, for people.
    :param programs: what the initramfs must hold for it; ``?name`` where there is one.
    :param modules: kernel modules to load for it; ``?name`` where there is one.
    :param always: whether it runs (``Runs: always``) in builds too that begin with a layer
        which was taken after it.
    """

    name: str
    text: str
    title: str
    needs: tuple[str, ...] = ()
    provides: str = ""
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    always: bool = False


def load_hook(name: str) -> Hook:
    """The hook that is shipped as *name*.

    :raises ValueError: there is none, or its header is not understood.
    """
    file = _folder() / name
    if "/" in name or not file.is_file():
        raise ValueError(f"there is no hook {name!r}")
    return parse_hook(name, file.read_text(encoding="utf-8"))


def _folder() -> Traversable:
    return importlib.resources.files("selfinstall") / "hooks"


def parse_hook(name: str, text: str) -> Hook:
    """Read a hook's header.

    :raises ValueError: it is not understood.
    """
    lines = text.splitlines()
    if lines[:1] != ["#!/bin/sh"]:
        raise ValueError(f"hook {name}: the first line is not #!/bin/sh")
    stem = name.removesuffix(".sh")
    if len(lines) < 2 or not lines[1].startswith(f"# {stem}: "):
        raise ValueError(f"hook {name}: the second line is not '# {stem}: TITLE'")
    words = _words(name, lines[2:])
    return Hook(
        name=name,
        text=text,
        title=lines[1].removeprefix(f"# {stem}: ").strip(),
        needs=words.get("needs", ()),
        provides=" ".join(words.get("provides", ())),
        programs=words.get("programs", ()),
        modules=words.get("modules", ()),
        always=_always(name, words.get("runs")),
    )


def _always(name: str, words: tuple[str, ...] | None) -> bool:
    if words not in (None, ("always",)):
        raise ValueError(f"hook {name}: it runs 'always' or the header does not say so")
    return words is not None


def _words(name: str, lines: list[str]) -> dict[str, tuple[str, ...]]:
    """The words of each key."""
    found: dict[str, tuple[str, ...]] = {}
    key = ""
    for line in lines:
        if not line.startswith("#") or line.strip() == "#":
            break
        if line.startswith("# shellcheck "):
            continue
        if key and (more := CONTINUATION.match(line)):
            found[key] += tuple(more[1].split())
            continue
        match = KEY_LINE.match(line)
        if match is None:
            raise ValueError(f"hook {name}: the header has {line!r}; an empty line ends it")
        key = match[1].lower()
        if key not in KEYS:
            raise ValueError(f"hook {name}: unknown key {match[1]!r} in the header")
        if key in found:
            raise ValueError(f"hook {name}: the header has {match[1]!r} twice")
        found[key] = tuple((match[2] or "").split())
    return found
