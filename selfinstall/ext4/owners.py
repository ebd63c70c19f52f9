"""Owners by name, as dpkg and tar(1) take them where they run: the system's number, if it has one.

Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from selfinstall.rootfs.headers import field

PASSWD, GROUP = "etc/passwd", "etc/group"


@dataclasses.dataclass(frozen=True, slots=True)
class Owners:
    """Numbers of users and groups by their names."""

    users: Mapping[bytes, int]
    groups: Mapping[bytes, int]

    def user(self, block: bytes) -> int | None:
        """Whose number the owner's name in a header stands for; None for nobody's."""
        return self.users.get(field(block, 265, 32))

    def group(self, block: bytes) -> int | None:
        """Likewise the group's."""
        return self.groups.get(field(block, 297, 32))


#: No names: an archive's numbers are what counts.
NOBODY = Owners({}, {})


def owners_of(files: Mapping[str, bytes]) -> Owners:
    """What passwd(5) and group(5) say.

    :param files: their content by path.
    """
    return Owners(_numbers(files.get(PASSWD, b"")), _numbers(files.get(GROUP, b"")))


def _numbers(text: bytes) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for line in text.splitlines():
        fields = line.split(b":")
        if len(fields) > 2 and fields[0] and fields[2].isdigit():
            # The first of two is what getpwnam(3) finds.
            found.setdefault(fields[0], int(fields[2]))
    return found
