"""Tiny .debs, dpkg databases and repositories, made in Python; signatures are gpg's."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import zstandard

COMPRESS = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lzma.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ".bz2": bz2.compress,
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}


def tar(files: Mapping[str, bytes]) -> bytes:
    """A tar archive with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def ar(members: Mapping[str, bytes]) -> bytes:
    """An ar archive with these members."""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        header = f"{name:<16}{1700000000:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        parts += [header.encode(), content, b"\n" * (len(content) % 2)]
    return b"".join(parts)


def deb_bytes(
    name: str,
    version: str = "1",
    architecture: str = "all",
    *,
    files: Mapping[str, bytes] | None = None,
    suffix: str = ".xz",
    control: bytes | None = None,
    **fields: str,
) -> bytes:
    """A .deb; *fields* are further control fields with ``_`` for ``-`` (``Pre_Depends``)."""
    every = {"Package": name, "Version": version, "Architecture": architecture}
    every |= {"Maintainer": "T <t@example.org>", "Installed-Size": "3", "Description": "test"}
    every |= {field.replace("_", "-"): value for field, value in fields.items()}
    text = "".join(f"{field}: {value}\n" for field, value in every.items()).encode()
    content = {f"usr/share/doc/{name}/copyright": b"free\n"} if files is None else files
    return ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{suffix}": COMPRESS[suffix](
                tar({"control": text if control is None else control})
            ),
            f"data.tar{suffix}": COMPRESS[suffix](tar(content)),
        }
    )


def make_deb(
    folder: Path, name: str, version: str = "1", architecture: str = "all", **more: str
) -> Path:
    """Write a .deb into *folder*."""
    path = folder / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
    path.write_bytes(deb_bytes(name, version, architecture, **more))  # type: ignore[arg-type]
    return path


def status(*packages: tuple[str, str], **fields: str) -> bytes:
    """A dpkg database in which these packages (name, version) of architecture all are installed."""
    extra = "".join(f"{field.replace('_', '-')}: {value}\n" for field, value in fields.items())
    return "\n".join(
        f"Package: {name}\nStatus: install ok installed\nMaintainer: T <t@example.org>\n"
        f"Architecture: all\nVersion: {version}\n{extra}Description: test\n"
        for name, version in packages
    ).encode()


def make_repository(folder: Path, suite: str, architecture: str, *, valid_until: str = "") -> Path:
    """Index the .debs in *folder*/pool as component main of *suite*; its Release file, unsigned."""
    stanzas = []
    for path in sorted((folder / "pool").glob("*.deb")):
        control = subprocess.run(
            ["dpkg-deb", "-f", str(path)], capture_output=True, check=True, text=True
        ).stdout
        content = path.read_bytes()
        stanzas.append(
            f"{control}Filename: pool/{path.name}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
    index = f"main/binary-{architecture}/Packages"
    dist = folder / "dists" / suite
    (dist / index).parent.mkdir(parents=True, exist_ok=True)
    packages = "\n".join(stanzas).encode()
    (dist / index).write_bytes(packages)
    release = dist / "Release"
    release.write_text(
        f"Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 01 Jun 2024 00:00:00 UTC\n"
        + (f"Valid-Until: {valid_until}\n" if valid_until else "")
        + f"Architectures: {architecture}\nComponents: main\nSHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} {index}\n"
    )
    return release


class Gpg:
    """A throw-away key."""

    def __init__(self, home: Path) -> None:
        self._environment = {**os.environ, "GNUPGHOME": str(home)}
        self._run(
            *("--passphrase", "", "--quick-generate-key", "t@example.org"),
            *("ed25519", "sign", "never"),
        )

    def _run(self, *arguments: str) -> bytes:
        argv = ["gpg", "--batch", "--quiet", "--no-tty", *arguments]
        return subprocess.run(argv, env=self._environment, capture_output=True, check=True).stdout

    def public(self, *, armour: bool = False) -> bytes:
        """The public key."""
        return self._run(*(("--armor",) if armour else ()), "--export")

    def fingerprint(self) -> str:
        """The key's fingerprint."""
        listing = self._run("--with-colons", "--list-keys").decode()
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))

    def sign(self, release: Path) -> None:
        """Write InRelease beside *release*."""
        signed = self._run("--clearsign", "--output", "-", str(release))
        (release.parent / "InRelease").write_bytes(signed)

    def stop(self) -> None:
        """End the agent that gpg started."""
        subprocess.run(["gpgconf", "--kill", "all"], env=self._environment, check=False)


@contextlib.contextmanager
def gpg() -> Iterator[Gpg]:
    """A key in a folder of its own (with a short name: sockets lie in it)."""
    with tempfile.TemporaryDirectory(prefix="gpg-", ignore_cleanup_errors=True) as home:
        key = Gpg(Path(home))
        try:
            yield key
        finally:
            key.stop()
