"""Finished images: until they are up, and on a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pty
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from qemu_helpers import AMD64, FakeQemu

from selfinstall.arch import DIRECT, Firmware, FirmwareFiles
from selfinstall.errors import BootFailed, HostError
from selfinstall.events import Event, ignore
from selfinstall.image.export import Exported
from selfinstall.qemu import accel, boot, firmware, login, terminal
from selfinstall.qemu.boot import Boot
from selfinstall.qemu.login import BootReport, boot_until_up
from selfinstall.qemu.terminal import Keys, boot_interactive

UP = 'console("[  OK  ] Reached x\\r\\n\\r\\nDebian 13 debian ttyS0\\r\\n\\r\\ndebian login: ")\n'


@pytest.fixture(autouse=True)
def no_qemu_img(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Overlays without qemu-img; returns the list of those that were made."""
    made: list[Path] = []

    @contextlib.contextmanager
    def overlay(image: Path, format: str, folder: Path) -> Iterator[Path]:
        made.append(folder / "overlay.qcow2")
        yield made[-1]

    monkeypatch.setattr(boot, "overlay", overlay)
    return made


def image(fake: FakeQemu, tmp_path: Path) -> Boot:
    return Boot(
        arch=AMD64,
        emulator=fake.emulator,
        image=tmp_path / "a.img",
        format="raw",
        firmware=AMD64.firmware("bios"),
        scratch=tmp_path,
    )


def up(
    tmp_path: Path,
    body: str,
    wanted: str = "tcg",
    stall: float | None = None,
    smp: int = 1,
    fallback: bool = False,
) -> tuple[BootReport, list[Event], FakeQemu]:
    fake = FakeQemu(tmp_path, body)
    events: list[Event] = []
    try:
        report = boot_until_up(
            dataclasses.replace(image(fake, tmp_path), smp=smp),
            wanted=wanted,
            stall=stall,
            log=tmp_path / "log",
            cache=tmp_path / "cache",
            step="verify-bios",
            on_event=events.append,
            fallback=fallback,
        )
    finally:
        assert fake.running() == []
        assert not list(tmp_path.glob("selfinstall-boot-*"))
    return report, events, fake


def test_up(tmp_path: Path) -> None:
    report, events, _ = up(tmp_path, UP + "for_ever()")
    assert (report.accel, report.console[-1]) == ("tcg", "debian login:")
    assert [(event.event, event.step) for event in events] == [
        ("begin", "verify-bios"),
        ("end", "verify-bios"),
    ]
    assert b"debian login: " in (tmp_path / "log").read_bytes()


def test_up_when_qemu_does_not_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "FAREWELL", 0.1)
    up(tmp_path, "serve = None; control.close()\n" + UP + "for_ever()")


#: What was typed within half a second.
HEARD = """
serial.settimeout(0.5)
try:
    heard = serial.recv(100)
    heard += serial.recv(100)
except TimeoutError:
    ...
"""
MENU = "The highlighted entry will be executed automatically in {}s."


def test_the_menu_is_not_waited_for(tmp_path: Path) -> None:
    """One Enter, though the countdown goes on to be drawn, and on two terminals at that."""
    count = "".join(f"\\x1b[20;4H   {MENU.format(n)}   " for n in (5, 5, 4))
    body = f"heard = b''\nconsole('GNU GRUB  version 2.12{count}'){HEARD}"
    up(tmp_path, f"{body}assert heard == b'\\r', heard\n{UP}for_ever()")


@pytest.mark.parametrize(
    "line",
    ["Hit any key to stop autoboot:  2 ", "Press enter to boot the selected OS", "Booting `x'"],
)
def test_no_key_is_pressed_elsewhere(tmp_path: Path, line: str) -> None:
    body = f"heard = b''\nconsole({line!r}){HEARD}"
    up(tmp_path, f"{body}assert heard == b'', heard\n{UP}for_ever()")


