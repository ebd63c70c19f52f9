"""Packages with every kind of member, root file systems for them, and dpkg's own opinion."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deb_helpers import ar
from tar_helpers import stanza

from selfinstall.packages import deb
from selfinstall.packages.resolution import Fetched, Package, Step

TIME = 1_600_000_000
#: What every root of these tests has, so that dpkg works in it.
ROOT = {
    "usr/bin/": "",
    "usr/lib/": "",
    "bin": "-> usr/bin",
    "lib": "-> usr/lib",
    "etc/": "",
    "var/log/": "",
    "var/lib/dpkg/info/format": "1\n",
    "var/lib/dpkg/triggers/File": "/usr/share/watched base/noawait\n/usr/lib/both base\n",
    "var/lib/dpkg/triggers/named": "base\n",
    "var/lib/dpkg/triggers/Unincorp": "",
    "var/lib/dpkg/updates/": "",
    "var/lib/dpkg/diversions": "/usr/bin/diverted\n/usr/bin/diverted.old\n:\n",
    "var/lib/dpkg/statoverride": "root root 4755 /usr/bin/overridden\n",
    "var/lib/dpkg/status": stanza("base", arch="all"),
    "var/lib/dpkg/info/base.list": "/.\n/usr\n/usr/base\n",
    "usr/base": "else dpkg holds that other packages replace it",
    "var/lib/dpkg/info/base.postinst": "#!/bin/sh\n",
    "etc/dpkg/dpkg.cfg": "# comment\nno-debsig\nlog /var/log/dpkg.log\n",
}


def entry(path: str, value: str, mode: int | None = None) -> tuple[tarfile.TarInfo, bytes]:
    """A member: a folder (``x/``), a link (``-> x``), a hard link (``=> ./x``), or a file."""
    info = tarfile.TarInfo(f"./{path}")
    info.mtime = TIME
    info.uname = info.gname = "root"
    info.mode = 0o644 if mode is None else mode
    content = b""
    if path.endswith("/") or not path:
        info.type, info.mode = tarfile.DIRTYPE, 0o755 if mode is None else mode
    elif value.startswith("-> "):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, value[3:], 0o777
    elif value.startswith("=> "):
        info.type, info.linkname = tarfile.LNKTYPE, value[3:]
    else:
        content = value.encode()
        info.size = len(content)
    return info, content


def archive(entries: Sequence[tuple[tarfile.TarInfo, bytes]], format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def parents(paths: Mapping[str, str]) -> dict[str, str]:
    """The same with all folders on the way, as packages list them."""
    found = {"": ""}
    for path, value in paths.items():
        parts = path.rstrip("/").split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            found["/".join(parts[:depth]) + "/"] = ""
        found[path] = value
    return found


def make_package(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    *,
    control: Mapping[str, str | None] | None = None,
    modes: Mapping[str, int] | None = None,
    architecture: str = "all",
    format: int = tarfile.GNU_FORMAT,
    **fields: str,
) -> Fetched:
    """A repacked .deb; *control* holds further control files, *fields* further fields."""
    every = {"Package": name, "Version": "1", "Architecture": architecture}
    every |= {"Maintainer": "T <t@example.org>", "Section": "misc", "Priority": "optional"}
    every |= {field.replace("_", "-"): value for field, value in fields.items()}
    text = "".join(f"{field}: {value}\n" for field, value in every.items())
    text += "Description: short\n long\n .\n longer\n"
    said = {"./control": text, "./md5sums": "", **{f"./{k}": v for k, v in (control or {}).items()}}
    scripts = ("preinst", "postinst", "prerm", "postrm", "config")
    members = [
        entry(k[2:], v, 0o755 if k[2:] in scripts else 0o644)
        for k, v in said.items()
        if v is not None
    ]
    chosen = modes or {}
    data = [entry(path, value, chosen.get(path)) for path, value in parents(files).items()]
    if format == tarfile.PAX_FORMAT:
        for info, _ in data:
            info.mtime += 0.5
    path = folder / f"{name}_1_{architecture}.deb"
    path.write_bytes(
        ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar": archive([entry("", ""), *members], tarfile.GNU_FORMAT),
                "data.tar": archive(data, format),
            }
        )
    )
    with path.open("rb") as stream:
        place = next(m for m in deb.members(stream, name) if m.name == "data.tar")
    package = Package(
        name=name, version="1", architecture=architecture, filename=path.name, sha256="0" * 64,
        size=1, installed_size=1, automatic=False,
    )  # fmt: skip
    return Fetched(package=package, path=path, data_offset=place.offset, data_size=place.size)


def make_root(folder: Path, changes: Mapping[str, str | None] | None = None) -> Path:
    """A root as :data:`ROOT` with *changes* (None: left out), as a tar."""
    wanted = {k: v for k, v in {**ROOT, **(changes or {})}.items() if v is not None}
    path = folder / "rootfs.tar"
    entries = [entry(name, value) for name, value in parents(wanted).items()]
    path.write_bytes(archive(entries, tarfile.PAX_FORMAT))
    return path


def steps_for(*fetched: Fetched) -> tuple[Step, ...]:
    names = tuple(f"{f.package.name}:{f.package.architecture}" for f in fetched)
    return (
        Step("unpack", tuple(f.package.filename for f in fetched)),
        Step("configure", names),
    )


def run_dpkg(root: Path, *arguments: str | Path) -> None:
    """dpkg in *root*, without being root."""
    subprocess.run(
        [
            "dpkg", "--force-not-root", "--force-unsafe-io", "--force-script-chrootless",
            "--force-confold", "--no-triggers", "--log=/dev/null", f"--root={root}",
            *map(str, arguments),
        ],
        check=True, capture_output=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )  # fmt: skip


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below *root* that must be the same; dpkg's folders and own files have new times.

    Hard links are told by the number of names.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        at = path.lstat()
        name = str(path.relative_to(root))
        content: object = ""
        if stat.S_ISLNK(at.st_mode):
            content = str(path.readlink())
        elif stat.S_ISREG(at.st_mode):
            content = path.read_bytes()
        folder = stat.S_ISDIR(at.st_mode)
        time = 0 if folder or name.startswith("var/lib/dpkg") else int(at.st_mtime)
        found[name] = (stat.filemode(at.st_mode), content, 0 if folder else at.st_nlink, time)
    return found
