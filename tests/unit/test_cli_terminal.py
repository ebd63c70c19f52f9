"""The views: what people and machines see of a stream of events."""

from __future__ import annotations

import io
import re
import sys

import pytest

from selfinstall.cli import wording
from selfinstall.cli.terminal import terminal, view
from selfinstall.events import Event

BUILD = [
    Event("begin", "inspect"),
    Event("end", "inspect", seconds=0.51),
    Event("note", "guest", message="qemu -x"),
    Event("begin", "40-unpack"),
    Event("progress", "40-unpack", done=83_000_000, total=166_000_000, unit="bytes"),
    Event("progress", "40-unpack", done=166_000_000, total=166_000_000, unit="bytes"),
    Event("end", "40-unpack", seconds=5.12),
    Event("progress", "50-configure", done=12, total=57, unit="packages"),
    Event("warning", "plan", message="no \x1b[31mnetwork\nhere [bold]"),
    Event("end", "50-configure", seconds=162.4),
    Event("verdict", "guest", ok=True),
]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, **options: bool) -> tuple[str, str]:
    out = io.StringIO()
    with view(out, stream, **options) as on_event:
        for event in BUILD:
            on_event(event)
    return out.getvalue(), stream.getvalue()


def test_plain_lines() -> None:
    out, err = shown(io.StringIO())
    assert out == ""
    assert err.splitlines() == [
        "inspect: 0.5 s",
        "40-unpack: 166 MB, 5.1 s",
        "selfinstall: warning: no \\x1b[31mnetwork\\nhere [bold]",
        "50-configure: 12 of 57 packages, 2 min 42 s",
    ]


def test_verbose_lines_tell_notes_and_beginnings() -> None:
    _, err = shown(io.StringIO(), verbose=True)
    assert "guest: qemu -x\n40-unpack: begins\n" in err


def test_quiet_is_silent() -> None:
    assert shown(Tty(), quiet=True) == ("", "")


def test_json_is_on_standard_output_alone() -> None:
    out, err = shown(Tty(), json=True)
    assert out.splitlines() == [event.to_json() for event in BUILD]
    assert err == ""


@pytest.fixture
def vt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.usefixtures("vt")
def test_a_terminal_sees_titles_amounts_and_times() -> None:
    out, err = shown(Tty())
    text = without_escapes(err)
    assert out == ""
    assert re.search(r"read the tarball +0\.5 s$", text, re.MULTILINE)
    assert re.search(r"unpack the rootfs +166 MB, 5\.1 s$", text, re.MULTILINE)
    assert "\x1b[?25l" in err  # drawn by rich
    assert "warning: no \\x1b[31mnetwork\\nhere [bold]" in text
    assert "qemu -x" not in text
    assert "\x1b[?25h" in err.rpartition("\x1b[?25l")[2]  # the cursor is back


@pytest.mark.usefixtures("vt")
def test_a_bar_moves() -> None:
    stream = Tty()
    with terminal(stream, verbose=True) as on_event:
        on_event(BUILD[3])
        on_event(BUILD[4])
        on_event(BUILD[2])
        on_event(Event("note", "x", message="y"))
    text = without_escapes(stream.getvalue())
    assert "83.0 MB of 166 MB" in text
    assert "qemu -x" in text


@pytest.mark.usefixtures("vt")
def test_the_terminal_is_restored_after_an_error() -> None:
    stream = Tty()
    with pytest.raises(ValueError, match="x"), view(io.StringIO(), stream) as on_event:
        on_event(BUILD[0])
        raise ValueError("x")
    assert "\x1b[?25h" in stream.getvalue().rpartition("\x1b[?25l")[2]


@pytest.mark.usefixtures("vt")
def test_without_rich_lines_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    _, err = shown(Tty())
    assert err.startswith("inspect: 0.5 s\n")


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    _, err = shown(Tty())
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (166_000_000, "166 MB"),
        (3_000_000_000, "3.0 GB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert wording.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (5.12, "5.1 s"),
        (99.94, "99.9 s"),
        (99.96, "1 min 40 s"),
        (119.6, "2 min 00 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_titles() -> None:
    assert wording.title("verify-bios") == "boot test (bios)"
    assert wording.title("40-unpack") == "unpack the rootfs"
    assert wording.title("99-other") == "99-other"


def test_outcomes() -> None:
    steps = Event("progress", "x", done=3, total=3, unit="steps")
    assert wording.outcome(steps, Event("end", "x", seconds=1)) == "1.0 s"
    assert wording.outcome(None, Event("end", "x")) == "done"
    assert wording.amount(Event("progress", "x", done=5, unit="packages")) == "5 packages"
    assert wording.amount(Event("progress", "x")) == ""
