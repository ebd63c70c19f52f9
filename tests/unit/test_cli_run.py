"""The command line from end to end, on a stubbed library."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import Library, command, raising

from selfinstall import errors
from selfinstall.cli import run as run_module
from selfinstall.cli.run import run
from selfinstall.events import Event
from selfinstall.qemu.argv import Forward

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.delenv("SELFINSTALL_DEBUG", raising=False)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    stub = Library()
    stub.install(monkeypatch)
    return stub


FAULTS = [
    (errors.UsageError("m", "h"), 2),
    (errors.InputError("m", "h"), 3),
    (errors.HostError("m", "h"), 4),
    (errors.GuestFailed("m", "h"), 5),
    (errors.GuestHung("m", "h"), 6),
    (errors.BootFailed("m", "h"), 7),
    (errors.Interrupted(2), 130),
    (errors.Interrupted(15), 143),
]


@pytest.mark.parametrize(("error", "status"), FAULTS)
@pytest.mark.parametrize("line", ["--tarball a", "--tarball a --dry-run", "verify i", "boot i"])
def test_each_error_has_its_status_and_one_line(
    library: Library, capsys: Captured, line: str, error: errors.SelfinstallError, status: int
) -> None:
    library.act = raising(error)
    assert command(line) == status
    out, err = capsys.readouterr()
    expected = [f"selfinstall: error: {error.message}"]
    expected += ["selfinstall: hint: h"] if error.hint else []
    assert err.splitlines() == expected
    assert out == ""


def test_a_failed_guest_shows_its_last_words_and_log(library: Library, capsys: Captured) -> None:
    library.act = raising(
        errors.GuestFailed(
            "40-unpack failed", "look", last_words=("tar: \x1b[31mno", "end"), log=Path("/x/log")
        )
    )
    assert command("--tarball a") == 5
    assert capsys.readouterr().err.splitlines() == [
        "selfinstall: error: 40-unpack failed",
        "    tar: \\x1b[31mno",
        "    end",
        "selfinstall: log: /x/log",
        "selfinstall: hint: look",
    ]


def test_an_error_message_stays_on_one_line(library: Library, capsys: Captured) -> None:
    library.act = raising(errors.InputError("file a\nb\udcff is bad"))
    assert command("--tarball a") == 3
    assert capsys.readouterr().err == "selfinstall: error: file a\\nb\\udcff is bad\n"


def test_usage_errors_need_no_library(capsys: Captured) -> None:
    assert command("--tarball a --no-such-thing") == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_success_tells_the_image_and_how_to_run_it(library: Library, capsys: Captured) -> None:
    library.events = [Event("begin", "inspect"), Event("end", "inspect", seconds=1.0)]
    assert run(["--tarball", "a", "-o", "my image.img"]) == 0
    out, err = capsys.readouterr()
    assert out == "'my image.img' is ready; run it: selfinstall boot 'my image.img'\n"
    assert err == "inspect: 1.0 s\n"


def test_an_untested_image_is_called_so(library: Library, capsys: Captured) -> None:
    assert command("--tarball a -o i.img --no-verify") == 0
    assert capsys.readouterr().out.startswith("i.img is ready (not boot-tested);")


def test_quiet_prints_the_path_alone(library: Library, capsys: Captured) -> None:
    library.events = [Event("warning", "plan", message="w"), Event("end", "inspect", seconds=1.0)]
    assert run(["-q", "--tarball", "a", "-o", "my image.img"]) == 0
    assert capsys.readouterr() == ("my image.img\n", "")


def test_json_prints_events_and_the_verdict_only(library: Library, capsys: Captured) -> None:
    library.events = [Event("progress", "40-unpack", done=1, total=2, unit="bytes")]
    assert command("--json --tarball a -o i.img") == 0
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "progress", "step": "40-unpack", "done": 1, "total": 2, "unit": "bytes"},
        {"event": "verdict", "step": "build", "message": "i.img", "ok": True},
    ]
    assert err == ""


def test_json_tells_failure_too(library: Library, capsys: Captured) -> None:
    library.act = raising(errors.HostError("no room"))
    assert command("verify --json i.img") == 4
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "event": "verdict",
        "step": "verify",
        "message": "no room",
        "ok": False,
    }
    assert err == "selfinstall: error: no room\n"


def test_dry_run_prints_the_plan(library: Library, capsys: Captured) -> None:
    library.events = [Event("end", "inspect", seconds=1.0)]
    assert command("--tarball a --dry-run") == 0
    assert capsys.readouterr() == ("the plan\n", "inspect: 1.0 s\n")
    assert command("--tarball a --dry-run --json") == 0
    assert capsys.readouterr() == ('{"plan": true}\n', "")


def test_verify_passes_its_options_on(library: Library, capsys: Captured) -> None:
    line = "verify i.img --firmware efi --arch amd64 --accel tcg --memory 1G --smp 2 --stall 3"
    assert command(f"{line} --log l --qemu q") == 0
    assert library.calls == [
        {
            "image": Path("i.img"),
            "arch": "amd64",
            "firmware": ("efi",),
            "accel": "tcg",
            "memory": 1024,
            "smp": 2,
            "qemu": Path("q"),
            "stall": 3.0,
            "log": Path("l"),
        }
    ]
    assert capsys.readouterr().out == "i.img boots: bios in 12.3 s, efi in 2 min 00 s\n"


def test_verify_tests_every_firmware_by_default(library: Library, capsys: Captured) -> None:
    assert command("verify i.img") == 0
    assert command("verify i.img --firmware both") == 0
    assert [call["firmware"] for call in library.calls] == [None, None]
    assert library.calls[0]["accel"] == "auto"


def test_boot_passes_its_options_on(library: Library) -> None:
    line = "boot i.img --write --export --firmware bios --forward 2222:22 --forward 8080:80"
    assert command(line) == 0
    assert command("boot i.img") == 0
    first, second = library.calls
    assert first == {
        "image": Path("i.img"),
        "arch": None,
        "firmware": "bios",
        "accel": "auto",
        "memory": None,
        "smp": None,
        "qemu": None,
        "write": True,
        "refresh": True,
        "forwards": (Forward(host=2222, guest=22), Forward(host=8080, guest=80)),
        "shares": (),
        "seed": None,
    }
    assert not second["refresh"]
    assert (second["write"], second["firmware"], second["forwards"]) == (False, None, ())


def test_boot_tells_how_to_leave_the_machine(library: Library, capsys: Captured) -> None:
    library.events = [Event("note", "boot", message="Ctrl-a x")]
    assert command("boot i.img") == 0
    assert capsys.readouterr().err == "boot: Ctrl-a x\n"
    assert command("boot i.img -q") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_the_hosts_fault(library: Library, capsys: Captured, number: int) -> None:
    library.act = raising(OSError(number, "No space", "/srv/x.img"))
    assert command("--tarball a") == 4
    first, second = capsys.readouterr().err.splitlines()
    assert first == "selfinstall: error: No space: /srv/x.img"
    assert second.startswith("selfinstall: hint: free some space")


def test_no_memory_is_the_hosts_fault(library: Library) -> None:
    library.act = raising(MemoryError())
    assert command("--tarball a") == 4


@pytest.mark.parametrize("error", [ValueError("odd"), FileNotFoundError(errno.ENOENT, "gone")])
def test_bugs_are_called_so(library: Library, capsys: Captured, error: Exception) -> None:
    library.act = raising(error)
    assert command("--tarball a") == 70
    err = capsys.readouterr().err
    assert err.startswith(f"selfinstall: error: internal error: {error!r}; this is a bug\n")
    assert "Traceback" not in err


def test_a_missing_module_is_the_hosts_fault(library: Library, capsys: Captured) -> None:
    library.act = raising(ModuleNotFoundError("No module named 'jinja2.x'", name="jinja2.x"))
    assert command("--tarball a") == 4
    assert "jinja2.x is not installed" in capsys.readouterr().err
    library.act = raising(ModuleNotFoundError("gone", name="selfinstall.gone"))
    assert command("--tarball a") == 70


def test_tracebacks_on_request(
    library: Library, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.act = raising(ValueError("odd"))
    assert command("--tarball a -v -v") == 70
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("SELFINSTALL_DEBUG", "1")
    assert command("--tarball a") == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_keyboard_interrupt_without_handler(library: Library, capsys: Captured) -> None:
    library.act = raising(KeyboardInterrupt())
    assert command("--tarball a") == 130
    assert capsys.readouterr().err == "selfinstall: error: interrupted by signal 2\n"


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_nobody_reads(library: Library, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    library.events = [Event("begin", "inspect")]
    monkeypatch.setattr(sys, "stdout", Closed())
    assert command("--json --tarball a") == run_module.NOBODY_READS
    assert command("--help") == run_module.NOBODY_READS
    assert capsys.readouterr().err == ""


def test_nobody_reads_errors(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.act = raising(errors.InputError("m"))
    monkeypatch.setattr(sys, "stderr", Closed())
    assert command("--tarball a") == 3


@pytest.mark.parametrize(("redirection", "status"), [(">&-", 0), ("2>&-", 0), (">/dev/full", 4)])
def test_streams_that_take_nothing(redirection: str, status: int) -> None:
    line = f'exec "$0" -m selfinstall --help {redirection}'
    done = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, check=False)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


def test_file_names_that_are_no_text_come_out_as_they_went_in() -> None:
    program = """
