"""Where archives are read from: a stream of pieces, or a part of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol


class Reader(Protocol):
    """Bytes in order.  *position* counts those that were read or skipped, from any origin."""

    position: int

    def read(self, size: int) -> bytes:
        """The next *size* bytes, fewer at the end."""

    def skip(self, size: int) -> int:
        """Pass *size* bytes; return how many there were."""


class ChunkReader:
    """A :class:`Reader` over pieces of a stream; *sink* gets every piece before it is read."""

    def __init__(self, chunks: Iterator[bytes], sink: Callable[[bytes], None]) -> None:
        self._chunks = chunks
        self._sink = sink
        self._chunk = b""
        self._used = 0
        self.position = 0

    def _next(self) -> bool:
        chunk = next(self._chunks, b"")
        if chunk:
            self._sink(chunk)
        self._chunk, self._used = chunk, 0
        return bool(chunk)

    def peek(self, size: int) -> bytes:
        """Up to *size* bytes that stay to be read."""
        while len(self._chunk) - self._used < size and (chunk := next(self._chunks, b"")):
            self._sink(chunk)
            self._chunk, self._used = self._chunk[self._used :] + chunk, 0
        return self._chunk[self._used : self._used + size]

    def read(self, size: int) -> bytes:
        used = self._used
        if len(self._chunk) - used >= size:
            self._used = used + size
            self.position += size
            return self._chunk[used : self._used]
        parts = []
        while size:
            part = self._chunk[self._used : self._used + size]
            self._used += len(part)
            size -= len(part)
            self.position += len(part)
            parts.append(part)
            if size and not self._next():
                break
        return b"".join(parts)

    def skip(self, size: int) -> int:
        left = size
        while left > len(self._chunk) - self._used:
            left -= len(self._chunk) - self._used
            if not self._next():
                self.position += size - left
                return size - left
        self._used += left
        self.position += size
        return size

    def rest(self) -> Iterator[bytes]:
        """What is left, in pieces."""
        while self._used < len(self._chunk) or self._next():
            piece = self._chunk[self._used :]
            self._used = len(self._chunk)
            self.position += len(piece)
            yield piece


class RegionReader:
    """A :class:`Reader` over *size* bytes of a file from *offset* on; position is the file's."""

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        self._stream = stream
        self._end = offset + size
        self.position = offset
        stream.seek(offset)

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._end - self.position))
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        size = min(size, self._end - self.position)
        self._stream.seek(size, 1)
        self.position += size
        return size