def test_where_the_cursor_is(tmp_path: Path) -> None:
    """Each question gets an answer, wherever reading has cut it."""
    body = "heard = b''\nfor part in '\\x1b[?7h\\x1b[6n\\x1b[99;99H\\x1b', '[', '6n':"
    body += f"\n    console(part)\n    time.sleep(0.1){HEARD}"
    up(tmp_path, f"import time\n{body}assert heard == 2 * b'\\x1b[24;80R', heard\n{UP}for_ever()")


#: Comes up with one CPU alone.
ALONE = f"""
if sys.argv[sys.argv.index("-smp") + 1] == "1":
    {UP.strip()}
else:
    %s
for_ever()
"""
PANICS = 'console("Kernel panic - not syncing: Fatal exception in interrupt\\r\\n")'


@pytest.mark.parametrize(
    "how",
    [
        PANICS,
        'tell(event="SHUTDOWN", data={"reason": "guest-reset"}); done()',
        'console("(initramfs) ")',
        'console("[    0.000000] Linux version 6.12\\r\\n")',
    ],
)
def test_one_cpu_where_several_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(login, "_PATIENCE", 1.0)
    _, events, _ = up(tmp_path, ALONE % how, smp=2, fallback=True)
    begin, warning, end = events
    assert (begin.event, warning.event, end.event) == ("begin", "warning", "end")
    words = "emulated with 2 CPUs, the image does not boot under SeaBIOS"
    assert words in warning.message and "once more with one" in warning.message
    assert (tmp_path / "log").read_text().count("-smp") == 2


def test_one_cpu_is_not_tried_where_they_do_not_matter(tmp_path: Path) -> None:
    """There was no kernel; or the user wants to see what his number of CPUs does."""
    with pytest.raises(BootFailed, match="found no boot loader"):
        up(tmp_path, ALONE % 'console("No bootable device.\\r\\n")', smp=2, fallback=True)
    with pytest.raises(BootFailed, match="panicked"):
        up(tmp_path, ALONE % PANICS, smp=2)


