"""The kernel inside a PC's bzImage, for qemu to start without the guest unpacking it.

Emulated, that takes as long as all the rest of the kernel's start.  qemu (4.0 and later) loads a
plain x86 kernel by its PVH entry point, which is told by a note of the program
(xen/include/public/elfnote.h); Debian's amd64 kernels have it (CONFIG_PVH).

Header and payload: Documentation/arch/x86/boot.rst of the kernel, "The real-mode kernel header".
"""

from __future__ import annotations

import struct

from selfinstall.errors import InputError
from selfinstall.initramfs.elf import section_bytes
from selfinstall.initramfs.modules import decompressed

#: At 0x202; the offset of the payload is told from this version of the protocol on.
_MAGIC, _VERSION = b"HdrS", 0x0208
#: setup_sects at 0x1f1, with what 0 stands for; payload_offset and payload_length at 0x248.
_SECTOR, _SETUP, _SETUP_DEFAULT, _PAYLOAD = 512, 0x1F1, 4, 0x248
_GZIP = b"\x1f\x8b"
#: XEN_ELFNOTE_PHYS32_ENTRY
_OWNER, _PVH = b"Xen\0", 18


def unpacked(image: bytes) -> bytes:
    """The program inside a bzImage, if it can be started by itself; else *image* as it is."""
    if image[0x202:0x206] != _MAGIC or len(image) < _PAYLOAD + 8:
        return image
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < _VERSION:
        return image
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    begin = (1 + (image[_SETUP] or _SETUP_DEFAULT)) * _SECTOR + offset
    payload = image[begin : begin + length]
    if not payload.startswith(_GZIP):
        # Behind what other programs packed the kernel's build writes its unpacked size.
        payload = payload[:-4]
    try:
        content = decompressed(payload, "kernel")
        alone = content is not payload and (_OWNER, _PVH) in _notes(content)
    except InputError:
        # The guest will tell, if it cannot either.
        return image
    return content if alone else image


def _notes(program: bytes) -> set[tuple[bytes, int]]:
    """Owner and type of each note of an ELF program (gABI, "Note Section").

    :raises InputError: it is no sound ELF program.
    """
    notes = section_bytes(program, ".notes", "the kernel")
    found, place = set(), 0
    while place + 12 <= len(notes):
        owner, content, kind = struct.unpack_from("<III", notes, place)
        found.add((notes[place + 12 : place + 12 + owner], kind))
        place += 12 + (owner + 3 & ~3) + (content + 3 & ~3)
    return found
