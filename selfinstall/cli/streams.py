"""Writing to standard output and standard error, whatever the text holds and whoever reads."""

from __future__ import annotations

from typing import TextIO


class OutputClosed(Exception):
    """Who read the output is gone (``selfinstall … | head``)."""


def printable(text: str) -> str:
    """*text* in one line that cannot steer a terminal: control characters and the like escaped.

    Guests, tarballs and file names are not trusted with the user's terminal.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def put(stream: TextIO | None, text: str) -> None:
    """Write *text* and a newline to *stream*, at once.

    :param stream: None, as Python has it for a stream that was closed from the start,
        takes everything and keeps nothing.
    :raises OutputClosed: when nobody reads any more.
    """
    if stream is None:
        return
    try:
        try:
            stream.write(text + "\n")
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode() + "\n")
        stream.flush()
    except BrokenPipeError:
        raise OutputClosed from None
