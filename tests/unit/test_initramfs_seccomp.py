"""The filter without fsync: its numbers, and what the kernel makes of it."""

from __future__ import annotations

import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from selfinstall.arch import all_arches
from selfinstall.initramfs.seccomp import audit_arch, ignoring

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
#: Loads a filter as setpriv does; the first is what an ordinary user needs.
UNDER = """
import ctypes, os, struct, sys
code = open(sys.argv[1], "rb").read()
kept = ctypes.create_string_buffer(code, len(code))
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(kept))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0, ctypes.get_errno()
assert prctl(22, 2, program) == 0, ctypes.get_errno()
for call in (os.fsync, os.fdatasync, os.fstat, os.close):
    try:
        call(999)
    except OSError as error:
        print(call.__name__, error.errno)
    else:
        print(call.__name__, "nothing")
"""


@pytest.mark.parametrize("name", sorted(all_arches()))
def test_architectures_have_the_kernels_numbers(name: str) -> None:
    assert audit_arch(all_arches()[name].elf) == AUDIT[name]


@pytest.mark.parametrize("name", sorted(all_arches()))
def test_the_filter_step_by_step(name: str) -> None:
    arch = all_arches()[name]
    code = ignoring(arch.elf, arch.sync_calls)
    order = "<" if arch.elf.little_endian else ">"
    allowed, nothing = 0x7FFF0000, 0x00050000
    for number in (0, 1, *arch.sync_calls, *(n + 1 for n in arch.sync_calls), 400):
        expected = nothing if number in arch.sync_calls else allowed
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
def test_the_kernel_takes_it(tmp_path: Path) -> None:
    arch = all_arches()[HERE[platform.machine()]]
    filter_file = tmp_path / "filter"
    filter_file.write_bytes(ignoring(arch.elf, arch.sync_calls))
    answer = subprocess.run(
        [sys.executable, "-c", UNDER, filter_file], capture_output=True, text=True, check=False
    )
    # EBADF from what is really called.
    assert answer.stdout.split("\n")[:2] == ["fsync nothing", "fdatasync nothing"]
    assert answer.stdout.split("\n")[2:] == ["fstat 9", "close 9", ""]
