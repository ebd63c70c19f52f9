from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest
from qemu_helpers import AMD64

from selfinstall.errors import HostError, InputError
from selfinstall.events import Event
from selfinstall.qemu import emulator, qemu_img

MIB = 1 << 20
real = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text("#!/bin/sh\n" + script)
    (folder / name).chmod(0o755)


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "setpriv").symlink_to(shutil.which("setpriv") or "/nowhere")
    monkeypatch.setenv("PATH", str(folder))
    return folder


@real
@pytest.mark.parametrize("format", ["raw", "qcow2", "vmdk", "vhdx", "vdi"])
@pytest.mark.parametrize("name", ["a.img", "a:b,c d.ü"])
def test_info_of_what_convert_made(tmp_path: Path, format: str, name: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(8 * MIB))
    qemu_img.convert(source, tmp_path / name, source_format="raw", format=format)
    info = qemu_img.info(tmp_path / name, format)
    assert (info.format, info.virtual_size) == (format, 8 * MIB)
    assert 0 <= info.actual_size < 8 * MIB


@real
def test_convert(tmp_path: Path) -> None:
    source = tmp_path / "a.img"
    source.write_bytes(b"x" * MIB + bytes(7 * MIB))
    events: list[Event] = []
    target = tmp_path / "b.qcow2"
    qemu_img.convert(source, target, source_format="raw", format="qcow2", on_event=events.append)
    assert qemu_img.info(target).format == "qcow2"
    assert (events[-1].done, events[-1].total, events[-1].unit) == (8 * MIB, 8 * MIB, "bytes")
    assert [e.done for e in events] == sorted({e.done or 0 for e in events})
    back = tmp_path / "c.img"
    qemu_img.convert(target, back, source_format="qcow2", format="raw")
    assert back.read_bytes() == source.read_bytes()


@real
def test_overlay_is_of_the_image_and_goes(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    image = tmp_path / ("n" * 200 + ":,") / ("m" * 200) / "a.img"
    image.parent.mkdir(parents=True)
    content = b"x" * MIB
    image.write_bytes(content)
    with qemu_img.overlay(image, "raw", folder) as layer:
        info = qemu_img.info(layer)
        assert (info.format, info.virtual_size) == ("qcow2", MIB)
        qemu_img.convert(layer, tmp_path / "seen", source_format="qcow2", format="raw")
        assert (tmp_path / "seen").read_bytes() == content
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 0 0 4k", layer], check=True)
    assert image.read_bytes() == content
    assert list(folder.iterdir()) == []


@real
def test_overlay_of_nothing_names_the_image(tmp_path: Path) -> None:
    missing = tmp_path / "missing.img"
    with pytest.raises(InputError, match=r"missing\.img"), contextlib.ExitStack() as stack:
        stack.enter_context(qemu_img.overlay(missing, "raw", tmp_path))
    assert list(tmp_path.iterdir()) == []


@real
@pytest.mark.parametrize("content", [b"", b"not a qcow2 at all" * 100])
def test_damaged_image(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "a.qcow2"
    image.write_bytes(content)
    with pytest.raises(InputError) as caught:
        qemu_img.info(image, "qcow2")
    assert "\n" not in caught.value.message


@pytest.mark.usefixtures("bin")
def test_missing() -> None:
    with pytest.raises(HostError, match="qemu-img is missing") as caught:
        qemu_img.info(Path("/x"))
    assert caught.value.hint == "sudo apt install qemu-utils"


def test_full_disk(bin: Path, tmp_path: Path) -> None:
    program(bin, "qemu-img", 'echo "qemu-img: error: No space left on device" >&2; exit 1')
    with pytest.raises(HostError, match="No space left") as caught:
        qemu_img.read_head(tmp_path / "a.img", "raw", tmp_path / "head", 1)
    assert str(tmp_path) in (caught.value.hint or "")


def test_refusal_is_one_line(bin: Path, tmp_path: Path) -> None:
    program(bin, "qemu-img", 'printf "qemu-img: one\\ntwo\\n" >&2; exit 1')
    with pytest.raises(InputError) as caught:
        qemu_img.read_head(tmp_path / "a.img", "raw", tmp_path / "head", 1)
    assert caught.value.message == "qemu-img: one"


@pytest.mark.parametrize("answer", ["", "{", "[]", "{}", '{"format": "raw", "virtual-size": "x"}'])
def test_info_that_is_nonsense(bin: Path, tmp_path: Path, answer: str) -> None:
    program(bin, "qemu-img", f"echo '{answer}'; echo warning >&2")
    with pytest.raises(InputError, match="nonsense"):
        qemu_img.info(tmp_path / "a.img")


def test_interrupted_convert_ends_the_program(bin: Path, tmp_path: Path) -> None:
    program(
        bin,
        "qemu-img",
        'case $1 in info) echo \'{"format":"raw","virtual-size":100}\' ;;\n'
        "*) printf '    (1.00/100%%)\\r'; exec /bin/sleep 60 ;; esac",
    )

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qemu_img.convert(
            tmp_path / "a", tmp_path / "b", source_format="raw", format="qcow2", on_event=interrupt
        )


# --- the emulator --------------------------------------------------------------------------

#: What a host without apt-cache is told.
INSTALL = f"sudo apt install {AMD64.qemu.packages[0]}"
VERSION = 'echo "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"\n'


def test_emulator(bin: Path) -> None:
    program(bin, AMD64.qemu.program, VERSION)
    found = emulator.find(AMD64)
    assert found.program == str(bin / AMD64.qemu.program)
    assert (found.version, found.sandbox) == ("7.2.22 (Debian 1:7.2+dfsg-7)", True)


def test_emulator_without_seccomp(bin: Path) -> None:
    program(bin, AMD64.qemu.program, '[ "$1" != -sandbox ] || exit 1\n' + VERSION)
    assert not emulator.find(AMD64).sandbox


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo hello", "does not tell its version"),
        ("exit 3", "does not tell its version"),
    ],
)
def test_emulator_that_does_not_do(bin: Path, script: str, words: str) -> None:
    program(bin, AMD64.qemu.program, script)
    with pytest.raises(HostError, match=words) as caught:
        emulator.find(AMD64)
    assert caught.value.hint == INSTALL