import sys, types
stub = types.ModuleType("selfinstall.pipeline")
stub.build = lambda request, on_event: types.SimpleNamespace(image=request.output)
stub.make_plan = None
sys.modules["selfinstall.pipeline"] = stub
from selfinstall.__main__ import main
sys.exit(main())
"""
    words = [sys.executable, "-c", program, "-q", "--tarball", "a", "-o", b"\xff.img"]
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        check=True,
    )
    assert done.stdout == b"\xff.img\n"


def test_a_pipe_without_reader() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        words = [sys.executable, "-m", "selfinstall", "--help"]
        done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (run_module.NOBODY_READS, b"")


def test_help_and_version(capsys: Captured) -> None:
    assert command("--help") == 0
    assert capsys.readouterr().out.startswith("usage: selfinstall --tarball")
    assert command("verify --help") == 0
    assert capsys.readouterr().out.startswith("usage: selfinstall verify IMAGE")
    assert command("--version") == 0
    assert capsys.readouterr().out.startswith("selfinstall ")


def test_arches(capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing of this host is asked.
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command("arches") == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[0] == "ARCH"
    assert any(row.startswith("amd64 ") and "grub-pc, grub-efi" in row for row in rows)
    assert command("arches --json") == 0
    assert "amd64" in [row["arch"] for row in json.loads(capsys.readouterr().out)]


def test_requests_that_the_command_line_makes_can_be_pickled(library: Library) -> None:
    assert command("--tarball a --customize-hook h --include x1") == 0
    assert pickle.loads(pickle.dumps(library.request)) == library.request
