"""From real tarballs to images that boot, with what a user relies on checked inside them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import PASSWORD
from machine import PATIENCE, SELFINSTALL, Console

from selfinstall.image.inspect import parse_gpt


def selfinstall(
    *words: str | Path, check: bool = True, **options: object
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*SELFINSTALL, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,  # type: ignore[call-overload]
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


#: By the network of the build's guest, the host's loopback is 10.0.2.2.
HOOK = """#!/bin/bash
set -e
uname -m >/root/hook-ran
id -u >>/root/hook-ran
echo "from the guest: $1" >"/dev/tcp/10.0.2.2/$PORT"
"""


def check_file_systems(image: Path, folder: Path) -> None:
    """What the tools of each find in a raw image as it was delivered."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    environment = {**os.environ, "PATH": path, "LC_ALL": "C"}

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            [*map(str, words)], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "No errors detected" in run("sfdisk", "--verify", image)
    with image.open("rb") as stream:
        partitions = parse_gpt(stream.read(34 * 512))
        assert partitions is not None
        esp = next(p for p in partitions if p.name.startswith("esp"))
        stream.seek(esp.start)
        (folder / "esp").write_bytes(stream.read(esp.size))
    run("fsck.vfat", "-n", folder / "esp")
    run("e2fsck", "-f", "-n", f"{image}?offset={partitions[-1].start}")


def test_a_kernel_less_tarball_becomes_a_machine(
    minbase: Path, tmp_path: Path, password_file: Path, consoles: list[Console]
) -> None:
    """BIOS and UEFI (verify), login, network, state, a root that grows, another kernel."""
    image = tmp_path / "a.img"
    hook = tmp_path / "hook"
    hook.write_text(HOOK)
    manifest = tmp_path / "manifest.json"
    with socket.create_server(("127.0.0.1", 0)) as server:
        selfinstall(
            "--tarball", minbase, "-o", image, "--root-password-file", password_file,
            "--hostname", "grown", "--customize-hook", hook, "--manifest", manifest,
            "--customize-env", f"PORT={server.getsockname()[1]}", "--customize-network",
            "--user", "jo", "--user-password-file", password_file,
        )  # fmt: skip
        server.settimeout(1)
        with server.accept()[0] as guest:
            assert guest.recv(20) == b"from the guest: /\n"
    written = json.loads(manifest.read_text())
    assert {b["firmware"] for b in written["boots"]} == {"bios", "efi"}
    assert "linux-image-amd64" in {p["name"] for p in written["packages"]}
    assert all(p["status"].startswith("ii") for p in written["packages"])
    check_file_systems(image, tmp_path)
    selfinstall("verify", image, "--firmware", "bios", "--manifest", manifest)
    # Sealed: what the file system does not use takes no room.
    assert image.stat().st_blocks * 512 < 2 << 30

    subprocess.run(["qemu-img", "resize", "-q", "-f", "raw", image, "+5G"], check=True)
    console = Console(image, "--firmware", "efi", "--write", log=tmp_path / "console")
    consoles.append(console)
    console.login(PASSWORD)
    assert console.run("uname -m; cat /root/hook-ran").split() == ["x86_64", "x86_64", "0"]
    assert console.run("hostname") == "grown"
    assert console.run("systemctl is-system-running --wait") == "running"
    size = int(console.run("findmnt -bno SIZE /"))
    assert size > 14.5 * (1 << 30)
    # It is mounted when it is used first, which is now or was before.
    assert console.run("ls /boot/efi") == "EFI"
    assert console.run("findmnt -no FSTYPE -t vfat /boot/efi") == "vfat"
    assert "No errors detected" in console.run("sfdisk --verify /dev/vda 2>&1")
    grows_by_nothing(console)
    assert console.run("dpkg --audit; dpkg --verify") == ""
    assert console.run("apt-mark showmanual").split().count("linux-image-amd64") == 1
    assert "linux-base" in console.run("apt-mark showauto").split()
    assert len(console.run("cat /etc/machine-id")) == 32
    assert console.run("find /etc/initramfs-tools -name '*selfinstall*'") == ""
    assert console.run("su jo -c 'id -un'") == "jo"

    # The index files that the build made from stripped modules are depmod's own, bit for bit.
    console.run("cd /lib/modules/$(uname -r) && sha256sum modules.* >/tmp/sums && depmod")
    console.run("sha256sum --check --quiet /tmp/sums; cd")

    before = console.run("uname -r")
    console.run("apt-get -qq update")
    console.run("apt-get -qq -y install linux-image-cloud-amd64 >/dev/null 2>&1")
    cloud = console.run("ls /boot/vmlinuz-*cloud*").removeprefix("/boot/vmlinuz-")
    assert cloud != before
    # Of equal versions, GRUB takes the flavour that sorts last.
    console.child.sendline("reboot")
    console.login(PASSWORD)
    assert console.run("uname -r") == cloud
    console.power_off()


def grows_by_nothing(console: Console) -> None:
    """Where the disk has not grown since, the growing root does and says nothing."""
    state = "{ sfdisk --dump /dev/vda; findmnt -bno SIZE /; dmesg | grep -c resiz; } | sha256sum"
    before = console.run(state)
    assert console.run("/usr/local/sbin/selfinstall-grow-root 2>&1") == ""
    assert console.run(state) == before


