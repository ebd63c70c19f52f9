"""Programs of the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstall import host
from selfinstall.errors import HostError


def make_program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_path_comes_first_and_system_folders_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SYSTEM_FOLDERS", (str(tmp_path / "sbin"),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    behind = make_program(tmp_path / "sbin/prog")
    assert host.find_program("prog") == behind
    first = make_program(tmp_path / "bin/prog")
    assert host.find_program("prog") == first
    assert host.require_program("prog", "pkg") == first


def test_files_that_cannot_run_are_no_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "prog").write_text("")
    assert host.find_program("prog") is None


def test_an_empty_path_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert host.find_program("sh") is not None


def test_what_lacks_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostError) as caught:
        host.require_program("sfdisk", "fdisk")
    assert "sfdisk" in caught.value.message
    assert caught.value.hint == "sudo apt install fdisk"
