"""Inspection: one pass over a tarball, from its compressed bytes to facts."""

from __future__ import annotations

import io
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from selfinstall.errors import InputError
from selfinstall.events import Event, OnEvent, ignore
from selfinstall.rootfs import decompress, findings, headers
from selfinstall.rootfs.collect import Collection
from selfinstall.rootfs.facts import Compression, HeldDeb, RootfsFacts
from selfinstall.rootfs.layer import index_tar
from selfinstall.rootfs.lookalike import HEAD, looks_like
from selfinstall.rootfs.members import Members
from selfinstall.rootfs.readers import ChunkReader
from selfinstall.rootfs.source import BUFFER, MAKE_AGAIN, STEP, Source, open_source
from selfinstall.rootfs.spool import Write, spooling
from selfinstall.rootfs.tree import Entry

__all__ = ["Inspection", "index_tar", "inspect"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What inspection found.

    :param facts: about the tarball.
    :param dpkg_status: its ``/var/lib/dpkg/status`` as it is.
    :param layer: what an initramfs could need of it, for
        :class:`selfinstall.rootfs.tree.Tree`; empty without spool.
    :param acl_attributes: where ``facts.acl_texts``, the names of those members whose access
        control lists are extended attributes nevertheless.
    """

    facts: RootfsFacts
    dpkg_status: bytes
    layer: dict[str, Entry]
    acl_attributes: tuple[str, ...] = ()


def inspect(
    source: Path,
    *,
    spool: Path | None = None,
    stdin: BinaryIO | None = None,
    on_event: OnEvent = ignore,
) -> Inspection:
    """Read a rootfs tarball once, from begin to end.

    :param source: the tarball, or :data:`selfinstall.request.STDIN`; plain or packed
        with gzip, xz, zstd or bzip2, whatever its name.
    :param spool: a file to write the decompressed archive to; deleted again on errors.
    :param stdin: what to read when *source* says so; None for the process's own.
    :param on_event: hears ``begin``, ``progress`` (compressed bytes), ``warning`` and
        ``end`` of the step ``inspect``.
    :raises InputError: the tarball is missing, unreadable, truncated, damaged, unsafe,
        contradictory or no Debian system.
    :raises HostError: the spool cannot be written.
    """
    with open_source(source, stdin, on_event) as raw:
        return _inspected(raw, str(source), spool, on_event)


def inspect_made(
    stream: io.RawIOBase,
    name: str,
    held: tuple[HeldDeb, ...],
    *,
    spool: Path | None,
    on_event: OnEvent,
) -> Inspection:
    """The same for a first stage that is made while it is read.

    :param stream: the tar stream.
    :param name: what the facts call it.
    :param held: the packages whose files it holds, to be installed by the second stage.
    """
    raw = Source(stream, name, None, on_event)
    return _inspected(raw, name, spool, on_event, held)


def _inspected(
    raw: Source, name: str, spool: Path | None, on_event: OnEvent, held: tuple[HeldDeb, ...] = ()
) -> Inspection:
    started = time.monotonic()
    on_event(Event("begin", STEP, total=raw.total, unit="bytes"))
    with spooling(spool) as write:
        inspection = _inspect(raw, name, spool, write, on_event, held)
    raw.report()
    on_event(Event("end", STEP, seconds=time.monotonic() - started))
    return inspection


def _inspect(
    raw: Source,
    name: str,
    spool: Path | None,
    write: Write,
    on_event: OnEvent,
    held: tuple[HeldDeb, ...],
) -> Inspection:
    stream = io.BufferedReader(raw, BUFFER)
    head = stream.peek(HEAD)
    if not head:
        raise InputError(f"{raw.name} is empty", "did the command that makes it fail?")
    compression = decompress.detect(head)
    reader = ChunkReader(decompress.decompress(stream, compression, raw.name), write)
    found = Collection(raw.name, spool, held)
    _check_begin(reader, raw.name)
    for member in Members(reader, raw.name):
        found.add(member, reader)
    ignored = sum(len(piece) for piece in reader.rest() if piece.strip(b"\0"))
    if ignored:
        on_event(Event("warning", STEP, message=_IGNORED))
    if found.acl_texts and found.acls_left_out:
        found.warnings.append(f"{found.acls_left_out} members lose their access control lists")
    if found.root_mode & 0o005 != 0o005:
        # As after debootstrap into a folder of mktemp's: the network's services, for one, fail.
        found.warnings.append(
            f"only root can enter the root folder (mode {found.root_mode:04o}), so services of "
            "other users will fail; chmod 755 the folder that was packed, and pack it again"
        )
    for warning in found.warnings:
        on_event(Event("warning", STEP, message=warning))
    return _conclude(raw, name, found, compression, reader.position)


_IGNORED = (
    "there is more behind the archive's end marker, which tar ignores "
    "(tarballs cannot be joined by cat)"
)


def _check_begin(reader: ChunkReader, name: str) -> None:
    """:raises InputError: this is something else than an archive with members."""
    head = reader.peek(HEAD)
    block = head[: headers.BLOCK]
    if len(block) == headers.BLOCK and headers.checksum_fits(block):
        return
    what = looks_like(head)
    if what is not None:
        packed = what.startswith("packed")
        hint = (
            "pack it as .tar.zst, .tar.xz, .tar.gz, .tar.bz2 or not at all"
            if packed
            else "give it a tarball of a root file system, as mmdebstrap makes it"
        )
        raise InputError(f"{name} is {what}, not a tarball that can be read", hint)
    if not head.strip(b"\0"):
        raise InputError(f"{name} is an archive without members", MAKE_AGAIN)
    if len(block) < headers.BLOCK:
        raise InputError(f"{name} is truncated: {len(head)} bytes are no tarball", MAKE_AGAIN)
    raise InputError(f"{name} is not a tarball, or its first header is damaged", MAKE_AGAIN)


def _conclude(
    raw: Source, name: str, found: Collection, compression: Compression, tar_bytes: int
) -> Inspection:
    status, database, held = findings.database(found, raw.name)
    architecture = database.architecture or ""
    findings.check_programs(found, architecture, raw.name)
    release = findings.os_release(found)
    sources = findings.sources(found)
    apt_sources = findings.parsed_sources(sources)
    facts = RootfsFacts(
        name=name,
        sha256=raw.sha256,
        compression=compression,
        compressed_bytes=raw.count,
        tar_bytes=tar_bytes,
        content_bytes=found.content_bytes,
        members=found.members,
        architecture=architecture,
        distribution=release.get("ID", "linux"),
        suite=findings.suite(found, release, apt_sources),
        pretty_name=release.get("PRETTY_NAME", "Linux"),
        init=findings.init_system(found, frozenset(database.packages), held=bool(held)),
        merged_usr=(found.link("bin") or "").strip("/") == "usr/bin",
        hostname=findings.first_line(found.text("etc/hostname")),
        kernels=findings.kernels(found, database.architectures),
        packages=database.packages,
        unconfigured=database.unconfigured,
        sources=sources,
        keyrings=findings.keyrings(found, apt_sources),
        machine_id=bool(re.fullmatch("[0-9a-f]{32}", (found.text("etc/machine-id") or "").strip())),
        acl_texts=found.acl_texts,
        held=held,
    )
    again = tuple(found.acl_attributes) if found.acl_texts else ()
    return Inspection(facts, status, found.layer(tar_bytes), again)
