"""What comes out of a guest or of qemu is turned into facts, whatever it is."""

from __future__ import annotations

import json

import pytest

from selfinstall.events import Event
from selfinstall.qemu import messages
from selfinstall.qemu.console import TAIL, Console
from selfinstall.qemu.login import dead_end, is_up, shows_life
from selfinstall.qemu.messages import Decoder, TooManyMessages
from selfinstall.qemu.qmp import POLL, Qmp


def decode(*lines: bytes) -> list[Event]:
    return list(Decoder().feed(b"\n".join((*lines, b""))))


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"event":"begin","hook":"40-unpack"}', Event("begin", "40-unpack")),
        (
            b'{"event":"progress","hook":"40-unpack","done":1,"total":2,"unit":"bytes"}',
            Event("progress", "40-unpack", 1, 2, "bytes"),
        ),
        (b'{"event":"end","hook":"a","seconds":1.5}', Event("end", "a", seconds=1.5)),
        (b'{"event":"end","hook":"a","seconds":"x"}', Event("end", "a")),
        (b'{"event":"note","message":"hi"}', Event("note", "guest", message="hi")),
        (
            b'{"event":"warning","hook":"a","message":"x","more":[]}',
            Event("warning", "a", message="x"),
        ),
        (b'{"event":"verdict","ok":true}', Event("verdict", "guest", ok=True)),
        (
            b'{"event":"verdict","ok":false,"hook":"50-c","message":"exit status 1"}',
            Event("verdict", "50-c", ok=False, message="exit status 1"),
        ),
    ],
)
def test_message(line: bytes, event: Event) -> None:
    assert decode(line) == [event]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"\xff\xfe\x00",
        b"[1,2]",
        b'"verdict"',
        b'{"event":"verdict","ok":1}',
        b'{"event":"verdict","ok":"true"}',
        b'{"event":"verdict"}',
        b'{"event":"explode","hook":"a"}',
        b'{"event":["begin"],"hook":"a"}',
        b'{"event":"begin"}',
        b'{"event":"begin","hook":"../../etc"}',
        b'{"event":"begin","hook":"a\\u001b[2J"}',
        b'{"event":"progress","hook":"a","done":-1}',
        b'{"event":"progress","hook":"a","done":true}',
        b'{"event":"progress","hook":"a","done":1e400}',
        b'{"event":"note","message":"\\u0000"}',
        b"[" * 4000,
        b"x" * 5000,
        b"9" * 4096,
    ],
)
def test_nonsense_becomes_a_note(line: bytes) -> None:
    good = b'{"event":"begin","hook":"b"}'
    first, second = decode(line, good)
    assert (first.event, first.step) == ("note", "guest")
    assert second == Event("begin", "b")


def test_message_in_pieces() -> None:
    decoder = Decoder()
    line = b'{"event":"begin","hook":"b"}\n'
    assert [list(decoder.feed(line[n : n + 1])) for n in range(len(line) - 1)] == [[]] * 28
    assert list(decoder.feed(b"\n")) == [Event("begin", "b")]


def test_endless_line_is_not_kept() -> None:
    decoder = Decoder()
    found = [event for _ in range(50) for event in decoder.feed(b"x" * 3000)]
    found += decoder.feed(b'{"event":"begin","hook":"lost"}\n{"event":"begin","hook":"b"}\n')
    assert [event.event for event in found] == ["note", "begin"]
    assert found[1].step == "b"


def test_complaints_are_bounded() -> None:
    assert len(decode(*[b"x"] * 1000)) == messages.MOST_COMPLAINTS


def test_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST_MESSAGES", 3)
    with pytest.raises(TooManyMessages):
        decode(*[b'{"event":"begin","hook":"b"}'] * 4)


def test_text_loses_what_steers_a_terminal() -> None:
    text = "a\x1b[31mb\r\nc\u202ed\x9be\ud800"
    line = json.dumps({"event": "note", "message": text}).encode()
    assert decode(line)[0].message == "a [31mb c d e"


def test_console_lines() -> None:
    console = Console()
    assert console.feed(b"a\r\nb\x1b[1;31mc\x1b[0m\r\n\r\ndebian lo") == ["a", "bc"]
    assert console.partial == "debian lo"
    assert console.feed(b"gin: ") == []
    assert console.partial == "debian login: "


def test_console_escape_in_pieces() -> None:
    console = Console()
    console.feed(b"\x1b[2J\x1b[1;1")
    console.feed(b"Hgrub> ")
    assert console.partial == "grub> "


