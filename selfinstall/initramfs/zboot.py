"""EFI zboot kernels: a PE program around the compressed kernel, which qemu's -kernel may not know.

Layout: drivers/firmware/efi/libstub/zboot-header.S of the kernel.  qemu 7.2 takes none of
them, 10.0 those that are packed by gzip.
"""

from __future__ import annotations

import struct

from selfinstall.errors import InputError
from selfinstall.initramfs.modules import decompressed
from selfinstall.rootfs.source import label

#: At byte 0 and 4; then offset and size of the payload, eight bytes, name of its compression.
_MAGIC = (b"MZ", b"zimg")


def unpacked(image: bytes, path: str) -> bytes:
    """The kernel inside an EFI zboot *image*; any other as it is.

    :raises InputError: it is damaged, or packed in an unknown way; names *path*.
    """
    if (image[:2], image[4:8]) != _MAGIC:
        return image
    offset, size = struct.unpack("<II", image[8:16].ljust(8, b"\0"))
    payload = image[offset : offset + size]
    if len(payload) != size or not payload:
        raise InputError(f"the kernel {path} is damaged: it ends too early")
    content = decompressed(payload, f"kernel {path}")
    if content is payload:
        how = image[24:32].partition(b"\0")[0].decode("ascii", "replace")
        raise InputError(f"the kernel {path} is packed in an unknown way: {label(how)}")
    return content
