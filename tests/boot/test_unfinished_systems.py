"""Images of what is not a finished tarball: a first stage of debootstrap, and none at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import PASSWORD
from machine import SELFINSTALL, Console
from test_images import grows_by_nothing

from selfinstall.packages import debian

#: All that dpkg has to say against a system: nothing.
CHECKS = (
    "dpkg --audit; dpkg --verify; dpkg-query -Wf '${db:Status-Status}\\n' | grep -vx installed || :"
)


def build(*words: str | Path) -> None:
    done = subprocess.run(
        [*SELFINSTALL, *map(str, words), "--no-verify"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_first_stage_of_debootstrap_is_finished(
    first_stage: Path, tmp_path: Path, password_file: Path, consoles: list[Console]
) -> None:
    image = tmp_path / "a.img"
    build("--tarball", first_stage, "-o", image, "--root-password-file", password_file)
    console = Console(image, "--firmware", "efi", log=tmp_path / "console")
    consoles.append(console)
    console.login(PASSWORD)
    assert console.run(CHECKS) == ""
    assert console.run("ls -d /debootstrap /var/cache/apt/archives/*.deb 2>/dev/null || :") == ""
    assert console.run("stat -c %F /proc") == "directory"
    assert console.run("systemctl is-system-running --wait") == "running"
    # What maintainer scripts make, before and after their packages' files come.
    assert console.run("getent passwd root; readlink /etc/localtime").startswith("root:")
    assert "libc6" in console.run("apt-mark showmanual").split()
    assert "linux-base" in console.run("apt-mark showauto").split()
    console.power_off()


def test_no_tarball_at_all_and_sysvinit(
    tmp_path: Path, password_file: Path, consoles: list[Console]
) -> None:
    """bookworm, whose packages still ship files outside of /usr; sysvinit in place of systemd."""
    image = tmp_path / "b.img"
    # One suite of one mirror: its pockets can be out of step for a while.
    mirror = debian.mirrors(debian.host_files()).main
    assert mirror is not None
    build(
        "--suite", "bookworm", "--mirror", mirror, "--include", "sysvinit-core",
        "-o", image, "--root-password-file", password_file,
    )  # fmt: skip
    subprocess.run(["qemu-img", "resize", "-q", "-f", "raw", image, "+3G"], check=True)
    console = Console(image, "--firmware", "bios", "--write", log=tmp_path / "console")
    consoles.append(console)
    console.login(PASSWORD)
    assert int(console.run("findmnt -bno SIZE /")) > 12.5 * (1 << 30)
    assert "No errors detected" in console.run("sfdisk --verify /dev/vda 2>&1")
    grows_by_nothing(console)
    assert console.run(CHECKS) == ""
    assert console.run("cat /proc/1/comm; readlink /bin; readlink /lib").split() == [
        "init", "usr/bin", "usr/lib",
    ]  # fmt: skip
    assert mirror in console.run("cat /etc/apt/sources.list.d/debian.sources")
    assert console.run("ls -A /var/lib/apt/lists | grep -vx partial || :") == ""
    auto = console.run("apt-mark showauto").split()
    assert "libc6" in auto
    assert not {"dpkg", "sysvinit-core", "linux-image-amd64"} & set(auto)
    # DHCP and name servers by ifupdown; apt trusts what it downloads by the image's own keys.
    assert "10.0.2." in console.run("hostname -I || ip -4 address")
    assert "InRelease" in console.run("apt-get update 2>&1")
    console.child.sendline("reboot")
    console.login(PASSWORD)
    console.power_off()
