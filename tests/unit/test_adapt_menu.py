"""The hook that puts the console into the boot menu of an image, run on folders of this host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from selfinstall.guestfiles import static

#: in_target and event, as the hook knows them from lib.sh.
LIBRARY = """
in_target() { PATH="TARGET/usr/sbin:$PATH" "$@"; }
event() { echo "$@" >>TARGET/told; }
"""
PROGRAM = "#!/bin/sh\necho ${0##*/} >>TARGET/ran\n"


class Image:
    """A root in *folder*, with programs that only tell that they ran."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "target"
        (self.root / "usr/sbin").mkdir(parents=True)
        self.hook = folder / "hook"
        text = static("68-adopted-menu").decode().replace(". /hooks/lib.sh", LIBRARY)
        text = text.replace("/run/entry", f"{folder}/entry").replace("/target", "TARGET")
        for path in ("/etc/default", "/etc/u-boot-menu"):
            text = text.replace(f" {path}", f" TARGET{path}")
        self.hook.write_text(text.replace("TARGET", str(self.root)))

    def program(self, name: str) -> None:
        path = self.root / "usr/sbin" / name
        path.write_text(PROGRAM.replace("TARGET", str(self.root)))
        path.chmod(0o755)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text() if (self.root / path).exists() else ""

    def run(self) -> None:
        settings = {
            "KERNEL_ARGS": "console=tty0 console=ttyS0,115200",
            "GRUB_TERMINALS": "console serial",
            "GRUB_SERIAL": "serial --unit=0",
            "PATH": "/usr/bin:/bin",
        }
        subprocess.run(["sh", self.hook], env=settings, check=True)

    def grub(self) -> tuple[str, str]:
        """The command line and the terminal that GRUB's settings come to."""
        script = 'for f in etc/default/grub etc/default/grub.d/*.cfg; do . "./$f"; done'
        script += '; echo "$GRUB_CMDLINE_LINUX|${GRUB_TERMINAL-}"'
        words = ["sh", "-euc", script]
        said = subprocess.run(words, cwd=self.root, check=True, capture_output=True, text=True)
        line, _, terminal = said.stdout.strip().partition("|")
        return line, terminal


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


@pytest.fixture
def grub(image: Image) -> Image:
    image.program("update-grub")
    image.write("boot/grub/grub.cfg", "")
    image.write("etc/default/grub.d/50-cloud.cfg", "")
    return image


@pytest.mark.parametrize(
    ("settings", "line", "terminal"),
    [
        ("", "console=tty0 console=ttyS0,115200", "console serial"),
        ("GRUB_CMDLINE_LINUX=quiet\n", "quiet console=tty0 console=ttyS0,115200", "console serial"),
        ("GRUB_TERMINAL=console\n", "console=tty0 console=ttyS0,115200", "console"),
        ("GRUB_TERMINAL='gfxterm serial'\n", "console=tty0 console=ttyS0,115200", "console serial"),
    ],
)
def test_grub(grub: Image, settings: str, line: str, terminal: str) -> None:
    grub.write("etc/default/grub", "GRUB_CMDLINE_LINUX=''\n" + settings)
    for _ in range(2):  # as 80-refresh does it again
        grub.run()
        assert (grub.grub()[0].strip(), grub.grub()[1]) == (line, terminal)
    assert grub.read("ran").split() == ["update-grub"] * 2
    assert grub.read("told") == ""


def test_what_is_set_already_is_not_repeated(grub: Image) -> None:
    grub.write("etc/default/grub", "GRUB_CMDLINE_LINUX='console=ttyS0,115200 x'\n")
    cloud = "GRUB_CMDLINE_LINUX_DEFAULT='console=tty0'\nGRUB_TERMINAL='console serial'\n"
    grub.write("etc/default/grub.d/50-cloud.cfg", cloud)
    grub.run()
    assert not (grub.root / "etc/default/grub.d/selfinstall.cfg").exists()
    assert grub.read("ran").split() == ["update-grub"]


def test_u_boot_menu(image: Image) -> None:
    image.program("u-boot-update")
    image.write("boot/extlinux/extlinux.conf", "")
    image.write("etc/default/u-boot", 'U_BOOT_PARAMETERS="ro console=tty0"\n')
    image.run()
    made = image.read("etc/u-boot-menu/conf.d/selfinstall.conf")
    assert made == 'U_BOOT_PARAMETERS="${U_BOOT_PARAMETERS:-ro quiet} console=ttyS0,115200"\n'
    assert image.read("ran").split() == ["u-boot-update"]


def test_entries_of_systemd_boot(image: Image) -> None:
    entry = "boot/efi/loader/entries/debian.conf"
    image.write(entry, "title x\noptions root=UUID=1 ro console=tty0\nlinux /vmlinuz")
    image.write("etc/kernel/cmdline", "root=UUID=1 ro\n")
    image.run()
    assert image.read(entry).split("\n")[1] == (
        "options root=UUID=1 ro console=tty0 console=ttyS0,115200"
    )
    assert image.read(entry).endswith("linux /vmlinuz\n")
    assert image.read("etc/kernel/cmdline") == "root=UUID=1 ro console=tty0 console=ttyS0,115200\n"
    assert image.read("told") == ""


def test_a_loader_that_is_not_known_is_told_of(image: Image) -> None:
    image.run()
    assert "warning" in image.read("told") and image.read("ran") == ""
