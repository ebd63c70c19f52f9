"""Words for people: titles of steps, amounts, times.  Pure."""

from __future__ import annotations

from selfinstall.events import Event, Unit

#: What people call a step; a step that is not here goes by its own name.
TITLES = {
    "inspect": "read the tarball",
    "packages": "fetch packages",
    "layer": "look for a layer",
    "initramfs": "assemble the initramfs",
    "guest": "run the guest",
    "10-modules": "load modules",
    "20-partition": "partition the disk",
    "unpack": "make and fill the root",
    "30-format": "make the root",
    "32-esp": "make the EFI file system",
    "34-root": "wait for the root",
    "35-mount": "mount the root",
    "40-unpack": "unpack the rootfs",
    "42-second-stage": "clear up the first stage",
    "45-chroot": "enter the root",
    "50-configure": "install packages",
    "55-machine": "set up the machine",
    "60-initramfs": "make the system's initramfs",
    "65-grub-pc": "install GRUB for BIOS",
    "65-grub-efi": "install GRUB for UEFI",
    "68-grub-config": "configure GRUB",
    "69-layer": "keep a layer",
    "70-grow": "grow the root",
    "72-system": "set name and users",
    "75-customize": "run your hooks",
    "80-refresh": "refresh initramfs and boot menu",
    "90-seal": "seal the disk",
    "convert": "convert the image",
    "export": "copy kernel and initramfs out",
}
_VERIFY = "verify-"
_PREFIXES = ("", "k", "M", "G", "T")


def title(step: str) -> str:
    """What people call *step*."""
    if step.startswith(_VERIFY):
        return f"boot test ({step.removeprefix(_VERIFY)})"
    return TITLES.get(step, step)


def size(number: int) -> str:
    """A number of bytes with three digits and an SI prefix: ``166 MB``."""
    value = float(number)
    prefix = 0
    # 999.5 and more would be rounded to four digits.
    while value >= 999.5 and prefix < len(_PREFIXES) - 1:
        value /= 1000
        prefix += 1
    digits = 0 if prefix == 0 or value >= 99.95 else 1
    return f"{value:.{digits}f} {_PREFIXES[prefix]}B"


def _one(number: int, unit: Unit | None) -> str:
    return size(number) if unit == "bytes" else str(number)


def amount(event: Event) -> str:
    """How far a progress event got: ``83 MB of 166 MB``, ``12 of 57 packages``."""
    if event.done is None:
        return ""
    text = _one(event.done, event.unit)
    if event.total is not None and event.total != event.done:
        text += f" of {_one(event.total, event.unit)}"
    return f"{text} packages" if event.unit == "packages" else text


def duration(seconds: float) -> str:
    """``5.1 s`` or ``2 min 42 s``."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def outcome(progress: Event | None, end: Event) -> str:
    """What a finished step did and how long it took: ``166 MB, 5.1 s``.

    :param progress: the step's last progress event, if there was one.
    :param end: its end event.
    """
    parts = []
    last = end if end.done is not None else progress
    if last is not None and last.unit != "steps":
        parts.append(amount(last))
    if end.seconds is not None:
        parts.append(duration(end.seconds))
    return ", ".join(part for part in parts if part) or "done"
