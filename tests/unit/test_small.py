"""Identity, rendering, the user's files, the label: small modules, tested side by side."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jinja2
import pytest
from plan_helpers import make_plan

from selfinstall import render
from selfinstall.errors import InputError, UsageError
from selfinstall.identity import derived_uuid, fat_id
from selfinstall.image.inspect import parse_gpt
from selfinstall.image.label import make_esp, make_label
from selfinstall.image.seal import publish, unfinished
from selfinstall.inputs import read_inputs
from selfinstall.layout import SECTOR
from selfinstall.request import Request

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7J someone@example.org"


def test_derived_ids_have_their_forms() -> None:
    uuid = derived_uuid("seed", "purpose")
    assert uuid[14] == "4" and len(uuid) == 36
    assert fat_id("seed", "x")[4] == "-" and fat_id("seed", "x") != fat_id("seed", "y")


def test_rendering_refuses_what_is_not_given() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render.render("settings.j2")


@pytest.mark.parametrize(
    "value", ["it's", "$(reboot)", "`x`", "a\nb", "", "#{x}", "${#x}", "{{ x }}"]
)
def test_settings_survive_a_shell(value: str, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text(render.render("settings.j2", settings={"X": value}))
    done = subprocess.run(
        ["sh", "-euc", '. "$1"; printf %s "$X"', "sh", str(file)], capture_output=True, check=True
    )
    assert done.stdout.decode() == value


def test_a_line_cannot_become_two() -> None:
    with pytest.raises(ValueError, match="printable"):
        render.render("dpkg-steps.j2", steps=[{"action": "unpack", "words": ["a\nconfigure b"]}])


def test_inputs(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret word\nsecond line\n")
    (tmp_path / "key").write_text(f"# comment\n{KEY}\n")
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    found = read_inputs(
        Request(
            tarball=Path("x"),
            root_password_file=tmp_path / "pw",
            ssh_key=tmp_path / "key",
            customize_hooks=(tmp_path / "hook",),
        )
    )
    assert found.secrets["root-password"] == b"secret word\n"
    assert found.private
    assert "secret word" not in repr(found)
    assert found.customize == (("hook", b"#!/bin/sh\n"),)


@pytest.mark.parametrize(
    ("field", "content", "message"),
    [
        ("root_password_file", "", "empty"),
        ("root_password_file", None, "No such file"),
        ("ssh_key", "hello", "no public ssh key"),
        ("ssh_key", "-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        ("customize_hooks", "echo hello", "does not begin with #!"),
        ("customize_hooks", None, "No such file"),
    ],
)
def test_bad_inputs(tmp_path: Path, field: str, content: str | None, message: str) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    value = (path,) if field == "customize_hooks" else path
    with pytest.raises(InputError, match=message):
        read_inputs(Request(tarball=Path("x"), **{field: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Root", "a b", "-x", "", "a" * 33])
def test_bad_user_names(name: str) -> None:
    with pytest.raises(UsageError):
        read_inputs(Request(tarball=Path("x"), user=name))


def test_the_label_is_what_the_plan_says(tmp_path: Path) -> None:
    disk = make_plan().disk
    label = make_label(disk, tmp_path)
    partitions = parse_gpt(label.head)
    assert partitions is not None
    assert [(p.start, p.size, p.uuid.lower(), p.type, p.name) for p in partitions] == [
        (p.start, p.size, p.uuid, p.type, p.role) for p in disk.partitions
    ]
    image = tmp_path / "image"
    with image.open("wb") as stream:
        stream.write(label.head)
        stream.seek(disk.size - len(label.tail))
        stream.write(label.tail)
    checked = subprocess.run(
        ["sfdisk", "--verify", str(image)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )
    assert "No errors detected" in checked.stdout, checked.stdout + checked.stderr


def test_the_esp_is_a_clean_fat32_with_the_plans_id(tmp_path: Path) -> None:
    made = make_plan()
    esp = made.disk.partition("esp")
    assert esp is not None
    head = make_esp(esp.size, made.esp_id, tmp_path)
    assert head == make_esp(esp.size, made.esp_id, tmp_path)
    assert int.from_bytes(head[67:71], "little") == int(made.esp_id.replace("-", ""), 16)
    assert head[82:90] == b"FAT32   " and len(head) < 4 << 20 and len(head) % SECTOR == 0
    image = tmp_path / "esp.img"
    with image.open("wb") as stream:
        stream.write(head)
        stream.truncate(esp.size)
    subprocess.run(
        ["fsck.vfat", "-n", str(image)],
        check=True,
        capture_output=True,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )


@pytest.mark.parametrize("junk", [b"", b"\0" * 17408, b"\xff" * 17408, b"x" * 512 + b"EFI PART"])
def test_no_gpt(junk: bytes) -> None:
    assert parse_gpt(junk) is None


def test_an_unfinished_image_is_gone_and_an_old_one_stays(tmp_path: Path) -> None:
    output = tmp_path / "a.img"
    output.write_text("old")
    with pytest.raises(RuntimeError), unfinished(output, private=False) as path:
        path.write_text("half")
        raise RuntimeError
    assert output.read_text() == "old" and list(tmp_path.iterdir()) == [output]
    with unfinished(output, private=True) as path:
        path.write_text("new")
        publish(path, output)
    assert output.read_text() == "new" and list(tmp_path.iterdir()) == [output]
    assert output.stat().st_mode & 0o777 == 0o600


def test_a_folder_is_no_image_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"), unfinished(tmp_path, private=False):
        pass
