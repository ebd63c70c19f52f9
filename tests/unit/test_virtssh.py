"""The setup script for autopkgtest-virt-ssh: its commands, and the keeper between them."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from qemu_helpers import AMD64, FakeQemu

from selfinstall.errors import BootFailed, GuestHung, HostError, InputError, UsageError
from selfinstall.qemu.boot import Boot
from selfinstall.virtssh import __main__ as program
from selfinstall.virtssh import commands, control, keeper, probe, state
from selfinstall.virtssh.commands import Options
from selfinstall.virtssh.keeper import Job
from selfinstall.virtssh.state import State

UP = 'console("debian login: "); answer_ssh()\n'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(keeper, "STEP", 0.05)
    monkeypatch.setattr(probe, "RETRY", 0.05)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.img"
    path.write_bytes(bytes(1 << 20))
    return path


class Kept:
    """A keeper in a thread."""

    def __init__(self, tmp_path: Path, image: Path, body: str, stall: float | None = None) -> None:
        self.fake = FakeQemu(tmp_path, body)
        self.state = state.make()
        boot = Boot(
            arch=AMD64,
            emulator=self.fake.emulator,
            image=image,
            format="raw",
            firmware=AMD64.firmware("bios"),
        )
        job = Job(boot=boot, wanted="tcg", stall=stall, cache=None)
        self._error: Exception | None = None
        listener = control.listen(self.state.control)

        def work() -> None:
            with listener:
                try:
                    keeper.keep(job, listener, self.state.console)
                except Exception as error:  # noqa: BLE001  # looked at by end()
                    self._error = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def send(self, command: control.Command) -> int | None:
        return control.send(self.state.control, command)

    def end(self) -> Exception | None:
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert self.fake.running() == []
        return self._error


def kept(tmp_path: Path, image: Path, body: str, stall: float | None = None) -> Kept:
    return Kept(tmp_path, image, body, stall)


def test_wait_revert_quit(tmp_path: Path, image: Path) -> None:
    it = kept(tmp_path, image, UP + "for_ever()")
    first = it.send("wait")
    assert first and it.send("wait") == first
    second = it.send("revert")
    assert second and len(it.fake.starts) == 2 and len(it.fake.running()) == 1
    assert it.send("quit") is None
    assert it.end() is None
    # Overlay and socketless rest are gone; the console's log stays for its reader.
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("selfinstall-")] == [
        it.state.folder.name
    ]
    assert b"debian login" in it.state.console.read_bytes()
    with pytest.raises(HostError, match="gone"):
        it.send("wait")


def test_a_restart_is_waited_for_though_ssh_answers_before(tmp_path: Path, image: Path) -> None:
    body = UP + (
        "while not os.path.exists(os.path.dirname(__file__) + '/go'): time.sleep(0.02)\n"
        'tell(event="RESET", data={"guest": True, "reason": "guest-reset"}); for_ever()'
    )
    it = kept(tmp_path, image, body)
    port = it.send("wait")
    told: list[int | None] = []
    waiter = threading.Thread(target=lambda: told.append(it.send("wait-reboot")))
    waiter.start()
    waiter.join(0.4)
    assert told == []
    (tmp_path / "go").touch()
    waiter.join(5)
    assert told == [port]
    it.send("quit")
    it.end()


def test_a_restart_before_it_was_waited_for_counts(tmp_path: Path, image: Path) -> None:
    body = UP + ('time.sleep(0.5)\ntell(event="RESET", data={"guest": True}); for_ever()')
    it = kept(tmp_path, image, body)
    port = it.send("wait")
    threading.Event().wait(1)
    assert it.send("wait-reboot") == port
    it.send("quit")
    it.end()


def test_a_machine_that_ends_in_place_of_restarting_is_started_with_its_disk(
    tmp_path: Path, image: Path
) -> None:
    body = (
        (
            "flag = os.path.dirname(__file__) + '/once'\n"
            "if not os.path.exists(flag):\n"
            "    open(flag, 'w').close(); answer_ssh(); time.sleep(0.5); done()\n"
        )
        + UP
        + "for_ever()"
    )
    it = kept(tmp_path, image, body)
    port = it.send("wait")
    assert it.send("wait-reboot") == port
    log = it.state.console.read_bytes()
    assert log.count(b"# ") == 1  # one disk, one command
    it.send("quit")
    it.end()


def test_a_machine_that_is_off_can_be_ended_and_reverted(tmp_path: Path, image: Path) -> None:
    it = kept(tmp_path, image, UP + "time.sleep(0.3); done()")
    it.send("wait")
    assert it.fake.running() == []
    with pytest.raises(HostError, match="powered off"):
        # It may take a moment to notice.
        for _ in range(100):
            it.send("wait")
    assert it.send("revert")
    it.send("quit")
    assert it.end() is None


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ('console("x login: "); answer_ssh(None); for_ever()', BootFailed, "nothing in it listens"),
        ('console("x login: "); for_ever()', BootFailed, "does not answer at port 22"),
        ('console("Booting\\r\\n"); for_ever()', GuestHung, "nothing moved"),
        ('console("(initramfs) "); for_ever()', BootFailed, "initramfs gave up"),
        ('console("x\\r\\n"); time.sleep(0.2); done()', BootFailed, "ended before"),
        ('print("qemu: no such thing", file=sys.stderr); done(1)', HostError, "no such thing"),
    ],
)
def test_ssh_never_answers(
    tmp_path: Path, image: Path, body: str, kind: type[Exception], words: str
) -> None:
    # Those that are not silent have all the time.
    it = kept(
        tmp_path, image, body, stall=1 if "for_ever" in body and "initramfs" not in body else None
    )
    with pytest.raises(kind, match=words) as caught:
        it.send("wait")
    assert isinstance(it.end(), kind)
    if isinstance(caught.value, BootFailed):
        assert caught.value.last_words and caught.value.log == it.state.console


def test_a_machine_is_ended_when_nobody_waits_for_it_any_more(tmp_path: Path, image: Path) -> None:
    it = kept(tmp_path, image, "for_ever()")
    with control.short(it.state.control) as name, socket.socket(socket.AF_UNIX) as link:
        link.connect(name)
        link.sendall(b"wait")
    assert it.end() is None


def test_what_is_no_order_is_passed_over(tmp_path: Path, image: Path) -> None:
    it = kept(tmp_path, image, UP + "for_ever()")
    with control.short(it.state.control) as name, socket.socket(socket.AF_UNIX) as link:
        link.connect(name)
        link.sendall(b"make coffee")
        assert link.recv(10) == b""
    assert it.send("wait")
    it.send("quit")
    it.end()


# --- commands ------------------------------------------------------------------------------


@pytest.fixture
def opened(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """What ``open`` says of a machine whose keeper is a process of its own."""
    fake = FakeQemu(tmp_path, UP + "for_ever()")
    boot = Boot(
        arch=AMD64,
        emulator=fake.emulator,
        image=image,
        format="raw",
        firmware=AMD64.firmware("bios"),
    )
    monkeypatch.setattr(commands.boot, "prepare", lambda *words, **more: boot)
    monkeypatch.setattr(commands, "_log_in", lambda *words: None)
    blank = tmp_path / "a blank = ü"
    blank.mkdir()
    monkeypatch.setenv("TMPDIR", str(blank))
    lines = commands.open_(Options(image=image, accel="tcg"))
    yield dict(line.split("=", 1) for line in lines)
    assert fake.running() == []
    assert list(blank.iterdir()) == []


def test_the_script_from_open_to_cleanup(
    opened: dict[str, str], image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert opened["login"] == "root" and opened["hostname"] == "127.0.0.1"
    assert set(opened["capabilities"].split(",")) == {
        "isolation-machine", "reboot", "revert", "revert-full-system", "root-on-testbed",
    }  # fmt: skip
    assert " " not in opened["extraopts"] and "identity" not in opened
    words = [str(image), "--accel", "tcg", *opened["extraopts"].split(" ")]
    folder = state.find(opened["extraopts"].removeprefix("--state=")).folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert program.run(["revert", *words]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("port=") and line != f"port={opened['port']}"
    assert program.run(["debug-failure", *words]) == 0
    said = capsys.readouterr()
    assert "debian login:" in said.err and said.out == ""
    for _ in range(2):  # what is gone needs no cleaning up
        assert program.run(["cleanup", *words]) == 0
    assert program.run(["revert", *words]) == 2
    assert "was cleaned up" in capsys.readouterr().err


def test_a_failed_open_leaves_the_console_only(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeQemu(tmp_path, 'console("last words\\r\\n(initramfs) "); for_ever()')
    boot = Boot(
        arch=AMD64, emulator=fake.emulator, image=image, format="raw",
        firmware=AMD64.firmware("bios"),
    )  # fmt: skip
    monkeypatch.setattr(commands.boot, "prepare", lambda *words, **more: boot)
    with pytest.raises(BootFailed) as caught:
        commands.open_(Options(image=image, accel="tcg"))
    assert caught.value.last_words == ("last words", "(initramfs)")
    assert caught.value.log and b"last words" in caught.value.log.read_bytes()
    assert fake.running() == []
    assert not list(tmp_path.glob("selfinstall-virt-ssh-*"))


def test_commands_that_need_no_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """autopkgtest calls these without --state when open failed."""
    assert program.run(["cleanup", "a.img"]) == 0
    assert program.run(["debug-failure", "a.img"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "no command given"),
        (["launch"], 2, "'launch' is no command"),
        (["open"], 2, "no IMAGE given"),
        (["open", "--colour", "x"], 2, "unknown option '--colour'"),
        (["open", "/nonexistent.img"], 3, "no such image file"),
        (["open", "/dev/null", "--identity", "/nonexistent"], 3, "No such file"),
        (["revert", "x"], 2, "no machine is open"),
        (["cleanup", "x", "--state", "/etc"], 2, "no folder of selfinstall-virt-ssh"),
        (["wait-reboot", "x", "--state=/tmp/selfinstall-virt-ssh-gone"], 2, "is gone"),
    ],
)
def test_errors_are_lines(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run(words) == status
    assert said in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["--help"]) == 0 == program.run(["open", "-h"])
    assert "usage: selfinstall-virt-ssh COMMAND IMAGE [options]" in capsys.readouterr().out


def test_keys(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    commands._check_key(key)
    with pytest.raises(InputError, match="no private ssh key") as caught:
        commands._check_key(tmp_path / "key.pub")
    assert caught.value.hint == f"--identity {key}"
    key.chmod(0o644)
    with pytest.raises(InputError, match="others can read"):
        commands._check_key(key)


def test_a_new_key_goes_into_the_seed(tmp_path: Path) -> None:
    own = State(tmp_path)
    public = Path(f"{commands._new_key(own)}.pub").read_bytes().split()[1]
    seed = commands._seed(own, own.key)
    assert seed is not None and public in seed.read_bytes()


@pytest.mark.parametrize(
    ("said", "raises"), [("Permission denied (publickey).", True), ("x", False)]
)
def test_a_login_that_is_refused_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, raises: bool
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if not raises:
        commands._log_in("root", None, 22)
        return
    with pytest.raises(InputError, match="does not let root in") as caught:
        commands._log_in("root", tmp_path / "key", 22)
    assert "--ssh-key" in (caught.value.hint or "")


def test_a_state_is_told_as_one_word(tmp_path: Path) -> None:
    own = State(tmp_path / "selfinstall-virt-ssh-a b%20=ü")
    assert " " not in own.word and state.find(own.word) == own
    with pytest.raises(UsageError):
        state.find("selfinstall-virt-ssh-x")
