"""Facts of good tarballs."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from tar_helpers import (
    COMPRESS,
    elf_header,
    folder,
    hardlink,
    inspect_bytes,
    member,
    rootfs,
    stanza,
    symlink,
    tar,
)

from selfinstall.events import Event
from selfinstall.request import STDIN
from selfinstall.rootfs.facts import Compression, Kernel, RootfsFacts
from selfinstall.rootfs.inspect import inspect
from selfinstall.rootfs.tree import Tree

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def facts(tmp_path: Path, *args: object, **kwargs: object) -> RootfsFacts:
    return inspect_bytes(tar(rootfs(*args, **kwargs)), tmp_path).facts  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("form", FORMATS)
def test_compressions_and_formats(tmp_path: Path, compression: Compression, form: str) -> None:
    plain = tar(rootfs([member("./usr/share/x", b"x" * 70000)]), FORMATS[form])
    packed = COMPRESS[compression](plain)
    inspection = inspect_bytes(packed, tmp_path, spool=True)
    found = inspection.facts
    assert found.compression == compression
    assert found.sha256 == hashlib.sha256(packed).hexdigest()
    assert found.compressed_bytes == len(packed)
    assert found.tar_bytes == len(plain)
    assert found.members == 15
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert found.content_bytes == sum(info.size for info in archive)
    assert (tmp_path / "spool").read_bytes() == plain
    assert inspection.layer["usr/bin/dpkg"].read() == elf_header()
    assert inspection.dpkg_status.startswith(b"Package: dpkg\n")


def test_basic_facts(tmp_path: Path) -> None:
    found = facts(tmp_path)
    assert found.name == str(tmp_path / "rootfs")
    assert (found.architecture, found.distribution, found.suite) == ("amd64", "debian", "trixie")
    assert found.pretty_name == "Debian GNU/Linux 13 (trixie)"
    assert found.init == "systemd"
    assert found.merged_usr
    assert found.hostname == "box"
    assert found.packages == {"dpkg": "1.22"}
    assert found.kernels == ()
    assert not found.machine_id
    assert found.sources == (
        ("etc/apt/sources.list", "deb http://deb.example.org/debian trixie main\n"),
    )


def test_standard_input() -> None:
    data = COMPRESS["zstd"](tar(rootfs()))

    class Dribble(io.BytesIO):
        """A pipe gives what is there, not what was asked for."""

        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(7, size or 7))

    inspection = inspect(STDIN, stdin=Dribble(data))
    assert inspection.facts.name == "-"
    assert inspection.facts.sha256 == hashlib.sha256(data).hexdigest()
    assert inspection.layer == {}


def test_events(tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(tar(rootfs()))
    events: list[Event] = []
    inspect(path, on_event=events.append)
    size = path.stat().st_size
    assert [e.event for e in events] == ["begin", "progress", "progress", "end"]
    assert {e.step for e in events} == {"inspect"}
    assert (events[-2].done, events[-2].total, events[-2].unit) == (size, size, "bytes")
    assert events[-1].seconds is not None and events[-1].seconds >= 0


def test_packages_and_states(tmp_path: Path) -> None:
    status = (
        stanza("libc6", "2.41", "i386")
        + stanza("libc6", "2.42")
        + stanza("dpkg", "1.22")
        + stanza("waits", state="triggers-awaited")
        + stanza("gone", state="config-files")
        + stanza("new", state="unpacked")
        + stanza("half", state="half-configured")
    )
    found = facts(tmp_path, status=status)
    there = {"waits": "1.0", "new": "1.0", "half": "1.0"}
    assert found.packages == {"libc6": "2.42", "dpkg": "1.22", **there}
    assert found.unconfigured == ("half", "new", "waits")


def test_kernels_newest_first(tmp_path: Path) -> None:
    extra = [
        member("./boot/vmlinuz-6.1.0-9-amd64", b"k"),
        member("./boot/vmlinuz-6.1.0-18-amd64", b"k"),
        hardlink("./boot/initrd.img-6.1.0-18-amd64", "./boot/vmlinuz-6.1.0-18-amd64"),
        member("./usr/lib/modules/6.1.0-18-amd64/vmlinuz", b"k"),
        member("./usr/lib/modules/6.2_odd+/vmlinuz", b"k"),
        member("./boot/vmlinux-5.10", b"k"),
        member("./boot/vmlinuz-6.9", b""),
        symlink("./vmlinuz", "boot/vmlinuz-6.1.0-9-amd64"),
    ]
    assert facts(tmp_path, extra).kernels == (
        Kernel(version="6.2_odd+", image="usr/lib/modules/6.2_odd+/vmlinuz", initrd=None),
        Kernel(
            version="6.1.0-18-amd64",
            image="boot/vmlinuz-6.1.0-18-amd64",
            initrd="boot/initrd.img-6.1.0-18-amd64",
        ),
        Kernel(version="6.1.0-9-amd64", image="boot/vmlinuz-6.1.0-9-amd64", initrd=None),
        Kernel(version="5.10", image="boot/vmlinux-5.10", initrd=None),
    )


def test_whose_kernel_it_is(tmp_path: Path) -> None:
    status = (
        stanza("dpkg", arch="i386")
        + stanza("linux-image-6.1-amd64")
        + stanza("linux-image-6.1-686-unsigned", arch="i386")
        + stanza("linux-binary-6.19-amd64")
        + stanza("linux-headers-5.10")
    )
    versions = ("6.1-amd64", "6.1-686", "6.19-amd64", "5.10")
    extra = [member(f"./boot/vmlinuz-{version}", b"k") for version in versions]
    found = facts(tmp_path, extra, status=status, program=elf_header(3, 32))
    assert {k.version: k.architecture for k in found.kernels} == {
        "6.1-amd64": "amd64", "6.1-686": "i386", "6.19-amd64": "amd64", "5.10": None,
    }  # fmt: skip


INIT = "./usr/sbin/init"


@pytest.mark.parametrize(
    ("extra", "packages", "init"),
    [
        ([member(INIT, b"x")], "sysvinit-core", "sysvinit"),
        ([member(INIT, b"x")], "openrc", "openrc"),
        ([member(INIT, b"x")], "", None),
        ([symlink(INIT, "openrc-init"), member("./usr/sbin/openrc-init", b"x")], "", "openrc"),
        ([symlink(INIT, "/lib/systemd/systemd")], "", "systemd"),
        ([symlink(INIT, "nowhere")], "sysvinit-core", None),
        ([symlink(INIT, "init")], "sysvinit-core", None),
    ],
)
def test_init(tmp_path: Path, extra: list[object], packages: str, init: str | None) -> None:
    status = stanza("dpkg") + (stanza(packages, state="unpacked") if packages else "")
    assert facts(tmp_path, extra, status=status).init == init


def test_no_init(tmp_path: Path) -> None:
    assert facts(tmp_path, without={INIT}, status=stanza("dpkg")).init is None


def test_before_merged_usr(tmp_path: Path) -> None:
    extra = [
        folder("./bin"),
        folder("./sbin"),
        folder("./lib"),
        member("./bin/dash", elf_header()),
        member("./lib/systemd/systemd", elf_header()),
        symlink("./sbin/init", "/lib/systemd/systemd"),
    ]
    found = facts(tmp_path, extra, without={"./usr/bin/dpkg", "./usr/lib/systemd/systemd", INIT})
    assert not found.merged_usr
    assert found.init == "systemd"


def test_suite_of_unstable_is_that_of_its_sources(tmp_path: Path) -> None:
    release = "ID=debian\nVERSION_CODENAME=forky\n"
    extra = [
        member("./etc/debian_version", "forky/sid\n"),
        member("./usr/lib/os-release", release),
        member("./etc/apt/sources.list", "# nothing\n"),
        member(
            "./etc/apt/sources.list.d/a.list", "deb https://dl.example.org/chrome stable contrib\n"
        ),
        member(
            "./etc/apt/sources.list.d/debian.sources",
            "Types: deb\nURIs: http://deb.example.org/\nSuites: sid\nComponents: main\n",
        ),
    ]
    assert facts(tmp_path, extra).suite == "sid"
    assert facts(tmp_path, [*extra[:2], member("./etc/apt/sources.list")]).suite == "forky"


def test_suite_without_code_name(tmp_path: Path) -> None:
    extra = [member("./usr/lib/os-release", "ID=debian\nPRETTY_NAME='Some \\$ys'\n")]
    found = facts(tmp_path, extra)
    assert found.suite == "trixie"
    assert found.pretty_name == "Some $ys"


def test_machine_id_and_hostname(tmp_path: Path) -> None:
    extra = [
        member("./etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        member("./etc/hostname", "# none\n\n"),
    ]
    found = facts(tmp_path, extra)
    assert found.machine_id
    assert found.hostname is None
    assert not facts(tmp_path, [member("./etc/machine-id", "uninitialized\n")]).machine_id


def test_keyrings(tmp_path: Path) -> None:
    extra = [
        member("./etc/apt/sources.list.d/own.sources", _SIGNED),
        symlink("./usr/share/keyrings/archive.gpg", "archive.pgp"),
        member("./usr/share/keyrings/archive.pgp", b"KEY"),
        member("./etc/apt/trusted.gpg.d/a.asc", b"ASC"),
        member("./etc/apt/trusted.gpg.d/README", b"no"),
        member("./opt/own/key.asc", b"OWN"),
        member("./opt/other/key.asc", b"UNNAMED"),
        member("./usr/share/keyrings/huge.gpg", bytes((1 << 20) + 1)),
        symlink("./usr/share/keyrings/loop.gpg", "loop.gpg"),
    ]
    events: list[Event] = []
    path = tmp_path / "rootfs"
    path.write_bytes(tar(rootfs(extra)))
    found = inspect(path, on_event=events.append).facts
    assert found.keyrings == (
        ("etc/apt/trusted.gpg.d/a.asc", b"ASC"),
        ("opt/own/key.asc", b"OWN"),
        ("usr/share/keyrings/archive.gpg", b"KEY"),
        ("usr/share/keyrings/archive.pgp", b"KEY"),
    )
    warnings = [e.message or "" for e in events if e.event == "warning"]
    assert len(warnings) == 1 and "huge.gpg" in warnings[0]


_SIGNED = """Types: deb
URIs: http://own.example.org/
Suites: stable
Components: main
Signed-By: /opt/own/key.asc
"""


def test_keyrings_are_bounded(tmp_path: Path) -> None:
    extra = [member(f"./usr/share/keyrings/{n:03}.gpg", b"K") for n in range(100)]
    assert len(facts(tmp_path, extra).keyrings) == 64


def test_later_members_replace_earlier_ones(tmp_path: Path) -> None:
    members = [*rootfs(), member("./etc/hostname", "second"), member("./var/lib/dpkg/status", "x")]
    members.append(member("./var/lib/dpkg/status", stanza("dpkg", "2")))
    inspection = inspect_bytes(tar(members), tmp_path, spool=True)
    assert inspection.facts.hostname == "second"
    assert inspection.facts.packages == {"dpkg": "2"}
    assert inspection.layer["etc/hostname"].read() == b"second"


def test_folder_in_place_of_an_earlier_file_or_link(tmp_path: Path) -> None:
    members = [*rootfs(), folder("./etc/hostname"), folder("./usr/sbin/init")]
    inspection = inspect_bytes(tar(members), tmp_path, spool=True)
    assert inspection.facts.hostname is None
    assert inspection.facts.init is None
    assert not inspection.layer.keys() & {"etc/hostname", "usr/sbin/init"}


def test_more_behind_the_end_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "rootfs"
    path.write_bytes(tar(rootfs()) * 2)
    events: list[Event] = []
    assert inspect(path, on_event=events.append).facts.members == 14
    assert [e.event for e in events if e.event not in ("begin", "end", "progress")] == ["warning"]


@pytest.mark.parametrize(("mode", "count"), [(0o700, 1), (0o750, 1), (0o755, 0), (0o1777, 0)])
def test_a_root_that_only_root_can_enter_is_warned_of(
    tmp_path: Path, mode: int, count: int
) -> None:
    root, content = member("./", type=tarfile.DIRTYPE)
    root.mode = mode
    path = tmp_path / "rootfs"
    path.write_bytes(tar([*rootfs(), (root, content)]))
    events: list[Event] = []
    inspect(path, on_event=events.append)
    found = [e.message for e in events if e.event == "warning"]
    assert len(found) == count
    assert all("mode 07" in str(message) for message in found)


def test_layer_holds_what_an_initramfs_needs(tmp_path: Path) -> None:
    kept = [
        "usr/sbin/mke2fs",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "usr/lib64/ld-linux-x86-64.so.2",
        "usr/lib/modules/6.1/kernel/fs/ext4.ko.xz",
        "boot/vmlinuz-6.1",
        "etc/passwd",
        "etc/group",
        "etc/mke2fs.conf",
        "usr/lib/grub/x86_64-efi/moddep.lst",
    ]
    left_out = ["usr/share/doc/x", "usr/lib/python3/x.py", "home/x", "opt/x/lib/y"]
    extra = [member(f"./{path}", path) for path in kept + left_out]
    extra += [
        hardlink("./usr/bin/perl", "./usr/bin/perl5"),  # before what it leads to
        member("./usr/bin/perl5", b"PERL"),
        hardlink("./usr/bin/x", "./usr/share/doc/x"),
        hardlink("./usr/bin/y", "./usr/sbin/mke2fs"),
        symlink("./var/run", "/run"),
        folder("./usr/lib/dir"),
    ]
    layer = inspect_bytes(COMPRESS["xz"](tar(rootfs(extra))), tmp_path, spool=True).layer
    for path in kept:
        assert layer[path].read() == path.encode()
    assert not layer.keys() & {*left_out, "usr/lib/dir", "etc"}
    assert layer["usr/bin/perl"].read() == b"PERL"
    assert layer["usr/bin/x"].read() == b"usr/share/doc/x"
    assert layer["usr/bin/y"] == layer["usr/sbin/mke2fs"]
    assert layer["var/run"].target == "/run"
    assert layer["usr/sbin/mke2fs"].mode == 0o755
    assert Tree([layer]).get("/bin/perl") == layer["usr/bin/perl5"]


def test_spool_keeps_holes(tmp_path: Path) -> None:
    plain = tar(rootfs([member("./var/zeros", bytes(8 << 20))])) + bytes(1 << 20)
    assert inspect_bytes(plain, tmp_path, spool=True).facts.tar_bytes == len(plain)
    spool = tmp_path / "spool"
    assert spool.read_bytes() == plain
    assert spool.stat().st_blocks * 512 < 4 << 20


def with_headers(path: str, type: bytes, *keys: str) -> tuple[tarfile.TarInfo, bytes]:
    info, data = member(path, type=type)
    info.pax_headers = dict.fromkeys(keys, "x")
    return info, data


def test_forms_of_access_control_lists(tmp_path: Path) -> None:
    """tar cannot restore both forms at once: what an archive holds must be known."""
    access, default = (f"SCHILY.xattr.system.posix_acl_{kind}" for kind in ("access", "default"))
    text = with_headers("./text", tarfile.REGTYPE, "SCHILY.acl.access")
    both = with_headers("./both", tarfile.REGTYPE, "SCHILY.acl.access", access)
    attributes = [
        with_headers("./-a\n", tarfile.REGTYPE, access),
        with_headers("./folder", tarfile.DIRTYPE, default),
        with_headers("./partly", tarfile.DIRTYPE, "SCHILY.acl.access", access, default),
        with_headers("./link", tarfile.LNKTYPE, access),
    ]

    def found(*members: tuple[tarfile.TarInfo, bytes]) -> tuple[bool, tuple[str, ...]]:
        inspection = inspect_bytes(tar(rootfs(members), tarfile.PAX_FORMAT), tmp_path)
        return inspection.facts.acl_texts, inspection.acl_attributes

    assert found() == (False, ())
    assert found(*attributes) == (False, ())
    assert found(text, both) == (True, ())
    assert found(*attributes, text) == (True, ("./-a\n", "./folder", "./partly"))