def test_emulator_that_is_too_old(bin: Path) -> None:
    program(bin, AMD64.qemu.program, 'echo "QEMU emulator version 6.2.0"')
    with pytest.raises(HostError, match=r"version 6\.2\.0, amd64 needs 7\.2 or newer") as caught:
        emulator.find(AMD64)
    for words in (INSTALL, "--qemu", "SELFINSTALL_QEMU_AMD64"):
        assert words in (caught.value.hint or "")


def test_a_newer_emulator_comes_from_backports(bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = "http://deb.example.org/debian bookworm-backports/main amd64 Packages"
    program(bin, "apt-cache", f'echo "qemu-system-x86 | 1:10.0.2~bpo12+1 | {where}"')
    program(bin, AMD64.qemu.program, 'echo "QEMU emulator version 6.2.0"')
    with pytest.raises(HostError) as caught:
        emulator.find(AMD64)
    hint = caught.value.hint or ""
    assert hint.startswith("sudo apt install -t bookworm-backports qemu-system-x86; or name")


def test_the_minimum_is_the_architecture_s(bin: Path) -> None:
    qemu = dataclasses.replace(AMD64.qemu, minimum=(10, 0))
    arch = dataclasses.replace(AMD64, qemu=qemu)
    program(bin, qemu.program, 'echo "QEMU emulator version 9.2.4"')
    with pytest.raises(HostError, match=r"9\.2\.4, amd64 needs 10\.0"):
        emulator.find(arch)
    # Numbers are compared, not texts.
    program(bin, qemu.program, 'echo "QEMU emulator version 10.0.2 (Debian 1:10.0.2)"')
    assert emulator.find(arch).number == (10, 0)


def test_the_environment_names_an_emulator(
    bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(bin, AMD64.qemu.program, VERSION)
    program(tmp_path, "mine", 'echo "QEMU emulator version 9.1.0"')
    monkeypatch.setenv("SELFINSTALL_QEMU_AMD64", str(tmp_path / "mine"))
    assert emulator.find(AMD64).program == str(tmp_path / "mine")
    # What was asked for by option comes first, and other architectures have their own.
    assert emulator.find(AMD64, bin / AMD64.qemu.program).version.startswith("7.2.22")
    other = dataclasses.replace(AMD64, name="other")
    assert emulator.find(other).program == str(bin / AMD64.qemu.program)
    monkeypatch.setenv("SELFINSTALL_QEMU_AMD64", "/nonexistent/qemu")
    with pytest.raises(HostError, match="/nonexistent/qemu is not an executable file"):
        emulator.find(AMD64)
    monkeypatch.setenv("SELFINSTALL_QEMU_AMD64", "")
    assert emulator.find(AMD64).version.startswith("7.2.22")


@pytest.mark.usefixtures("bin")
def test_emulator_is_missing(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="is missing") as caught:
        emulator.find(AMD64)
    assert caught.value.hint == INSTALL
    with pytest.raises(HostError, match="not an executable file"):
        emulator.find(AMD64, tmp_path / "own-qemu")