def test_console_last_words() -> None:
    console = Console()
    console.feed(b"x" * TAIL)
    console.feed(b"\nzero\n" + b"\x1b]0;title\x07one\xff\x00\r\n\r\n  \r\ntwo")
    assert console.last_words(3) == ("zero", "one\ufffd", "two")
    assert len(console.last_words(99)) == 4


def test_console_without_newlines_is_bounded() -> None:
    console = Console()
    lines = [line for _ in range(20) for line in console.feed(b"y" * 10_000)]
    assert max(map(len, lines)) <= 4096
    assert len(console.partial) <= 4096


def test_console_tells_news_from_repetition() -> None:
    console = Console()
    console.feed(b"[   1.0] one\n")
    before = console.novel
    for second in range(500):
        console.feed(
            b"[%5d.1] watchdog: BUG: soft lockup - CPU#0 stuck for %ds!\r\n" % (second, second)
        )
        console.feed(
            b"\r[%s] A start job is running for x (%ds / no limit)" % (b"*" * (second % 5), second)
        )
    assert console.novel - before < 8
    before = console.novel
    console.feed(b"\r\nsomething else\n")
    assert console.novel > before


@pytest.mark.parametrize(
    "line",
    ["debian login: ", "debian login:", "a-b.c login: [   12.345678] random: crng init done"],
)
def test_is_up(line: str) -> None:
    assert is_up(line)


@pytest.mark.parametrize(
    "line", ["Last login: ", "debian login: root", "login: ", "the login: is late", "login"]
)
def test_is_not_up(line: str) -> None:
    assert not is_up(line)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("[ 1.2] Kernel panic - not syncing: Attempted to kill init!", "panicked"),
        (
            "[ 1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on x",
            "root file system",
        ),
        ("You are in emergency mode. After logging in, type", "emergency"),
        ("Press Enter for maintenance", "emergency"),
        ("(initramfs) ", "initramfs"),
        ("dracut:/# ", "initramfs"),
        ("grub> ", "GRUB"),
        ("grub rescue> ", "GRUB"),
        ("UEFI Interactive Shell v2.2", "UEFI"),
        ("Shell> ", "UEFI"),
        ("No bootable device.", "firmware"),
        ("BdsDxe: No bootable option or device was found.", "firmware"),
    ],
)
def test_dead_end(line: str, word: str) -> None:
    assert word in (dead_end(line) or "")


@pytest.mark.parametrize(
    "line",
    [
        "Welcome to GRUB!",
        "BdsDxe: failed to load Boot0001 from PciRoot(0x0): Not Found",
        "Booting from Hard Disk...",
        "[    0.1] Run /init as init process",
    ],
)
def test_neither_dead_nor_user_space(line: str) -> None:
    assert dead_end(line) is None
    assert not shows_life(line)


def test_user_space() -> None:
    assert shows_life("[  OK  ] Reached target paths.target - Path Units.")
    assert shows_life("Begin: Loading essential drivers ... done.")


def qmp(*messages: object) -> tuple[Qmp, bytes]:
    client = Qmp()
    reply = client.feed(b"".join(json.dumps(m).encode() + b"\r\n" for m in messages))
    return client, reply


def test_qmp_greeting_is_answered() -> None:
    client, reply = qmp({"QMP": {"version": {}, "capabilities": ["oob"]}})
    assert json.loads(reply)["execute"] == "qmp_capabilities"
    assert not client.ready
    client.feed(b'{"return": {}, "id": "capabil')
    client.feed(b'ities"}\r\n')
    assert client.ready


def test_qmp_answers() -> None:
    disks = [{"stats": {"rd_operations": 3, "wr_operations": 4}}, {"stats": {"rd_operations": 1}}]
    client, _ = qmp(
        {"return": {"status": "running"}, "id": "status"}, {"return": disks, "id": "disks"}
    )
    assert (client.status, client.operations) == ("running", 8)


def test_qmp_events() -> None:
    client, reply = qmp(
        {"event": "BLOCK_IO_ERROR", "data": {"nospace": True}},
        {"event": "STOP"},
        {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}},
    )
    assert (client.no_space, client.shutdown) == (True, "guest-reset")
    assert reply == POLL


def test_qmp_nonsense() -> None:
    client, reply = qmp([], 1, {"return": 1, "id": "disks"}, {"event": [1], "data": 2})
    client.feed(b"\xff{\n" + b"x" * 100)
    assert (reply, client.operations) == (b"", None)
