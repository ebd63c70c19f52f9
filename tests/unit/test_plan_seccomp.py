"""The filter without fsync: its numbers, and what the kernel makes of it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from selfinstall.arch import all_arches
from selfinstall.plan.seccomp import audit_arch, without_fsync, without_fsync_setting

#: linux/audit.h.
AUDIT = {
    "amd64": 0xC000003E,
    "arm64": 0xC00000B7,
    "armel": 0x40000028,
    "armhf": 0x40000028,
    "i386": 0x40000003,
    "loong64": 0xC0000102,
    "mips64el": 0xC0000008,
    "mipsel": 0x40000008,
    "ppc64el": 0xC0000015,
    "riscv64": 0xC00000F3,
    "s390x": 0x80000016,
}
#: Debian's names of the architectures that these tests may run on.
HERE = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "ppc64le": "ppc64el"}
LIB = Path(str(files("selfinstall") / "hooks" / "lib.sh"))
#: Asks for calls with a descriptor that is none, and says what they say.
ASK = """
import os
for call in (os.fsync, os.fdatasync, os.fstat, os.close):
    try:
        call(999)
    except OSError as error:
        print(call.__name__, error.errno)
    else:
        print(call.__name__, "nothing")
"""
PR_SET_NO_NEW_PRIVS = 38


@pytest.mark.parametrize("name", sorted(all_arches()))
def test_architectures_have_the_kernels_numbers(name: str) -> None:
    assert audit_arch(all_arches()[name].elf) == AUDIT[name]


@pytest.mark.parametrize("name", sorted(all_arches()))
def test_the_filter_step_by_step(name: str) -> None:
    arch = all_arches()[name]
    code = without_fsync(arch)
    order = "<" if arch.elf.little_endian else ">"
    allowed, nothing = 0x7FFF0000, 0x00050000
    ignored = (arch.calls.fsync, arch.calls.fdatasync)
    for number in (0, 1, *ignored, *(n + 1 for n in ignored), arch.calls.prctl):
        expected = nothing if number in ignored else allowed
        assert verdict(code, order, number, AUDIT[name]) == expected
        assert verdict(code, order, number, AUDIT[name] ^ 1) == allowed


def verdict(code: bytes, order: str, number: int, arch: int) -> int:
    """What the filter returns for one call."""
    data = {0: number, 4: arch}
    steps = list(struct.iter_unpack(f"{order}HBBI", code))
    place, register = 0, None
    while True:
        kind, if_equal, if_not, value = steps[place]
        if kind == 0x06:
            assert isinstance(value, int)
            return value
        if kind == 0x20:
            register = data[value]
        else:
            assert kind == 0x15
            place += if_equal if register == value else if_not
        place += 1


@pytest.mark.skipif(platform.machine() not in HERE, reason="the numbers here are not known")
def test_the_kernel_takes_it() -> None:
    answer = unsynced(sys.executable, "-c", ASK)
    # EBADF from what is really called.
    assert answer.stdout.split("\n")[:2] == ["fsync nothing", "fdatasync nothing"]
    assert answer.stdout.split("\n")[2:] == ["fstat 9", "close 9", ""]


def test_without_perl_it_is_run_with_fsync() -> None:
    answer = unsynced(sys.executable, "-c", ASK, perl="/no/perl")
    assert answer.stdout.split("\n")[:2] == ["fsync 9", "fdatasync 9"]
    assert unsynced("sh", "-c", "exit 3", perl="/no/perl").returncode == 3


@pytest.mark.skipif(platform.machine() not in HERE, reason="the numbers here are not known")
def test_what_is_run_is_run_as_it_is() -> None:
    assert unsynced("sh", "-c", 'printf \'<%s>\' "$0" "$@"; exit 3', "a b", "").stdout == "<a b><>"
    assert unsynced("sh", "-c", "exit 3").returncode == 3
    missing = unsynced("/no/such/program")
    assert (missing.returncode, missing.stderr) == (
        127,
        "/no/such/program: No such file or directory\n",
    )


def unsynced(*command: str, perl: str = "/usr/bin/perl") -> subprocess.CompletedProcess[str]:
    """Run it by the hooks' function, whose root is this one."""
    arch = all_arches()[HERE.get(platform.machine(), "amd64")]
    library = LIB.read_text().replace("/target/usr/bin/perl", perl)
    script = library + '\nin_target() { "$@"; }\nunsynced "$@"'

    def let_filters_in() -> None:
        # What an ordinary user needs (seccomp(2)); the guest's root does not.
        assert ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0

    return subprocess.run(
        ["sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EVENTS": "/dev/null", "WITHOUT_FSYNC": without_fsync_setting(arch)},
        preexec_fn=let_filters_in,
    )
