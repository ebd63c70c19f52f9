"""Shortcuts while the first initramfs is made: the same outcome with fewer processes."""

from __future__ import annotations

import os
import shlex
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

SHORTCUTS = Path(str(files("selfinstall") / "hooks" / "files" / "selfinstall-shortcuts"))
#: hook-functions of initramfs-tools looks for variants of libraries by these.
VARIANTS = (
    r"s#/lib/\([^/]*/\)\?\(tls\|i686\|sse2\|neon\|vfp\).*/\(lib.*\)#/lib/\1\3#",
    r"s#-linux-gnu/\(tls\|i686\|sse2\|neon\|vfp\).*/\(lib.*\)#-linux-gnu/\2#",
)


def shell(
    script: str, *, starts: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run *script* with the shortcuts.

    :param starts: a file that gets a line for each program that is started.
    """
    log = "" if starts is None else _logging(starts)
    return subprocess.run(
        ["sh", "-c", f". {shlex.quote(str(SHORTCUTS))}\n{log}\n{script}"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **environment},
    )


def _logging(starts: Path) -> str:
    """``command`` is how the shortcuts start what they stand for."""
    return f'command() {{ echo "$1" >>{shlex.quote(str(starts))}; "$(which "$1")" "${{@:-}}"; }}'


def plain(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files, folders and links of all kinds."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("")
    (tmp_path / "a/link").symlink_to("b/file")
    (tmp_path / "a/chain").symlink_to("link")
    (tmp_path / "folder-link").symlink_to("a/b")
    (tmp_path / "absolute").symlink_to(tmp_path / "a/b/file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "with space").write_text("")
    return tmp_path


PATHS = (
    "a/b/file",
    "a/b",
    "a/link",
    "a/chain",
    "a//b/file",
    "a/./b/file",
    "a/../a/b/file",
    "a/b/",
    "a/b/.",
    "a/b/..",
    "folder-link",
    "folder-link/file",
    "absolute",
    "dangling",
    "missing",
    "missing/file",
    "missing/../a",
    "with space",
    "a/b/.hidden",
    "a/...",
    "",
)


@pytest.mark.parametrize(
    "command",
    [
        ["realpath", "-ms"],
        ["realpath", "-s"],
        ["realpath", "-m"],
        ["realpath"],
        ["readlink", "-f"],
        ["readlink"],
        ["basename"],
        ["dirname"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("before", ["", "/", "//", "relative", "././"])
def test_paths_are_what_the_programs_say(command: list[str], before: str, folder: Path) -> None:
    for name in PATHS:
        path = name if before == "relative" else f"{before}{folder}/{name}"
        by_us = shell(f"cd {shlex.quote(str(folder))}\n" + shlex.join([*command, path]))
        by_them = subprocess.run(
            [*command, path], capture_output=True, text=True, check=False, cwd=folder
        )
        assert (by_us.stdout, by_us.returncode) == (by_them.stdout, by_them.returncode), path


@pytest.mark.parametrize(
    "words",
    [
        *(["/"], ["//"], ["a"], ["/a"], ["a/"], ["."], [".."], ["/a/"], ["-a", "b"], ["a b/c d"]),
        *(["a/b.c", ".c"], ["--", "a/b"], [], ["./functions"], ["./init-top/udev"]),
    ],
    ids=shlex.join,
)
@pytest.mark.parametrize("program", ["basename", "dirname"])
def test_names_and_folders(program: str, words: list[str]) -> None:
    by_us, by_them = shell(shlex.join([program, *words])), plain(program, *words)
    assert (by_us.stdout, by_us.returncode) == (by_them.stdout, by_them.returncode)


@pytest.mark.parametrize(
    "line",
    [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so",
        "/lib/i386-linux-gnu/i686/cmov/libcrypto.so.1",
        "/lib/arm-linux-gnueabihf/neon/vfp/libx.so",
        "/lib/tls/i686/libpthread.so.0",
        "/usr/lib/x86_64-linux-gnu/libgnutls.so.30",
        "",
    ],
)
@pytest.mark.parametrize("expression", VARIANTS)
def test_variants_of_libraries(line: str, expression: str, tmp_path: Path) -> None:
    script = f"printf '%s\\n' {shlex.quote(line)} | sed -e {shlex.quote(expression)}"
    assert shell(script).stdout == plain("sh", "-c", script).stdout


def test_no_sed_is_started_for_a_library_without_variants(tmp_path: Path) -> None:
    log = tmp_path / "started"
    for expression in VARIANTS:
        shell(
            f"echo /lib/x86_64-linux-gnu/libc.so.6 | sed -e {shlex.quote(expression)}", starts=log
        )
    assert not log.exists()
    shell(f"echo /lib/neon/libx.so | sed -e {shlex.quote(VARIANTS[0])}", starts=log)
    assert log.read_text() == "sed\n"


def test_no_program_is_started_for_tidy_paths(folder: Path) -> None:
    log = folder / "started"
    path = shlex.quote(f"{folder}/a/b/file")
    script = f"realpath -ms /{path}; realpath -s {path}; readlink -f {path}; mkdir -p {folder}/a"
    found = shell(f"{script}; basename {path}; dirname ./a/b", starts=log)
    assert found.returncode == 0, found.stderr
    assert not log.exists(), log.read_text()
    shell(f"mkdir -p {folder}/new", starts=log)
    assert log.read_text() == "mkdir\n"


def test_whether_usr_is_merged_is_known() -> None:
    assert shell("readlink -f /bin", SELFINSTALL_BIN="/usr/bin").stdout == "/usr/bin\n"
    assert shell("readlink -f /bin").stdout == plain("readlink", "-f", "/bin").stdout


needs_merged = pytest.mark.skipif(
    os.path.realpath("/bin") != "/usr/bin" or not Path("/usr/bin/ld.so").exists(),
    reason="this host has no merged /usr, or no ld.so among its programs",
)


def libraries(program: str) -> set[Path]:
    words = plain("ldd", program).stdout.split()
    return {Path(word) for word in words if word.startswith("/")}


@pytest.fixture
def new_root(tmp_path: Path) -> Path:
    """What mkinitramfs begins with."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (tmp_path / "usr" / name).mkdir(parents=True)
        (tmp_path / name).symlink_to(f"usr/{name}")
    return tmp_path


def told(program: str, new_root: Path, **environment: str) -> set[Path]:
    """The libraries that copy_exec gets to know."""
    answer = shell(
        f"env --unset=LD_PRELOAD ldd {program}",
        DESTDIR=str(new_root),
        SELFINSTALL_BIN="/usr/bin",
        **environment,
    )
    assert answer.stderr == ""
    return {Path(word) for word in answer.stdout.split() if word.startswith("/")}


@needs_merged
@pytest.mark.parametrize("program", ["/usr/bin/tar", "/usr/bin/find", "/usr/bin/dpkg"])
def test_libraries_are_copied_at_once(program: str, new_root: Path) -> None:
    """With the links that lead to them; a link that counts from the root is copy_exec's."""
    left, expected = told(program, new_root), libraries(program)
    absolute = {path for path in expected if path.is_symlink() and path.readlink().is_absolute()}
    assert left == absolute
    assert len(expected - left) > 1
    for path in expected - left:
        found = new_root / path.relative_to("/")
        assert found.read_bytes() == path.read_bytes()
        assert found.stat().st_mode == path.stat().st_mode
        assert found.resolve().is_relative_to(new_root)
    # No more than these, and what their links lead to.
    files = {path for path in new_root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert {path.relative_to(new_root) for path in files} == {
        path.resolve().relative_to("/") for path in expected
    }


@needs_merged
def test_what_is_there_already_is_left_alone(new_root: Path) -> None:
    path = next(path for path in libraries("/usr/bin/tar") if "libc.so" in path.name)
    there = new_root / path.relative_to("/")
    there.parent.mkdir(parents=True)
    there.write_text("the hook's own")
    assert path not in told("/usr/bin/tar", new_root)
    assert there.read_text() == "the hook's own"


@pytest.mark.parametrize("program", ["/etc/hostname", "/nonexistent"])
def test_what_has_no_libraries_is_told_by_ldd(program: str, tmp_path: Path) -> None:
    there = shell(f"env --unset=LD_PRELOAD ldd {program}", DESTDIR=str(tmp_path))
    assert (there.stdout, there.returncode) == (
        (done := plain("env", "--unset=LD_PRELOAD", "ldd", program)).stdout,
        done.returncode,
    )
    assert not list(tmp_path.iterdir())


def test_an_archive_is_written_in_large_pieces(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    pack = f"cd {shlex.quote(str(tmp_path))} && ls | cpio --quiet -o -H newc"
    traced = [*shlex.split("strace -f -e trace=write -o"), str(tmp_path.with_suffix(".calls"))]
    script = f". {shlex.quote(str(SHORTCUTS))}\n{pack}"
    by_us = subprocess.run([*traced, "sh", "-c", script], capture_output=True, check=True).stdout
    by_them = subprocess.run(["sh", "-c", pack], capture_output=True, check=True).stdout
    assert by_us.rstrip(b"\0") == by_them.rstrip(b"\0")
    assert len(by_us) % 65536 == 0
    assert len(tmp_path.with_suffix(".calls").read_text().splitlines()) < 20


def test_the_hardware_database_is_left_out(new_root: Path) -> None:
    place = shlex.quote(str(new_root))
    assert shell(f"cp -p /usr/lib/udev/hwdb.bin {place}/hwdb.bin").returncode == 0
    assert shell(f"cp -p /etc/passwd {place}/passwd").returncode == 0
    assert not (new_root / "hwdb.bin").exists()
    assert (new_root / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()
    assert shell(f"cp -p {place}/missing {place}/x").returncode == 1


@pytest.fixture
def klibc(tmp_path: Path) -> Path:
    """A folder that stands for klibc's programs."""
    (tmp_path / "programs").mkdir()
    for name in ("ls", "mount", "sh"):
        (tmp_path / "programs" / name).write_text(name)
    return tmp_path / "programs"


@pytest.mark.parametrize("missing", [False, True])
def test_klibcs_programs_are_copied_at_once(missing: bool, klibc: Path, tmp_path: Path) -> None:
    new, starts = tmp_path / "new", tmp_path / "starts"
    (new / "bin").mkdir(parents=True)
    if missing:
        (klibc / "mount").unlink()
    text = SHORTCUTS.read_text().replace("/usr/lib/klibc/bin", str(klibc))
    (tmp_path / "shortcuts").write_text(text)
    script = "\n".join(
        [
            f". {tmp_path}/shortcuts",
            f'command() {{ echo "$1" >>{starts}; /usr/bin/env "$@"; }}',
            *(f'cp -pL "{klibc}/{name}" "$DESTDIR/bin"' for name in ("ls", "mount", "sh")),
            f'cp -pL {klibc}/sh "$DESTDIR"',
        ]
    )
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "DESTDIR": str(new)},
    )
    assert done.returncode == (1 if missing else 0), done.stderr
    assert (new / "sh").read_text() == "sh"
    assert starts.read_text().split() == ["cp", "cp"]
    assert sorted(path.name for path in (new / "bin").iterdir()) == (
        ["ls", "sh"] if missing else ["ls", "mount", "sh"]
    )


def test_env_is_env(tmp_path: Path) -> None:
    assert shell("env X=1 sh -c 'echo $X'").stdout == "1\n"
    assert not list(tmp_path.iterdir())


@needs_merged
def test_a_verbose_hook_hears_of_each_library(new_root: Path) -> None:
    """copy_exec tells what it copies; so it has to copy all."""
    before = set(new_root.rglob("*"))
    assert told("/usr/bin/tar", new_root, verbose="y") == libraries("/usr/bin/tar")
    assert set(new_root.rglob("*")) == before


DEP = """\
kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz:
kernel/drivers/hv/hv-vmbus.ko.xz:
kernel/drivers/net/not_virtio_blk.ko.xz:
kernel/drivers/net/virtio_blk_too.ko.xz:
extra.ko:
"""


def test_modules_are_copied_at_once_with_what_they_need(tmp_path: Path) -> None:
    source, target = tmp_path / "lib/modules/6.12", tmp_path / "new"
    for line in DEP.splitlines():
        module = source / line.partition(":")[0]
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(line)
    (source / "modules.dep").write_text(DEP)
    (target / "lib/modules/6.12").mkdir(parents=True)
    # The same functions for a root that is elsewhere.
    text = SHORTCUTS.read_text().replace("/lib/modules/", f"{tmp_path}/lib/modules/")
    text = text.replace(f"$DESTDIR{tmp_path}", "$DESTDIR")
    done = subprocess.run(
        ["sh", "-euc", text + "selfinstall_modules ext4 hv_vmbus virtio-blk extra absent"],
        env={"PATH": os.environ["PATH"], "DESTDIR": str(target), "version": "6.12"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    copied = {path.relative_to(target / "lib/modules/6.12") for path in target.rglob("*.ko*")}
    assert {str(path) for path in copied} == {
        "kernel/fs/ext4/ext4.ko.xz",
        "kernel/lib/crc16.ko.xz",
        "kernel/fs/jbd2/jbd2.ko.xz",
        "kernel/drivers/block/virtio_blk.ko.xz",
        "kernel/drivers/hv/hv-vmbus.ko.xz",
        "extra.ko",
    }


@pytest.fixture
def depmod(tmp_path: Path) -> str:
    """The shortcuts, for folders of the test's own and a depmod that tells what it reads."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/depmod"
    program.write_text(
        '#!/bin/sh\ncd "$3/lib/modules/$4" && cat $(find . -name "*.ko*" | sort) >modules.dep\n'
    )
    program.chmod(0o755)
    return SHORTCUTS.read_text().replace("/run/selfinstall", f"{tmp_path}/run")


@pytest.mark.parametrize("complete", [True, False])
def test_depmod_of_the_new_root_reads_copies(complete: bool, tmp_path: Path, depmod: str) -> None:
    """If there is one of each module; else the modules themselves."""
    new, copies = tmp_path / "new/lib/modules/6.12", tmp_path / "run/modules/6.12"
    for folder, content in ((new, "module"), (copies, "copy")):
        for name in ("kernel/a.ko.xz", "kernel/fs/b.ko"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{content} {name}\n")
    (copies / "kernel/not-in-the-new-root.ko").write_text("copy\n")
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        (new / name).write_text(name)
    if not complete:
        (copies / "kernel/fs/b.ko").unlink()
    done = subprocess.run(
        ["sh", "-c", depmod + 'depmod -a -b "$DESTDIR" 6.12'],
        env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "DESTDIR": str(tmp_path / "new")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    kind = "copy" if complete else "module"
    assert (new / "modules.dep").read_text() == f"{kind} kernel/a.ko.xz\n{kind} kernel/fs/b.ko\n"
    assert (new / "kernel/a.ko.xz").read_text() == "module kernel/a.ko.xz\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["modules"]
