"""Decompression of a stream, by what it holds and not by its name.

Every decoder yields pieces of bounded size whatever the input says, so that a
bomb costs time and spool but never memory.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, TypeAlias

import zstandard

from selfinstall.errors import InputError
from selfinstall.rootfs.facts import Compression
from selfinstall.rootfs.source import MAKE_AGAIN

#: How much compressed data a decoder gets, and how much it may give, at once.
INPUT = 256 << 10
OUTPUT = 1 << 20
#: What `zstd` itself decodes without --long; a larger window is that much memory.
ZSTD_WINDOW = 128 << 20
#: xz -9 needs 65 MiB.
XZ_MEMORY = 128 << 20

GZIP_MAGIC = b"\x1f\x8b\x08"
XZ_MAGIC = b"\xfd7zXZ\x00"
BZIP2_MAGIC = b"BZh"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: RFC 8878, 3.1.2: sixteen magic numbers of frames to skip.
ZSTD_SKIPPABLE = tuple(bytes((n, 0x2A, 0x4D, 0x18)) for n in range(0x50, 0x60))

_MAGICS: tuple[tuple[bytes, Compression], ...] = (
    (GZIP_MAGIC, "gzip"),
    (XZ_MAGIC, "xz"),
    (BZIP2_MAGIC, "bzip2"),
    (ZSTD_MAGIC, "zstd"),
    *((magic, "zstd") for magic in ZSTD_SKIPPABLE),
)
_FIRST = {"gzip": GZIP_MAGIC, "xz": XZ_MAGIC, "bzip2": BZIP2_MAGIC}


#: What decoders read from: short reads mean the end.
Buffered: TypeAlias = "io.BufferedReader[Any]"


class _Decoder(Protocol):
    """What :class:`bz2.BZ2Decompressor` and :class:`lzma.LZMADecompressor` share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decoder in the shape of the other two."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # A full piece may have more behind it, even when all input is used.
        self.needs_input = not self._zlib.unconsumed_tail and len(out) < max_length
        return out


_DECODERS: dict[Compression, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "xz": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
    "bzip2": bz2.BZ2Decompressor,
}


def detect(head: bytes) -> Compression:
    """What a stream that begins with *head* is packed with."""
    return next((name for magic, name in _MAGICS if head.startswith(magic)), "none")


def decompress(stream: Buffered, compression: Compression, name: str) -> Iterator[bytes]:
    """The decompressed content of *stream* in pieces of at most about a MiB.

    :param name: what messages call the stream.
    :raises InputError: the stream is damaged, ends early, has something else
        behind it, or needs more memory than is sensible.
    """
    if compression == "none":
        return iter(lambda: stream.read(OUTPUT), b"")
    if compression == "zstd":
        return _zstd(stream, name)
    return _streams(stream, compression, name)


def _truncated(compression: Compression, name: str) -> InputError:
    return InputError(f"{name} is truncated: its {compression} data ends early", MAKE_AGAIN)


def _damaged(compression: Compression, name: str, why: object) -> InputError:
    return InputError(f"{name} is damaged: bad {compression} data ({why})", MAKE_AGAIN)


def _streams(stream: Buffered, compression: Compression, name: str) -> Iterator[bytes]:
    """gzip members, xz streams or bzip2 streams, one after the other."""
    magic = _FIRST[compression]
    data = stream.read(INPUT)
    while data:
        if not data.startswith(magic):
            raise _damaged(compression, name, "something else follows it")
        data = yield from _one_stream(stream, data, compression, name)
        # Padding to the block size of a tape or of xz.
        data = (data or stream.read(INPUT)).lstrip(b"\0")
        while len(data) < len(magic) and (more := stream.read(INPUT)):
            data = (data + more).lstrip(b"\0")


