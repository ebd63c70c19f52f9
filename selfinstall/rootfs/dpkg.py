"""dpkg's database of installed packages, and control data as it writes it.  Pure."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator

from selfinstall.errors import InputError

_INSTALLED = frozenset(("installed",))
#: "dpkg --configure --pending" finishes these.
_UNCONFIGURED = frozenset(("unpacked", "half-configured", "triggers-awaited", "triggers-pending"))
#: dpkg was interrupted while it unpacked; only the .deb helps.
_BROKEN = frozenset(("half-installed",))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """What dpkg says is there.

    :param architecture: that of the package ``dpkg``, None when it is not there.
    :param packages: versions by name of packages that are installed or at least unpacked.
    :param architectures: likewise what they are built for.
    :param unconfigured: names of packages that are unpacked and not wholly configured, sorted.
    :param broken: names of packages of which only a part is there, sorted.
    """

    architecture: str | None
    packages: dict[str, str]
    architectures: dict[str, str]
    unconfigured: tuple[str, ...]
    broken: tuple[str, ...] = ()


#: Longer than the name of any field that is asked for.
_LONGEST_NAME = 64
#: All of Debian has half as many; each takes some hundred bytes of memory.
MAXIMUM_PACKAGES = 1 << 17
#: Bytes; the longest lists of dependencies have some ten thousand.
MAXIMUM_LINE = 1 << 20
#: Of a field that is asked for; keys in sources have some hundred.
MAXIMUM_LINES = 1 << 14


def paragraphs(data: bytes, wanted: frozenset[str]) -> Iterator[dict[str, str]]:
    """The *wanted* fields (in lower case) of each paragraph of control data.

    Continuation lines are joined by newlines.  Lines that are no field are
    passed over, as there may be one in a file that people edit.

    :raises InputError: a line is longer than any that dpkg or people write.
    """
    # Lists, since a string that grows by a million lines is copied a million times.
    fields: dict[str, list[bytes]] = {}
    last: list[bytes] | None = None
    for line in io.BytesIO(data):
        if len(line) > MAXIMUM_LINE:
            raise InputError(f"a line of {len(line)} bytes in control data is beyond all sense")
        stripped = line.strip()
        if not stripped:
            if fields:
                yield _joined(fields)
            fields, last = {}, None
        elif line[:1] in b" \t":
            if last is not None:
                last.append(stripped)
                if len(last) > MAXIMUM_LINES:
                    raise InputError(f"a field of {len(last)} lines is beyond all sense")
        elif line[:1] != b"#":
            name, colon, value = stripped.partition(b":")
            known = name[:_LONGEST_NAME].decode(errors="replace").lower() if colon else ""
            last = None
            if known in wanted:
                last = fields[known] = [value.strip()]
    if fields:
        yield _joined(fields)


def _joined(fields: dict[str, list[bytes]]) -> dict[str, str]:
    return {name: b"\n".join(lines).decode(errors="replace") for name, lines in fields.items()}


_STATUS_FIELDS = frozenset(("package", "status", "version", "architecture"))


def parse_status(status: bytes) -> Database:
    """Read ``/var/lib/dpkg/status``.

    Of a package that is there for several architectures the one of dpkg's own counts.

    :raises InputError: it lists more packages than any system has.
    """
    found: list[tuple[str, str, str, str]] = []
    for fields in paragraphs(status, _STATUS_FIELDS):
        state = fields.get("status", "").rpartition(" ")[2]
        if "package" in fields and state in _INSTALLED | _UNCONFIGURED | _BROKEN:
            name, version = fields["package"], fields.get("version", "")
            found.append((name, version, fields.get("architecture", ""), state))
            if len(found) > MAXIMUM_PACKAGES:
                raise InputError("the dpkg database lists too many packages, beyond all sense")
    native = next((arch for name, _, arch, _ in found if name == "dpkg"), None)
    packages: dict[str, str] = {}
    architectures: dict[str, str] = {}
    for name, version, architecture, state in found:
        if state not in _BROKEN and (name not in packages or architecture == native):
            packages[name] = version
            architectures[name] = architecture
    return Database(
        architecture=native or None,
        packages=packages,
        architectures=architectures,
        unconfigured=tuple(sorted({name for name, _, _, s in found if s in _UNCONFIGURED})),
        broken=tuple(sorted({name for name, _, _, s in found if s in _BROKEN})),
    )


_UNFINISHED = re.compile(
    rb"^(Status: install \S+) (?:unpacked|half-configured|triggers-awaited|triggers-pending)$",
    re.MULTILINE,
)


def as_configured(status: bytes) -> bytes:
    """*status* as it will be when ``dpkg --configure --pending`` has done its work."""
    return _UNFINISHED.sub(rb"\1 installed", status)


def parse_os_release(text: str) -> dict[str, str]:
    """The variables of an os-release(5) file."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            found[name] = re.sub(r"\\(.)", r"\1", value)
    return found
