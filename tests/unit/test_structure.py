"""Rules of the source tree that no single module can keep."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfinstall import loader
from selfinstall.arch import all_arches
from selfinstall.initramfs.hooks import load_hook

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "selfinstall"
HOOKS = sorted(p for p in (SOURCE / "hooks").iterdir() if p.is_file() and p.name != "__init__.py")


def test_file_and_architecture_agree() -> None:
    files = {p.stem for p in (SOURCE / "arch").glob("*.py")} - {"__init__"}
    assert files == set(all_arches())


def test_every_loader_has_its_hook_and_every_use_its_loader_and_firmware() -> None:
    for name, descriptor in loader.all_loaders().items():
        assert descriptor.hooks[0] == f"80-{name}"
        for hook in descriptor.hooks:
            assert load_hook(hook).name == hook
    for arch in all_arches().values():
        for use in arch.loaders:
            assert use.loader in loader.all_loaders()
            assert arch.firmware(use.firmware).name == use.firmware


def test_no_architecture_is_named_outside_its_file() -> None:
    names = {word for a in all_arches().values() for word in (a.name, a.multiarch, a.elf.machine)}
    pattern = re.compile("|".join(rf"\b{re.escape(n)}\b" for n in names))
    found = []
    for path in SOURCE.rglob("*"):
        if not path.is_file() or path.suffix == ".pyc" or path.parent.name == "arch":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.partition("#")[0]
            if pattern.search(code) and not _in_docstring(path, number):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def _in_docstring(path: Path, number: int) -> bool:
    import ast

    if path.suffix != ".py":
        return False
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            assert node.end_lineno is not None
            if node.lineno <= number <= node.end_lineno:
                return True
    return False


@pytest.mark.parametrize("hook", HOOKS, ids=lambda p: p.name)
def test_hooks_are_clean_for_shellcheck(hook: Path) -> None:
    done = subprocess.run(
        ["shellcheck", "--shell=sh", str(hook)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("hook", HOOKS, ids=lambda p: p.name)
def test_hooks_declare_the_programs_that_they_call(hook: Path) -> None:
    """Every program of the initramfs that a hook calls stands in its header (or init's)."""
    if hook.name == "lib.sh":
        return
    known = {"mount", "umount", "mkdir", "dd", "tar", "rm", "cp", "ln", "cat", "chmod", "mke2fs"}
    known |= {"blockdev", "insmod", "fstrim", "e2fsck", "mkfifo", "sync", "sleep"}
    script = load_hook(hook.name)
    body = "\n".join(line for line in script.text.splitlines() if not line.startswith("#"))
    body = re.sub(r"<<-?'?(\w+)'?\n.*?\n\s*\1\n", "\n", body, flags=re.DOTALL)
    called = set(re.findall(r"(?:^|[;&|(]|\bthen|\bdo)\s*(?:[A-Z_]+='[^']*'\s+)?(\w+)", body, re.M))
    declared = set(script.programs) | set(load_hook("init").programs)
    assert called & known <= declared


def test_sources_are_clean_for_ruff_and_mypy() -> None:
    for command in (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
