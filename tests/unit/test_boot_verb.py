"""What ``boot`` adds to an image: ports, folders, a seed; and what it refuses."""

from __future__ import annotations

import io
import json
import re
import socket
from pathlib import Path

import pytest
from cli_helpers import Library, command
from pycdlib import PyCdlib
from qemu_helpers import AMD64, FakeQemu

from selfinstall import boot, seed
from selfinstall.cli import values
from selfinstall.cli.parser import parse
from selfinstall.errors import HostError, InputError, UsageError
from selfinstall.events import Event
from selfinstall.qemu import boot as machines
from selfinstall.qemu import usernet
from selfinstall.qemu.argv import Forward, Network, Share, argv
from selfinstall.qemu.boot import Boot
from selfinstall.qemu.terminal import boot_interactive
from selfinstall.seed import Seed

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHt0 jo@example.org"

# --- ports ---------------------------------------------------------------------------------


def test_which_ports_qemu_took() -> None:
    told = (
        "Hub -1 (net0):\r\n"
        "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[ESTABLISHED]   19       127.0.0.1 39001       10.0.2.15    22     0     0\r\n"
        "  TCP[HOST_FORWARD]  12       127.0.0.1 39523       10.0.2.15    22     0     0\r\n"
        "  TCP[HOST_FORWARD]  13       127.0.0.1  8080       10.0.2.15    80     0     0\r\n"
        "  UDP[236 sec]       14       10.0.2.15 58001       10.0.2.3     53     0     0\r\n"
    )
    assert usernet.listening(told) == (Forward(39523, 22), Forward(8080, 80))
    assert usernet.listening("") == ()


def test_ports_in_use_and_ports_of_root() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(HostError, match=f"port {port} of this host is in use") as caught:
            usernet.check_free((Forward(0, 22), Forward(port, 80)))
    assert "--forward :80" in (caught.value.hint or "")
    usernet.check_free((Forward(port, 80),))


def test_a_free_port_is_told_before_the_terminal_is_the_guest_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeQemu(tmp_path, 'console("early\\r\\n"); time.sleep(0.3); done()')
    (tmp_path / "a.img").write_bytes(bytes(1 << 20))
    made = Boot(
        arch=AMD64, emulator=fake.emulator, image=tmp_path / "a.img", format="raw",
        firmware=AMD64.firmware("bios"), network=Network(forwards=(Forward(0, 22),)),
        scratch=tmp_path,
    )  # fmt: skip
    events: list[Event] = []
    with Path("/dev/null").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        boot_interactive(
            made, wanted="tcg", cache=tmp_path, on_event=events.append,
            stdin=stdin.fileno(), stdout=stdout.fileno(),
        )  # fmt: skip
    (event,) = events
    assert re.fullmatch(
        r"port [1-9]\d+ of 127\.0\.0\.1 leads to port 22 of the machine", event.message or ""
    )
    assert (tmp_path / "out").read_bytes() == b"early\r\n"


def test_free_ports_for_who_runs_it_later() -> None:
    found = boot._free((Forward(0, 22), Forward(2222, 22), Forward(0, 80)))
    assert found[1] == Forward(2222, 22)
    assert len({forward.host for forward in found}) == 3 and all(f.host for f in found)


# --- values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "forward"), [("2222:22", Forward(2222, 22)), (":22", Forward(0, 22))]
)
def test_forwards(text: str, forward: Forward) -> None:
    assert parse(["boot", "a", "--forward", text]).get("forwards") == [forward]


