"""Whether the hook leaves an image's network alone, run on folders of this host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from selfinstall.guestfiles import static

LIBRARY = 'in_target() { echo "$@" >>ran; }\n'
OURS = "etc/systemd/network/80-dhcp.network"


def configured(root: Path, *, adapt: bool = True, **more: str) -> bool:
    """Run the hook on *root*, with *more* settings; whether it set up DHCP."""
    files = root.parent / "files"
    files.mkdir(exist_ok=True)
    for name in ("selfinstall-grow-root", "selfinstall-grow-root.service"):
        (files / name).write_text("")
    text = static("55-machine").decode().replace(". /hooks/lib.sh", LIBRARY)
    text = text.replace("/selfinstall/files", str(files)).replace("/target", str(root))
    names = ["ROOT_UUID", "ESP_PARTITION", "ESP_UUID", "ESP_MOUNT", "BAUD", "BOOT_WRITES"]
    settings = dict.fromkeys(names, "") | {"CONSOLE": "ttyS0", "INIT": "systemd"}
    settings |= {"ADAPT": "yes" if adapt else "", "PATH": "/usr/bin:/bin", **more}
    (root / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
    subprocess.run(["sh"], env=settings, check=True, input=text, text=True)
    enabled = "enable --quiet systemd-networkd.service" in (root / "ran").read_text()
    assert (root / OURS).exists() == enabled
    assert (root / "etc/fstab").exists() != adapt
    return enabled


@pytest.mark.parametrize(
    ("path", "content", "ours"),
    [
        ("etc/os-release", "", True),
        ("etc/netplan/90-default.yaml", "", False),
        ("etc/systemd/network/wired.network", "", False),
        ("etc/network/interfaces", "auto lo\niface lo inet loopback\n", True),
        ("etc/network/interfaces", "allow-hotplug eth0\niface eth0 inet dhcp\n", False),
        ("etc/network/interfaces.d/setup", "iface ens3 inet dhcp\n", False),
        ("usr/sbin/NetworkManager", "", False),
        ("usr/sbin/netplan", "", True),
        ("etc/cloud/cloud.cfg", "", True),
    ],
)
def test_a_network_that_is_set_up_stays(
    tmp_path: Path, path: str, content: str, ours: bool
) -> None:
    place = tmp_path / "root" / path
    place.parent.mkdir(parents=True)
    place.write_text(content)
    assert configured(tmp_path / "root") == ours


def test_cloud_init_beside_ifupdown_runs_the_card(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path in ("etc/cloud/cloud.cfg", "usr/sbin/ifup"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    assert not configured(root)


def test_a_new_image_has_no_network_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc/systemd/network").mkdir(parents=True)
    (root / "etc/systemd/network/wired.network").write_text("")
    assert configured(root, adapt=False)


def test_no_boot_waits_for_the_efi_partition(tmp_path: Path) -> None:
    root = tmp_path / "root"
    esp = {"ESP_PARTITION": "2", "ESP_UUID": "1A2B-3C4D", "ESP_MOUNT": "/boot/efi"}
    configured(root, adapt=False, **esp)
    (line,) = [n for n in (root / "etc/fstab").read_text().splitlines() if "vfat" in n]
    device, place, _, options, *_ = line.split()
    assert (device, place) == ("UUID=1A2B-3C4D", "/boot/efi")
    assert {"nofail", "x-systemd.automount"} <= set(options.split(","))
