"""The examples do what they say, as far as that needs no guest."""

from __future__ import annotations

import ast
import importlib.util
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from selfinstall import errors
from selfinstall.cli import build_qemu
from selfinstall.errors import SelfinstallError
from selfinstall.events import Event
from selfinstall.result import Result

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def buildd() -> ModuleType:
    spec = importlib.util.spec_from_file_location("buildd_example", EXAMPLES / "buildd.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for the module of a class.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def job(buildd: ModuleType, tmp_path: Path) -> Any:
    return buildd.Job(
        suite="trixie",
        architecture="arm64",
        source=tmp_path / "hello.dsc",
        images=tmp_path,
        results=tmp_path,
        reboot_timeout=600,
    )


def test_the_program_tells_of_itself() -> None:
    program = EXAMPLES / "buildd.py"
    assert os.access(program, os.X_OK)
    done = subprocess.run(
        [sys.executable, program, "--help"], capture_output=True, text=True, check=True
    )
    assert "75 try again later" in done.stdout


def test_it_asks_for_a_testbed(job: Any) -> None:
    assert job.image.name == "trixie-autopkgtest-arm64.img"
    request = job.request
    assert (request.suite, request.arch, request.format) == ("trixie", "arm64", "qcow2")


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", [k for k in KINDS if issubclass(k, SelfinstallError)])
def test_errors_are_told_apart(buildd: ModuleType, job: Any, kind: type) -> None:
    def build(request: object, on_event: object) -> Result:
        raise kind(2) if kind is errors.Interrupted else kind("cause", "way out")

    stream = io.StringIO()
    status = buildd.make_image(job, buildd.Log(stream), build)
    passing = kind in (errors.HostError, errors.GuestHung)
    assert status == (buildd.TRY_AGAIN if passing else buildd.GIVE_UP)
    assert kind.__name__ in stream.getvalue()


def test_events_go_to_its_log(buildd: ModuleType, job: Any) -> None:
    def build(request: object, on_event: Any) -> Result:
        on_event(Event("begin", "guest"))
        on_event(Event("progress", "guest", done=1))
        on_event(Event("end", "guest", seconds=1.5))
        return Result(image=job.image, manifest={}, seconds={"guest": 1.5}, log=None)

    stream = io.StringIO()
    assert buildd.make_image(job, buildd.Log(stream), build) == buildd.BUILT
    lines = [re.sub(r"^\S+Z ", "", line) for line in stream.getvalue().splitlines()]
    assert lines == ["guest: begin", "guest: 1.5 s", f"{job.image}: built and tested in 0 s"]


def test_an_image_is_used_until_it_is_old(buildd: ModuleType, job: Any) -> None:
    assert not buildd.is_fresh(job)
    job.image.touch()
    assert buildd.is_fresh(job)
    week = time.time() - 8 * 24 * 3600
    os.utime(job.image, (week, week))
    assert not buildd.is_fresh(job)


@pytest.mark.parametrize(("status", "told"), [(0, 0), (1, 75), (2, 1), (3, 75)])
def test_what_sbuild_says(
    buildd: ModuleType,
    job: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    told: int,
) -> None:
    program = tmp_path / "sbuild"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/asked\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert buildd.build_package(job, buildd.Log(io.StringIO())) == told
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-1] == str(job.source)
    assert "--autopkgtest-virt-server-opt=--timeout-reboot=600" in asked
    assert f"--autopkgtest-virt-server-opt={job.image}" in asked


def test_a_host_without_sbuild_may_get_it(
    buildd: ModuleType, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert buildd.build_package(job, buildd.Log(io.StringIO())) == buildd.TRY_AGAIN


def test_it_uses_nothing_that_the_library_does_not_show() -> None:
    tree = ast.parse((EXAMPLES / "buildd.py").read_text())
    found = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("selfinstall")
    }
    assert found == {"selfinstall.errors"}


def test_the_ci_job_s_commands_are_ours() -> None:
    text = (EXAMPLES / "ci.yml").read_text()
    (line,) = re.findall(r"^ +- selfinstall-build-qemu (.*)$", text, re.MULTILINE)
    words = line.replace('"$ARCH"', "amd64").replace('"$SUITE"', "trixie").split()
    assert build_qemu.parse(words).get("arch") == "amd64"
    assert "exit_codes: [4, 6]" in text
    assert (errors.HostError.exit_status, errors.GuestHung.exit_status) == (4, 6)
