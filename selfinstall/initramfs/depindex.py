"""``modules.dep.bin``: how modprobe finds modules, as kmod's ``libkmod-index.c`` reads it.

All numbers are big-endian, whatever the machine.  Behind magic, version and the offset of the root
come the nodes of a radix tree; an offset's upper bits tell what its node holds.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_MAGIC, _VERSION = 0xB007F457, 0x0002_0001
_HAS_PREFIX, _HAS_VALUES, _HAS_CHILDREN = 0x8000_0000, 0x4000_0000, 0x2000_0000
#: Of values that differ in nothing else, the lowest is taken; here each name has one.
_PRIORITY = 0


def dependency_index(lines: Mapping[str, str]) -> bytes:
    """The index that leads from names of modules to their lines in ``modules.dep``.

    :param lines: (name with underscores, ``PATH: PATH-OF-WHAT-IT-NEEDS …``); ASCII.
    """
    content = bytearray(struct.pack(">III", _MAGIC, _VERSION, 0))
    root = _append(content, {name.encode(): line.encode() for name, line in lines.items()})
    content[8:12] = struct.pack(">I", root)
    return bytes(content)


def _append(content: bytearray, values: Mapping[bytes, bytes]) -> int:
    """Append the node for *values*, behind those below it; returns its offset and what it holds."""
    prefix = _common_prefix(min(values), max(values))
    below: dict[int, dict[bytes, bytes]] = {}
    for key, value in values.items():
        if key != prefix:
            rest = key[len(prefix) :]
            below.setdefault(rest[0], {})[rest[1:]] = value
    children = {letter: _append(content, group) for letter, group in below.items()}
    kind, place = 0, len(content)
    if prefix:
        kind |= _HAS_PREFIX
        content += prefix + b"\0"
    if children:
        kind |= _HAS_CHILDREN
        first, last = min(children), max(children)
        content += bytes((first, last))
        for letter in range(first, last + 1):
            content += struct.pack(">I", children.get(letter, 0))
    if prefix in values:
        kind |= _HAS_VALUES
        content += struct.pack(">II", 1, _PRIORITY) + values[prefix] + b"\0"
    return kind | place


def _common_prefix(first: bytes, last: bytes) -> bytes:
    """Of sorted keys, the first and the last have in common what all have."""
    pairs = zip(first, last, strict=False)
    length = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))
    return first[:length]