def _one_stream(
    stream: Buffered, data: bytes, compression: Compression, name: str
) -> Generator[bytes, None, bytes]:
    """Yield one stream's content; return what was read beyond its end."""
    decoder = _DECODERS[compression]()
    while not decoder.eof:
        if decoder.needs_input and not data:
            data = stream.read(INPUT)
            if not data:
                raise _truncated(compression, name)
        try:
            out = decoder.decompress(data, OUTPUT)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise _damaged(compression, name, error) from error
        except lzma.LZMAError as error:
            if "emory usage limit" in str(error):
                raise InputError(
                    f"{name} needs more than {XZ_MEMORY >> 20} MiB of memory to unpack",
                    "pack it again with a smaller dictionary: xz -6",
                ) from error
            raise _damaged(compression, name, error) from error
        data = b""
        if out:
            yield out
    return decoder.unused_data


#: RFC 8878, 3.1.1.1.1: bytes of the fields that the descriptor's two-bit flags announce.
_DICTIONARY_ID = (0, 1, 2, 4)
_CONTENT_SIZE = (0, 2, 4, 8)
_MAXIMUM_BLOCK = 128 << 10
_RLE_BLOCK = 1


class _ZstdFrames:
    """zstd frames, cut at block bounds.

    The library can neither bound what one call gives nor tell a stream that
    ends inside a frame from one that ends behind it.  A block gives at most
    128 KiB and says where the next one begins.
    """

    def __init__(self, stream: Buffered, name: str) -> None:
        self._stream = stream
        self._name = name

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise _truncated("zstd", self._name)
        return data

    def frames(self) -> Iterator[Iterator[bytes]]:
        """Each frame that holds data, as an iterator that must be used up before the next."""
        while magic := self._stream.read(4):
            if magic == ZSTD_MAGIC:
                yield self._pieces(magic)
            elif magic in ZSTD_SKIPPABLE:
                self._skip(int.from_bytes(self._take(4), "little"))
            elif len(magic) < 4 and ZSTD_MAGIC.startswith(magic):
                raise _truncated("zstd", self._name)
            else:
                raise _damaged("zstd", self._name, "something else follows it")

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._take(min(size, INPUT)))

    def _pieces(self, magic: bytes) -> Iterator[bytes]:
        """The frame that begins with *magic* in pieces of at most OUTPUT bytes when decoded."""
        descriptor = self._take(1)
        flags = descriptor[0]
        single_segment = bool(flags & 0x20)
        rest = _DICTIONARY_ID[flags & 3] + _CONTENT_SIZE[flags >> 6]
        # A frame of one segment has no window descriptor, and at least a byte of content size.
        rest += (flags >> 6 == 0) if single_segment else 1
        pieces = [magic, descriptor, self._take(rest)]
        blocks = 0
        last = False
        while not last:
            head = self._take(3)
            number = int.from_bytes(head, "little")
            last = bool(number & 1)
            size = number >> 3
            if size > _MAXIMUM_BLOCK:
                raise _damaged("zstd", self._name, "a block is too large")
            pieces += [head, self._take(1 if number >> 1 & 3 == _RLE_BLOCK else size)]
            blocks += 1
            if blocks * _MAXIMUM_BLOCK >= OUTPUT:
                yield b"".join(pieces)
                pieces, blocks = [], 0
        if flags & 4:
            pieces.append(self._take(4))
        yield b"".join(pieces)


def _zstd(stream: Buffered, name: str) -> Iterator[bytes]:
    """zstd frames, one after the other."""
    context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    for frame in _ZstdFrames(stream, name).frames():
        decoder = context.decompressobj()
        for piece in frame:
            try:
                # The last piece can be empty: the one before it ended on the frame's bound.
                out = decoder.decompress(piece) if piece else b""
            except zstandard.ZstdError as error:
                if "too much memory" in str(error):
                    raise InputError(
                        f"{name} needs more than {ZSTD_WINDOW >> 20} MiB of memory to unpack",
                        "pack it again with a smaller window: zstd --long=27, or without --long",
                    ) from error
                raise _damaged("zstd", name, error) from error
            if out:
                yield out
        if not decoder.eof:
            raise _damaged("zstd", name, "a frame does not end where its blocks do")
