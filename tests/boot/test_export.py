"""Kernel and initramfs beside an image without boot loader keep step with its packages."""

from __future__ import annotations

import lzma
import re
import urllib.request
from pathlib import Path

import pytest
from conftest import PASSWORD
from machine import Console
from test_images import selfinstall

from selfinstall.image.export import names
from selfinstall.packages import debian


def mirror() -> str:
    name = debian.mirrors(debian.host_files()).main
    assert name is not None, "the host's apt has no mirror of Debian"
    return name


def kernels(suite: str, arch: str, flavour: str) -> list[str]:
    """Kernel packages of a flavour on the mirror, the newest last."""
    url = f"{mirror()}/dists/{suite}/main/binary-{arch}/Packages.xz"
    with urllib.request.urlopen(url) as stream:
        index = lzma.decompress(stream.read()).decode()
    found = re.findall(rf"^Package: (linux-image-\d.*-{flavour})$", index, re.MULTILINE)
    return sorted(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def test_another_kernel_installed_inside_is_exported_and_boots(
    complete: Path, tmp_path: Path, password_file: Path, consoles: list[Console]
) -> None:
    image = tmp_path / "a.qcow2"
    selfinstall(
        "--tarball", complete, "-o", image, "--root-password-file", password_file,
        "--bootloader", "none", "--no-verify",
    )  # fmt: skip
    installs_another(image, "linux-image-cloud-amd64", "*cloud*", consoles)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("arch", "flavour"), [("mips64el", "5kc-malta"), ("mipsel", "4kc-malta")], ids=str
)
def test_a_newer_kernel_is_exported_where_nothing_else_boots(
    arch: str, flavour: str, tmp_path: Path, password_file: Path, consoles: list[Console]
) -> None:
    *_, old, new = kernels("bookworm", arch, flavour)
    image = tmp_path / "a.qcow2"
    selfinstall(
        "--suite", "bookworm", "--mirror", mirror(), "--arch", arch, "--kernel", old,
        "-o", image, "--size", "4G", "--root-password-file", password_file, "--no-verify",
    )  # fmt: skip
    installs_another(image, new, new.removeprefix("linux-image-"), consoles)


def installs_another(image: Path, package: str, version: str, consoles: list[Console]) -> None:
    """Install *package* inside, whose kernel of that version is then the one that boots."""
    before = [path.read_bytes() for path in names(image)]

    console = Console(image, "--write", "--export", log=image.with_suffix(".console"))
    consoles.append(console)
    console.login(PASSWORD)
    first = console.run("uname -r")
    # An initramfs with all drivers takes minutes here.
    console.run("echo MODULES=dep >/etc/initramfs-tools/conf.d/quick")
    console.run("apt-get -qq update")
    console.run(f"apt-get -qq -y install {package} >/dev/null 2>&1")
    other = console.run(f"ls /boot/vmlinu?-{version}").partition("-")[2]
    assert other != first
    console.power_off()

    kernel, initrd, arguments = (path.read_bytes() for path in names(image))
    assert kernel != before[0] and initrd != before[1]
    assert arguments == before[2]
    console = Console(image, log=image.with_suffix(".console-2"))
    consoles.append(console)
    console.login(PASSWORD)
    assert console.run("uname -r") == other
    assert console.run("systemctl is-system-running --wait") == "running"
    console.power_off()
