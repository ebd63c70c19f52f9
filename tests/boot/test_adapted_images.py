"""An image that another tool made, adapted and booted; its disk then grows."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from conftest import PASSWORD
from machine import Console
from test_images import grows_by_nothing, selfinstall


def test_an_image_of_vmdb2(
    theirs: Path, tmp_path: Path, password_file: Path, consoles: list[Console]
) -> None:
    """DOS label, no serial console, its own network: only what is asked for changes."""
    image, manifest = tmp_path / "mine.qcow2", tmp_path / "manifest.json"
    before = hashlib.sha256(theirs.read_bytes()).digest()
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\nuname -m >/root/hook-ran\n")
    selfinstall(
        "--from-image", theirs, "-o", image, "--root-password-file", password_file,
        "--user", "jo", "--include", "less", "--hostname", "mine", "--size", "4G",
        "--customize-hook", hook, "--manifest", manifest, "--no-verify",
    )  # fmt: skip
    assert hashlib.sha256(theirs.read_bytes()).digest() == before
    written = json.loads(manifest.read_text())
    assert [p["name"] for p in written["added"]] == ["less"]
    assert written["disk"]["size"] == 4 << 30 and written["from_image"] == str(theirs)

    subprocess.run(["qemu-img", "resize", "-q", image, "+2G"], check=True)
    console = Console(image, "--write", log=tmp_path / "console")
    consoles.append(console)
    console.login(PASSWORD)
    assert console.run("uname -m; cat /root/hook-ran").split() == ["x86_64", "x86_64"]
    assert console.run("hostname; getent hosts mine").split()[:2] == ["mine", "127.0.1.1"]
    assert int(console.run("findmnt -bno SIZE /")) > 5.5 * (1 << 30)
    assert "dos" in console.run("sfdisk --dump /dev/vda")
    grows_by_nothing(console)
    assert "console=ttyS0,115200" in console.run("cat /proc/cmdline")
    assert console.run("systemctl is-system-running --wait") == "running"
    assert console.run("ls /etc/systemd/network") == "wired.network"
    assert console.run("dpkg --audit; id -un jo; command -v less").split() == [
        "jo",
        "/usr/bin/less",
    ]
    assert len(console.run("cat /etc/machine-id")) == 32
    console.power_off()
