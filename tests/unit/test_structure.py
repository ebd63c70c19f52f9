"""Rules of the source tree that no single module can keep."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from plan_helpers import make_plan

from selfinstall import loader
from selfinstall.adapt import planning
from selfinstall.arch import all_arches
from selfinstall.guestfiles import IMAGE_FILES, TOOL_FILES
from selfinstall.initramfs.hooks import load_hook
from selfinstall.loader import all_loaders

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "selfinstall"
HOOKS = sorted(p for p in (SOURCE / "hooks").iterdir() if p.is_file())
SCRIPTS = [*HOOKS, *sorted((SOURCE / "hooks" / "files").iterdir())]


def test_file_and_architecture_agree() -> None:
    files = {p.stem for p in (SOURCE / "arch").glob("*.py")} - {"__init__"}
    assert files == set(all_arches())


def test_every_loader_has_its_hook_and_every_use_its_loader_and_firmware() -> None:
    for name, descriptor in loader.all_loaders().items():
        assert f"65-{name}" in descriptor.hooks
        for hook in descriptor.hooks:
            assert load_hook(hook).name == hook
    for arch in all_arches().values():
        for use in arch.loaders:
            assert use.loader in loader.all_loaders()
            assert use.firmwares
            for name in use.firmwares:
                assert arch.firmware(name).name == name


def shipped_files() -> Iterator[Path]:
    """Every source file; what Python and linters leave between them is none."""
    for path in sorted(SOURCE.rglob("*")):
        inside = path.relative_to(SOURCE).parts
        if path.is_file() and not any(p.startswith((".", "__pycache__")) for p in inside):
            yield path


def words_of_python(text: str) -> Iterator[tuple[int, str]]:
    """Names and strings with their lines; no comments, no docstrings."""
    tree = ast.parse(text)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(value)) if id(node) not in docstrings:
                yield node.lineno, value
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield node.lineno, name


def words(path: Path) -> Iterator[tuple[int, str]]:
    """What a file says to the machine, by line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from words_of_python(text)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            yield number, line


def names_of_architectures() -> set[str]:
    """Everything that is one architecture's own."""
    names: set[str] = set()
    for a in all_arches().values():
        names |= {a.name, a.multiarch, a.elf.machine, a.qemu.program, a.console, a.root_type}
        names |= {*a.qemu.packages, *a.kernel_packages, *a.qemu.kvm_hosts}
        names |= {w for use in a.loaders for w in (use.target, use.package) if w}
    return names


def test_no_architecture_is_named_outside_its_file() -> None:
    pattern = re.compile("|".join(rf"\b{re.escape(n)}\b" for n in names_of_architectures()))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {said}"
        for path in shipped_files()
        if path.parent != SOURCE / "arch"
        for number, said in words(path)
        if pattern.search(said)
    ]
    assert found == []


def test_no_boot_loader_is_named_in_hooks_of_all() -> None:
    loaders = all_loaders().values()
    # The one of images of others looks which loader is there.
    own = {planning.MENU}.union(hook for loader in loaders for hook in loader.hooks)
    names = {n for d in loaders for n in (*d.menu_programs, *d.menu_inputs)} - {"etc/default"}
    assert names >= {"update-grub", "u-boot-update", "etc/zipl.conf"}
    found = [
        f"{hook.name}:{number}: {said}"
        for hook in HOOKS
        if hook.name not in own
        for number, said in words(hook)
        if any(name in said for name in names)
    ]
    assert found == []


def test_the_search_for_names_sees_code_and_not_prose() -> None:
    text = '"""About amd64."""\n# amd64\nx = f("amd64#")  # amd64\nif a.amd64: pass\n'
    assert {line for line, word in words_of_python(text) if "amd64" in word} == {3, 4}


def test_scripts_are_clean_for_shellcheck() -> None:
    perl = [p for p in SCRIPTS if p.read_text().startswith("#!/usr/bin/perl")]
    assert len(perl) == 1
    names = [str(p) for p in SCRIPTS if p.suffix != ".service" and p not in perl]
    done = subprocess.run(
        ["shellcheck", "--shell=sh", *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_file_for_the_image_is_sent() -> None:
    assert {p.name for p in SCRIPTS if p.parent.name == "files"} == {
        *IMAGE_FILES,
        *TOOL_FILES,
    }


@pytest.mark.parametrize("hook", HOOKS, ids=lambda p: p.name)
def test_hooks_declare_the_programs_that_they_call(hook: Path) -> None:
    """Every program of the initramfs that a hook calls stands in its header (or init's)."""
    if hook.name == "lib.sh":
        return
    known = {"mount", "umount", "mkdir", "dd", "tar", "rm", "cp", "ln", "cat", "chmod", "mke2fs"}
    known |= {"blockdev", "modprobe", "fstrim", "e2fsck", "mkfifo", "sync", "sleep"}
    script = load_hook(hook.name)
    body = "\n".join(line for line in script.text.splitlines() if not line.startswith("#"))
    body = re.sub(r"<<-?'?(\w+)'?\n.*?\n\s*\1\n", "\n", body, flags=re.DOTALL)
    called = set(re.findall(r"(?:^|[;&|(]|\bthen|\bdo)\s*(?:[A-Z_]+='[^']*'\s+)?(\w+)", body, re.M))
    declared = set(script.programs) | set(load_hook("init").programs)
    assert called & known <= declared


#: Settings that functions of lib.sh read.
LIBRARY = {"mount_esp": {"ESP_UUID", "ESP_MOUNT"}, "unsynced": {"WITHOUT_FSYNC"}}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda p: p.name)
def test_hooks_declare_the_settings_that_they_read(hook: Path) -> None:
    """What a layer is kept under is made of declared settings: another would be no input."""
    if hook.name == "lib.sh":
        return
    body = "\n".join(n for n in hook.read_text().splitlines() if not n.lstrip().startswith("#"))
    read = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", body)) & make_plan().settings.keys()
    for function, settings in LIBRARY.items():
        read |= settings if re.search(rf"\b{function}\b", body) else set()
    assert read <= set(load_hook(hook.name).needs)


def test_the_library_of_hooks_reads_no_other_setting() -> None:
    text = (SOURCE / "hooks" / "lib.sh").read_text()
    read = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", text)) & make_plan().settings.keys()
    # in_target's; it is part of every layer's key.
    assert read - set().union(*LIBRARY.values()) == {"SOURCE_DATE_EPOCH"}


def test_no_two_test_modules_have_the_same_name() -> None:
    """pytest imports them all as top-level modules when it collects more than one folder."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


#: Where the time of day is wanted: ages and times of files.
OF_DAY = {"scratch.py", "ext4/make.py", "unpacking/prepare.py", "cli/holdings.py"}


def test_durations_are_measured_by_a_clock_that_does_not_jump() -> None:
    pattern = re.compile(
        r"\b(time\.(time|time_ns|localtime|gmtime|ctime)|datetime\.(now|utcnow|today))\b"
    )
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
        or re.search(r"^from time import", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found <= OF_DAY