def test_an_image_that_fails_with_one_cpu_too(tmp_path: Path) -> None:
    with pytest.raises(BootFailed, match="initramfs"):
        up(tmp_path, 'console("(initramfs) "); for_ever()', smp=2, fallback=True)
    assert (tmp_path / "log").read_text().count("-smp") == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            'console("x\\r\\nNo bootable device.\\r\\n"); for_ever()',
            "SeaBIOS: the firmware found no",
        ),
        ('console("\\x1b[1;1Hgrub> "); for_ever()', "GRUB"),
        ('console("Kernel panic - not syncing: x\\r\\n"); for_ever()', "panicked"),
        ('console("(initramfs) "); for_ever()', "initramfs"),
        ('console("Debian\\r\\n"); done()', "it ended before a login prompt"),
        (
            'tell(event="SHUTDOWN", data={"reason": "guest-reset"}); done()',
            "it restarted before a login prompt",
        ),
    ],
)
def test_does_not_boot(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(BootFailed, match=words) as caught:
        up(tmp_path, body)
    assert (caught.value.exit_status, caught.value.log) == (7, tmp_path / "log")


@pytest.mark.parametrize(
    ("user", "qemu"),
    [(None, "glibc.malloc.hugetlb=1"), ("a.b=2", "glibc.malloc.hugetlb=1:a.b=2")],
)
def test_qemu_allocates_huge_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str | None, qemu: str
) -> None:
    """What the user sets himself comes behind, where it prevails."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if user is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", user)
    up(tmp_path, f"assert os.environ['GLIBC_TUNABLES'] == {qemu!r}\n{UP}for_ever()")


def test_hangs(tmp_path: Path) -> None:
    with pytest.raises(BootFailed, match=r"nothing moved for 1 s before a login prompt") as caught:
        up(tmp_path, 'console("Booting\\r\\n"); for_ever()', stall=1.0)
    assert caught.value.last_words == ("Booting",)
    assert "--stall" in (caught.value.hint or "")


def test_qemu_fails(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such thing"):
        up(tmp_path, 'print("qemu-system-x: no such thing", file=sys.stderr); done(1)')


@pytest.mark.parametrize("how", ["for_ever()", 'console("Welcome to GRUB!"); for_ever()'])
def test_fallback_has_an_overlay_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_qemu_img: list[Path], how: str
) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda arch: None)
    monkeypatch.setattr(login, "TRIAL", 0.3)
    report, events, fake = up(tmp_path, f"if kvm: {how}\n{UP}for_ever()", wanted="auto")
    assert report.accel == "tcg"
    assert fake.starts == ["kvm", "tcg"]
    assert len(set(no_qemu_img)) == 2
    assert events[1].event == "warning"
    assert up(tmp_path, UP + "for_ever()", wanted="auto")[2].starts[2:] == ["tcg"]


def test_user_space_ends_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda arch: None)
    monkeypatch.setattr(login, "TRIAL", 0.3)
    body = 'console("[  OK  ] Started x\\r\\n"); time.sleep(0.6)\n' + UP + "for_ever()"
    report, _, fake = up(tmp_path, body, wanted="auto")
    assert (report.accel, fake.starts) == ("kvm", ["kvm"])


def test_an_unbootable_image_does_not_convict_kvm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda arch: None)
    fake_starts = ["kvm", "tcg"]
    with pytest.raises(BootFailed, match="panicked"):
        up(tmp_path, 'console("Kernel panic - not syncing: x\\r\\n"); for_ever()', wanted="auto")
    assert (tmp_path / "starts").read_text().split()[1::2] == fake_starts
    assert not (tmp_path / "cache").exists()


def test_firmware_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, template = tmp_path / "code", tmp_path / "vars"
    firm = Firmware(
        name="efi",
        title="OVMF",
        package="ovmf",
        files=(
            FirmwareFiles(code="/nonexistent", vars=str(template)),
            FirmwareFiles(code=str(code), vars=str(template)),
        ),
    )
    with pytest.raises(HostError, match="OVMF") as caught, firmware.private(firm, tmp_path):
        pass
    assert caught.value.hint == "sudo apt install ovmf"
    code.touch()
    template.write_bytes(b"fresh")
    template.chmod(0o444)
    with firmware.private(firm, tmp_path) as files:
        assert files is not None
        assert files.code == str(code)
        assert files.vars is not None
        Path(files.vars).write_bytes(b"used")
    assert template.read_bytes() == b"fresh"
    assert not Path(files.vars).exists()


def test_firmware_that_qemu_brings(tmp_path: Path) -> None:
    with firmware.private(AMD64.firmware("bios"), tmp_path) as files:
        assert files is None


# --- terminal ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "sent", "quits"),
    [
        ([b"ls\r"], b"ls\r", False),
        ([b"\x03\x1a\x1c"], b"\x03\x1a\x1c", False),
        ([b"a\x01", b"xb"], b"a", True),
        ([b"\x01\x01\x01Xrest"], b"\x01", True),
        ([b"\x01qz"], b"z", False),
        ([b"\xc3\xbc\x00\xff"], b"\xc3\xbc\x00\xff", False),
    ],
)
def test_keys(typed: list[bytes], sent: bytes, quits: bool) -> None:
    keys = Keys()
    assert b"".join(map(keys.feed, typed)) == sent
    assert keys.quit is quits


ECHO = """
console("ready\\r\\n")
while data := serial.recv(100):
    serial.sendall(data.upper())
    if b"q" in data:
        done()
