"""What an emulated machine tells systemd: credentials, as strings of its SMBIOS.  Pure.

A program that is loaded where it was before is one that qemu before 8.0 need not translate
again (7.2.0 to 7.2.8 need not either way); so the guest gives up address randomisation.  By the
kernel's command line it could do so from the start, but that is the image's own.

The source of names and formats is systemd.system-credentials(7).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

_PARAMETER = "kernel.randomize_va_space"
_FILE = f"/proc/sys/{_PARAMETER.replace('.', '/')}"
_UNIT = "fixed-addresses.service"
#: What systemd starts first.  Each start is a program, or two (systemd-executor).
_EARLY = (
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "kmod-static-nodes.service",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "run-lock.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-journald.service",
    "systemd-modules-load.service",
    "systemd-network-generator.service",
    "systemd-remount-fs.service",
    "systemd-udev-load-credentials.service",
    "systemd-udev-trigger.service",
    "tmp.mount",
)
# Output to the journal would make it wait for the journal's socket.
_TEXT = f"""[Unit]
Description=Fixed addresses while emulated
DefaultDependencies=no
Before={" ".join(_EARLY)}

[Service]
Type=oneshot
ExecStart=sh -c "echo 0 >{_FILE}"
StandardInput=null
StandardOutput=null
StandardError=null
"""
#: Credential and content.  systemd before 256 knows the first alone, and sets it later.
CREDENTIALS = {
    "sysctl.extra": f"{_PARAMETER}=0",
    f"systemd.extra-unit.{_UNIT}": _TEXT,
    "systemd.unit-dropin.sysinit.target": f"[Unit]\nWants={_UNIT}\n",
}


def options() -> Iterator[tuple[str, str]]:
    """qemu's options for all of them.

    fw_cfg would do too, but for names of 56 characters at most.
    """
    for name, content in CREDENTIALS.items():
        # In base64, as qemu ends a string at a comma, and SMBIOS at a newline or NUL.
        value = base64.b64encode(content.encode()).decode()
        yield "-smbios", f"type=11,value=io.systemd.credential.binary:{name}={value}"