@pytest.mark.parametrize("text", ["", "22", "22:", ":", "0:22", "1:0", "1:70000", "1:2:3", "a:22"])
def test_what_is_no_forward(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not two ports such as 2222:22, or :22"):
        parse(["boot", "a", "--forward", text])


@pytest.mark.parametrize(
    ("text", "path", "tag", "read_only"),
    [
        ("/srv", "/srv", "", False),
        ("/srv:ro", "/srv", "", True),
        ("/srv:data", "/srv", "data", False),
        ("/srv:data:ro", "/srv", "data", True),
        ("/a:b:c:ro", "/a:b", "c", True),
        ("/a b,c", "/a b,c", "", False),
        ("/a:b/c", "/a:b/c", "", False),
    ],
)
def test_shares(text: str, path: str, tag: str, read_only: bool) -> None:
    assert values.share(text) == Share(path=Path(path), tag=tag, read_only=read_only)


def test_the_last_of_write_and_snapshot_counts() -> None:
    assert parse(["boot", "a", "--snapshot", "--write"]).get("write") is True
    assert parse(["boot", "a", "--write", "--snapshot"]).get("write") is False


# --- shares --------------------------------------------------------------------------------


def test_tags_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = Share(path=Path(), tag="")
    found = list(boot._tagged((here, here, Share(path=tmp_path, tag="x", read_only=True))))
    assert [share.tag for share in found] == ["share", "share2", "x"]
    assert {share.path for share in found} == {tmp_path}
    with pytest.raises(UsageError, match="two shares have the tag share"):
        list(boot._tagged((here, Share(path=tmp_path, tag="share"))))
    with pytest.raises(InputError, match="no folder"):
        list(boot._tagged((Share(path=tmp_path / "none", tag=""),)))
    assert "mount -t 9p -o ro,trans=virtio,version=9p2000.L x /mnt" in boot.how_to_mount(found[2])


def test_what_a_machine_gets(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(bytes(1 << 20))
    made = Boot(
        arch=AMD64, emulator=FakeQemu(tmp_path, "").emulator, image=tmp_path / "a.img",
        format="raw", firmware=AMD64.firmware("bios"), scratch=tmp_path,
        shares=(Share(path=Path("/a,b"), tag="t", read_only=True),), seed=tmp_path / "seed.iso",
    )  # fmt: skip
    with machines.machine(made, "tcg") as machine:
        line = " ".join(argv(machine))
    assert "path=/a,,b,security_model=none,multidevs=remap,readonly=on" in line
    assert f"read-only=on,file.driver=file,file.filename={tmp_path}/seed.iso" in line
    # The firmware starts the image and nothing else.
    assert line.count("bootindex=") == 1


# --- the seed ------------------------------------------------------------------------------


def files_of(path: Path) -> dict[str, bytes]:
    iso = PyCdlib()
    iso.open(str(path))
    assert iso.pvd.volume_identifier.strip() == b"CIDATA"
    found = {}
    for name in ("meta-data", "user-data"):
        for kind in ("rr_path", "joliet_path"):
            data = io.BytesIO()
            iso.get_file_from_iso_fp(data, **{kind: f"/{name}"})
            found.setdefault(name, data.getvalue())
            assert found[name] == data.getvalue()
    iso.close()
    return found


def test_a_seed_holds_what_was_given(tmp_path: Path) -> None:
    keys = f"# mine\n{KEY}\n\n{KEY} 2\n".encode()
    user_data = b"#cloud-config\n" + b"x: " + b"y" * 5000 + b"\n"
    seed.write(Seed(user_data=user_data, ssh_keys=keys, hostname="h"), tmp_path / "s")
    files = files_of(tmp_path / "s")
    meta = json.loads(files["meta-data"])
    assert files["user-data"] == user_data
    assert (meta["public-keys"], meta["local-hostname"]) == ([KEY, f"{KEY} 2"], "h")


def test_what_changes_a_seed_makes_cloud_init_work_again() -> None:
    seeds = (Seed(), Seed(hostname="h"), Seed(user_data=b"#!/bin/sh\n"), Seed(ssh_keys=b"k"))
    ids = [json.loads(one.files()["meta-data"])["instance-id"] for one in (*seeds, Seed())]
    assert len(set(ids)) == 4 and ids[0] == ids[-1]
    assert Seed().files()["user-data"].startswith(b"#cloud-config\n")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    made.install(monkeypatch)
    return made


def test_options_become_a_seed(library: Library, tmp_path: Path) -> None:
    (tmp_path / "ud").write_text("#cloud-config\n")
    (tmp_path / "key").write_text(KEY)
    assert command("boot a") == 0
    assert command("boot a --cloud-seed") == 0
    options = f"--user-data {tmp_path}/ud --ssh-key {tmp_path}/key --hostname h"
    assert command(f"boot a {options}") == 0
    whole = Seed(user_data=b"#cloud-config\n", ssh_keys=f"{KEY}\n".encode(), hostname="h")
    assert [call["seed"] for call in library.calls] == [None, Seed(), whole]


@pytest.mark.parametrize(
    ("options", "content", "said"),
    [
        ("--user-data", "hostname: x\n", "nothing that cloud-init knows"),
        ("--user-data", None, "No such file"),
        ("--ssh-key", "x", "holds no public ssh key"),
        ("--ssh-key", "-----BEGIN OPENSSH PRIVATE KEY-----", "is a private key"),
    ],
)
def test_what_no_seed_is_made_of(
    library: Library,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: str,
    content: str | None,
    said: str,
) -> None:
    if content is not None:
        (tmp_path / "f").write_text(content)
    assert command(f"boot a {options} {tmp_path}/f") == 3
    assert said in capsys.readouterr().err
    assert library.calls == []


def test_print_boots_nothing(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("boot a --print libvirt --memory 2G") == 0
    assert capsys.readouterr().out == "<libvirt/>\n"
    (call,) = library.calls
    assert (call["style"], call["memory"], call["write"]) == ("libvirt", 2048, False)
    assert command("boot a --print qemu --write --export") == 2
