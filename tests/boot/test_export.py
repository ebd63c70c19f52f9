"""Kernel and initramfs beside an image without boot loader keep step with its packages."""

from __future__ import annotations

from pathlib import Path

from conftest import PASSWORD
from machine import Console
from test_images import selfinstall

from selfinstall.image.export import names


def test_another_kernel_installed_inside_is_exported_and_boots(
    complete: Path, tmp_path: Path, password_file: Path, consoles: list[Console]
) -> None:
    image = tmp_path / "a.qcow2"
    selfinstall(
        "--tarball", complete, "-o", image, "--root-password-file", password_file,
        "--bootloader", "none", "--no-verify",
    )  # fmt: skip
    before = [path.read_bytes() for path in names(image)]

    console = Console(image, "--write", "--export", log=tmp_path / "console")
    consoles.append(console)
    console.login(PASSWORD)
    first = console.run("uname -r")
    # An initramfs with all drivers takes minutes here.
    console.run("echo MODULES=dep >/etc/initramfs-tools/conf.d/quick")
    console.run("apt-get -qq update")
    console.run("apt-get -qq -y install linux-image-cloud-amd64 >/dev/null 2>&1")
    cloud = console.run("ls /boot/vmlinuz-*cloud*").removeprefix("/boot/vmlinuz-")
    assert cloud != first
    console.power_off()

    kernel, initrd, arguments = (path.read_bytes() for path in names(image))
    assert kernel != before[0] and initrd != before[1]
    assert arguments == before[2]
    console = Console(image, log=tmp_path / "console-2")
    consoles.append(console)
    console.login(PASSWORD)
    assert console.run("uname -r") == cloud
    assert console.run("systemctl is-system-running --wait") == "running"
    console.power_off()