def wait_for_ssh(port: int, console: Console) -> None:
    """Wait for sshd, which comes after the prompt; qemu itself takes connections at any time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=60) as link,
        ):
            if link.recv(4) == b"SSH-":
                return
        # A guest whose console nobody reads stands still once the terminal's buffer is full.
        console.drain(1)
    console.child.sendline()
    console.login(PASSWORD, "jo")
    units = "ssh selfinstall-host-keys systemd-networkd"
    console.child.sendline(f"systemctl --no-pager status {units}; ip -brief address; networkctl")
    console.drain(60)
    pytest.fail(f"no sshd at port {port} within {PATIENCE} s:\n{console.child.before}")


def test_a_bookworm_debootstrap_tarball_with_an_ssh_key(
    bookworm: Path, tmp_path: Path, password_file: Path, consoles: list[Console]
) -> None:
    key = tmp_path / "ke, y 'é"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    image = tmp_path / "b.qcow2"
    selfinstall(
        "--tarball", bookworm, "-o", image, "--ssh-key", f"{key}.pub",
        "--image-apt-proxy", "http://localhost:3142",
        "--user", "jo", "--user-password-file", password_file,
    )  # fmt: skip
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image]))
    assert info["format"] == "qcow2" and info["virtual-size"] == 10 << 30
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    console = Console(image, "--firmware", "bios", "--forward", f"{port}:22", log=tmp_path / "con")
    consoles.append(console)
    console.child.expect("login: ")
    wait_for_ssh(port, console)
    ssh = ["ssh", "-q", "-i", str(key), "-p", str(port), "-o", "StrictHostKeyChecking=no"]
    ssh += ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    for user in ("root", "jo"):
        done = subprocess.run(
            [*ssh, f"{user}@127.0.0.1", "id -un; . /etc/os-release; echo $VERSION_CODENAME"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.stdout.split() == [user, "bookworm"], done
    shadow = subprocess.check_output([*ssh, "root@127.0.0.1", "grep ^root: /etc/shadow"], text=True)
    assert shadow.split(":")[1] in ("*", "!*", "!")
    asked = [*ssh, "jo@127.0.0.1", "apt-config dump Acquire::http::Proxy"]
    told = subprocess.check_output(asked, text=True)
    assert told == 'Acquire::http::Proxy "http://10.0.2.2:3142";\n'


@pytest.mark.parametrize("format", ["vmdk", "vhdx", "vdi"])
def test_other_formats_boot(
    complete: Path, tmp_path: Path, password_file: Path, format: str
) -> None:
    """Without any network: apt would be told of a proxy that nobody answers at.

    And in folders whose names hold what options, shells and tools could take for their own.
    """
    odd = tmp_path / "a, b=c 'd\" é日 %s;$(e)#:\\,,"
    (odd / "tmp").mkdir(parents=True)
    tarball, password, hook = odd / "t,a r.zst", odd / "pass, wörd", odd / "ho, o'k"
    tarball.symlink_to(complete)
    password.write_bytes(password_file.read_bytes())
    hook.write_text("#!/bin/sh\ntouch /root/hook-ran\n")
    image = odd / f"c, '日.{format}"
    environment = {
        **os.environ,
        "http_proxy": "http://127.0.0.1:9",
        "XDG_CACHE_HOME": str(odd / "ca,che"),
        "TMPDIR": str(odd / "tmp"),
    }
    firmware = "efi" if format == "vdi" else "bios"
    selfinstall(
        "--tarball", tarball, "-o", image, "--format", format, "--no-verify",
        "--root-password-file", password, "--customize-hook", hook, "--log", odd / "l, og",
        "--manifest", odd / "mani, fest", env=environment,
    )  # fmt: skip
    assert not (odd / "ca,che" / "selfinstall" / "debs").exists()
    assert (odd / "l, og").read_text(errors="replace").startswith("# with: selfinstall ")
    assert json.loads((odd / "mani, fest").read_text())["packages"]
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image]))
    assert info["format"] == format
    before = image.read_bytes()[: 1 << 20], image.stat().st_mtime_ns
    selfinstall("verify", image, "--firmware", firmware, env=environment)
    assert list((odd / "tmp").iterdir()) == []
    assert (image.read_bytes()[: 1 << 20], image.stat().st_mtime_ns) == before


def test_two_builds_side_by_side_and_packages_from_a_folder(minbase: Path, tmp_path: Path) -> None:
    """The first build fills the cache; its packages then serve two more without a network."""
    cache = tmp_path / "cache"
    selfinstall("--tarball", minbase, "-o", tmp_path / "0.img", "--cache", cache, "--no-verify")
    folder = tmp_path / "pack, ages ü"
    shutil.copytree(next(cache.rglob("*.deb")).parent, folder)
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
    running = [
        subprocess.Popen(
            [
                *SELFINSTALL, "--tarball", minbase, "-o", tmp_path / f"{name}.img", "--no-verify",
                "--packages", folder, "--cache", cache, "--hostname", name,
            ],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    selfinstall("verify", tmp_path / "two.img", "--firmware", "bios")
    assert sorted(p.name for p in tmp_path.glob("*.img")) == ["0.img", "one.img", "two.img"]