"""


def interactive(fake: FakeQemu, tmp_path: Path, stdin: int, stdout: int) -> None:
    boot_interactive(
        image(fake, tmp_path),
        wanted="tcg",
        cache=tmp_path,
        on_event=ignore,
        stdin=stdin,
        stdout=stdout,
    )
    assert fake.running() == []


def read_until(fd: int, end: bytes) -> bytes:
    said = b""
    while not said.endswith(end):
        said += os.read(fd, 100)
    return said


@pytest.mark.parametrize("last", [b"\x01x", b"q"], ids=["user", "guest"])
def test_terminal_is_as_before(tmp_path: Path, last: bytes) -> None:
    user, tty = pty.openpty()
    before = termios.tcgetattr(tty)
    fake = FakeQemu(tmp_path, ECHO)
    during: list[bool] = []

    def type_away() -> None:
        read_until(user, b"ready\r\n")
        during.append(termios.tcgetattr(tty) != before)
        os.write(user, b"\x03abc")
        read_until(user, b"\x03ABC")
        os.write(user, last)

    typist = threading.Thread(target=type_away)
    typist.start()
    interactive(fake, tmp_path, tty, tty)
    typist.join(5)
    assert not typist.is_alive()
    assert during == [True]
    assert termios.tcgetattr(tty) == before
    os.close(user)
    os.close(tty)


def test_terminal_is_as_before_when_qemu_fails(tmp_path: Path) -> None:
    user, tty = pty.openpty()
    before = termios.tcgetattr(tty)
    with pytest.raises(HostError):
        interactive(FakeQemu(tmp_path, "done(1)"), tmp_path, tty, tty)
    assert termios.tcgetattr(tty) == before
    os.close(user)
    os.close(tty)


def test_standard_input_is_a_file(tmp_path: Path) -> None:
    script, output = tmp_path / "in", tmp_path / "out"
    script.write_bytes(b"x" * 300_000 + b"q")
    with script.open("rb") as stdin, output.open("wb") as stdout:
        interactive(FakeQemu(tmp_path, ECHO), tmp_path, stdin.fileno(), stdout.fileno())
    assert output.read_bytes().replace(b"ready\r\n", b"") == b"X" * 300_000 + b"Q"


def test_standard_input_ends_at_once(tmp_path: Path) -> None:
    body = 'time.sleep(0.2); console("bye\\r\\n"); done()'
    with Path("/dev/null").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        interactive(FakeQemu(tmp_path, body), tmp_path, stdin.fileno(), stdout.fileno())
    assert (tmp_path / "out").read_bytes() == b"bye\r\n"


def test_nobody_reads_the_console(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/null").open("rb") as stdin:
        interactive(FakeQemu(tmp_path, ECHO), tmp_path, stdin.fileno(), writer)
    os.close(writer)


def test_a_writing_boot_opens_the_image_itself(tmp_path: Path) -> None:
    made = dataclasses.replace(image(FakeQemu(tmp_path, ""), tmp_path), write=True)
    with boot.machine(made, "tcg") as machine:
        (drive,) = machine.drives
    assert (drive.path, drive.format, drive.cache) == (tmp_path / "a.img", "raw", "writeback")


def test_keys_are_told() -> None:
    assert "Ctrl-a x" in terminal.HOW_TO_QUIT


def test_a_kernel_beside_the_image_is_what_qemu_starts(tmp_path: Path) -> None:
    fake = FakeQemu(tmp_path, UP)
    lies = Exported(kernel=tmp_path / "k", initrd=tmp_path / "i", arguments="ro")
    direct = dataclasses.replace(image(fake, tmp_path), firmware=DIRECT, direct=lies)
    with boot.machine(direct, "tcg") as made:
        assert (made.kernel, made.firmware) == (tmp_path / "k", None)
        # On a PC qemu's own loader for kernels has the index 0, and no two may have the same.
        assert [drive.bootindex for drive in made.drives] == [None]
    code = tmp_path / "code.fd"
    code.touch()
    firm = Firmware(name="own", title="Own", files=(FirmwareFiles(code=str(code)),))
    qemu = dataclasses.replace(AMD64.qemu, installer_firmware="own")
    arch = dataclasses.replace(AMD64, qemu=qemu, firmwares=(firm,))
    with boot.machine(dataclasses.replace(direct, arch=arch), "tcg") as made:
        assert made.firmware == firm.files[0]
