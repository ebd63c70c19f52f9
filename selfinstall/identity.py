"""Everything that must be random in an image, derived from one seed.

Equal seeds give equal ids, different purposes give unrelated ones.  Pure.
"""

from __future__ import annotations

import hashlib
import uuid


def derived_uuid(seed: str, purpose: str) -> str:
    """A UUID for *purpose*, in the form of a random one (RFC 9562, version 4)."""
    digest = hashlib.sha256(f"{purpose}\0{seed}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def fat_id(seed: str, purpose: str) -> str:
    """A FAT volume id as udev and fstab write it (``1A2B-3C4D``); never 0000-0000."""
    number = int.from_bytes(hashlib.sha256(f"{purpose}\0{seed}".encode()).digest()[:4]) or 1
    return f"{number >> 16:04X}-{number & 0xFFFF:04X}"
