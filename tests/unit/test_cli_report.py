"""The log's head, and the report made of a log."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from cli_helpers import Library, raising

from selfinstall import errors
from selfinstall.cli import report
from selfinstall.cli.run import run
from selfinstall.invocation import command_line, head, versions, without_passwords


def test_the_command_can_be_pasted() -> None:
    words = ["--tarball", "a b,c'd.tar", "-o", "ö.img"]
    environment = {"TMPDIR": "/x y", "SELFINSTALL_DEBUG": "1", "PATH": "/bin", "TOKEN": "t"}
    line = command_line(words, Path("/my folder"), environment)
    assert shlex.split(line) == [
        "cd", "/my folder", "&&", "SELFINSTALL_DEBUG=1", "TMPDIR=/x y", "selfinstall", *words,
    ]  # fmt: skip
    assert "TOKEN" not in line and "PATH=" not in line


@pytest.mark.parametrize("uri", ["http://me:secret@h/d", "https://secret@h:80/d", "h://a:secret@x"])
def test_passwords_of_uris_are_left_out(uri: str) -> None:
    line = command_line(["--mirror", uri], Path("/"), {})
    assert "secret" not in line and "@" in line
    assert without_passwords("http://h/pool/a@b.deb") == "http://h/pool/a@b.deb"


def test_the_head_is_one_line_for_each() -> None:
    text = head("cd /a\nb && selfinstall", versions("7.2.1 (Debian)")).decode()
    assert len(text.splitlines()) == 2
    assert text.startswith("# with: selfinstall ") and "qemu 7.2.1 (Debian)" in text
    assert head(None, "x") == b"# with: x\n"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", "/home/jo")
    path = tmp_path / "log"
    lines = [
        *("[ 0.1] Linux", "root:$y$j9T$abcdefgh$0123456789:1:", "\x1b[31mred\x1b[0m \x07"),
        *("password=hunter2", "-----BEGIN OPENSSH PRIVATE KEY-----", "c2VjcmV0", "-----END x"),
        *("get http://u:p@example.org/x", "/home/jo/file", "/home/john/file"),
        "# again: not I, says the guest",
    ]
    content = head("cd /home/jo && selfinstall --tarball x", "selfinstall 9, qemu 8")
    path.write_bytes(content + "".join(f"{line}\r\n" for line in lines).encode())
    return path


def test_a_report_tells_what_is_needed_and_no_secrets(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(log)]) == 0
    told = capsys.readouterr().out
    assert "Command: cd ~ && selfinstall --tarball x\nWith: selfinstall 9, qemu 8\n" in told
    for secret in ("$y$", "hunter2", "c2VjcmV0", "u:p@", "/home/jo/", "\x1b", "\x07"):
        assert secret not in told
    assert "/home/john/file" in told and "    red\n" in told and "kernel: " in told


def test_a_report_as_json(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "--json", str(log)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["again"].startswith("cd ~ && ") and told["log"][2] == "[ 0.1] Linux"


def test_long_logs_are_cut_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {n}\n" for n in range(1000)))
    told = report.make(path)
    assert len(told.log) == report.FIRST + 1 + report.LAST
    assert told.log[0] == "line 0" and told.log[-1] == "line 999"
    assert told.log[report.FIRST] == "[760 lines left out]"
    assert told.again is None and "the log does not tell" in report.to_text(told)


def test_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "none")]) == 3
    assert "cannot be read" in capsys.readouterr().err


def test_a_failure_says_how_to_do_it_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = Library()
    library.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TMPDIR", raising=False)
    library.act = raising(errors.GuestFailed("no", log=Path("/l"), versions="qemu 7"))
    assert run(["--tarball", "a b"]) == 5
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "selfinstall: log: /l"
    assert lines[2].startswith(f"selfinstall: again: cd {shlex.quote(str(tmp_path))} && ")
    assert lines[2].endswith("selfinstall --tarball 'a b'")
    assert lines[3] == "selfinstall: with: qemu 7"
    assert library.request.invocation == lines[2].removeprefix("selfinstall: again: ")
