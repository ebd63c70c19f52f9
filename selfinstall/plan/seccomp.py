"""A seccomp filter that lets system calls succeed without being made.

As the kernel takes it (``struct sock_filter``, linux/filter.h): the instructions of classic BPF one
after the other, in the byte order of the machine that runs them.
"""

from __future__ import annotations

import struct

from elftools.elf.enums import ENUM_E_MACHINE

from selfinstall.arch import Arch, Elf

#: linux/audit.h: what an architecture's number says beside its ELF machine.
_AUDIT_64BIT = 0x8000_0000
_AUDIT_LITTLE_ENDIAN = 0x4000_0000
#: linux/bpf_common.h: BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K.
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
#: Offsets in ``struct seccomp_data`` (linux/seccomp.h).
_NUMBER, _ARCH = 0, 4
#: linux/seccomp.h.  An error whose number is 0 is success.
_ALLOW, _NO_ERROR = 0x7FFF_0000, 0x0005_0000


def without_fsync(arch: Arch) -> bytes:
    """The filter under which programs of *arch* make neither fsync nor fdatasync.

    Programs of other architectures, which have other numbers, are let alone.
    """
    numbers = (arch.calls.fsync, arch.calls.fdatasync)
    steps = [
        (_LOAD, 0, 0, _ARCH),
        # To what allows, the last but one.
        (_JUMP_IF_EQUAL, 0, len(numbers) + 1, audit_arch(arch.elf)),
        (_LOAD, 0, 0, _NUMBER),
        *(
            (_JUMP_IF_EQUAL, len(numbers) - place, 0, number)
            for place, number in enumerate(numbers)
        ),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _NO_ERROR),
    ]
    order = "<" if arch.elf.little_endian else ">"
    return b"".join(struct.pack(f"{order}HBBI", *step) for step in steps)


def without_fsync_setting(arch: Arch) -> str:
    """What ``unsynced`` in the hooks' lib.sh reads: prctl's number, the filter as hex digits."""
    return f"{arch.calls.prctl} {without_fsync(arch).hex()}"


def audit_arch(elf: Elf) -> int:
    """The ``AUDIT_ARCH_…`` of linux/audit.h for programs of *elf*'s architecture."""
    number: int = ENUM_E_MACHINE[elf.machine]
    if elf.bits == 64:
        number |= _AUDIT_64BIT
    if elf.little_endian:
        number |= _AUDIT_LITTLE_ENDIAN
    return number
