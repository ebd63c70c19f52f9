"""What strangers may write, and where it must end: bounds, names, files of other people."""

from __future__ import annotations

import dataclasses
import inspect as inspect_
import io
import json
import lzma
import os
import stat
import struct
import subprocess
import tarfile
import time
import types
from pathlib import Path

import deb_helpers
import pytest
from initramfs_helpers import Plain, elf_module, elf_program, make_tree
from plan_helpers import make_plan
from tar_helpers import member, rootfs, stanza, tar

from selfinstall import manifest, verification
from selfinstall.errors import HostError, InputError
from selfinstall.host import workspace
from selfinstall.image import digest, export
from selfinstall.image.export import Exported
from selfinstall.image.inspect import inspect_image, parts_of_qcow2
from selfinstall.image.seal import unfinished
from selfinstall.initramfs import elf, modules, stripped, zboot
from selfinstall.inputs import read_inputs
from selfinstall.packages import deb, keyring, problems, sources, target
from selfinstall.packages.cache import Cache
from selfinstall.packages.resolution import installed_bytes
from selfinstall.qemu import qemu_img as program
from selfinstall.qemu.boot import Boot
from selfinstall.qemu.install import GuestReport
from selfinstall.qemu.qmp import Qmp
from selfinstall.request import Request
from selfinstall.rootfs import apt, dpkg
from selfinstall.rootfs.inspect import inspect
from selfinstall.rootfs.tree import Entry

ROOT = Path(__file__).parents[2]

# -- the tarball ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ['x";APT::Update::Pre-Invoke{"id"};Foo{"', "../x", "A", "a b", "", "x" * 65, "ü"]
)
def test_an_architecture_that_is_more_than_a_name_is_refused(name: str) -> None:
    """The names stand in apt's configuration, where others could run programs."""
    text = stanza("dpkg", "1") + f"Package: x\nStatus: install ok installed\nArchitecture: {name}\n"
    if name:
        with pytest.raises(InputError, match="architecture that is none"):
            target.architectures("amd64", text.encode())
    else:
        assert target.architectures("amd64", text.encode()) == ("amd64",)


def test_a_system_of_too_many_architectures_is_refused() -> None:
    text = "".join(stanza("x", "1", f"a{n}") for n in range(target.MAXIMUM_ARCHITECTURES + 1))
    with pytest.raises(InputError, match="too many"):
        target.architectures("amd64", text.encode())


@pytest.mark.parametrize(
    "scheme", ["ssh", "rsh", "file", "copy", "cdrom", "exec", "../../x", "store"]
)
def test_a_tarball_s_sources_reach_networks_only(scheme: str) -> None:
    every = sources.parse("x.list", f"deb {scheme}://h.example.org/d trixie main\n")
    kept, dropped = sources.usable(every, ("amd64",), local=False)
    assert kept == () and scheme in dropped[0]


@pytest.mark.parametrize("option", ["trusted=yes", "allow-insecure=yes", "allow-weak=true"])
def test_sources_cannot_switch_signatures_off(option: str) -> None:
    every = sources.parse("x.list", f"deb [{option}] http://h.example.org/d trixie main\n")
    (source,), told = sources.verified(every, allow_unsigned=False)
    assert source.options == () and "--allow-unsigned" in told[0]
    (source,), told = sources.verified(every, allow_unsigned=True)
    assert source.options == (("Trusted", "yes"),) and told == ()


def test_sources_that_switch_dates_off_are_told() -> None:
    every = sources.parse("x.list", "deb [check-valid-until=no] http://h.example.org/d a main\n")
    (source,), told = sources.verified(every, allow_unsigned=False)
    assert source.options == (("Check-Valid-Until", "no"),) and "old packages" in told[0]


def test_long_values_and_lines_take_time_in_proportion() -> None:
    """Each of these took minutes, or all of the memory."""
    began = time.process_time()
    with pytest.raises(InputError, match="a field of"):
        dpkg.parse_status(b"Package: x\nVersion: 1\n" + b" a\n" * 1_000_000)
    with pytest.raises(InputError, match="a line of"):
        dpkg.parse_status(b"Package: " + b"x" * (2 << 20))
    many = b"Status: install ok installed\n" * 30_000
    assert target.architectures("amd64", many) == ("amd64",)
    suite = "x" + "-updates" * 100_000 + "!"
    assert apt.main_suite(apt.parse("x.list", f"deb http://h {suite} main")) is None
    assert keyring.merged({"x": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" * 20_000}) == b""
    with pytest.raises(InputError):
        sources.parse("neither", "\n" * 900_000 + "x y\n")
    assert time.process_time() - began < 5


def test_more_packages_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkg, "MAXIMUM_PACKAGES", 2)
    with pytest.raises(InputError, match="too many packages"):
        dpkg.parse_status("".join(stanza(f"p{n}") for n in range(3)).encode())


def test_numbers_that_python_does_not_count(tmp_path: Path) -> None:
    long = "9" * 5000
    assert installed_bytes(long) == 0
    files = {f"boot/vmlinuz-{long}": b"x", f"usr/lib/modules/{long}/vmlinuz": b"x"}
    with pytest.raises(InputError, match="no kernel"):
        modules.find_kernel(make_tree(tmp_path, files))
    assert modules.find_kernel(make_tree(tmp_path, {**files, "boot/vmlinuz-6.1": b"x"})).version
    path = tmp_path / "rootfs"
    path.write_bytes(tar(rootfs([member(f"./{name}", "x") for name in files])))
    assert inspect(path).facts.kernels == ()


def test_a_kernel_that_is_one_great_hole_is_refused(tmp_path: Path) -> None:
    entry = Entry("file", 0o644, 100 << 30, tmp_path / "x", 0, pieces=())
    with pytest.raises(InputError, match="too large"):
        modules.read_kernel(entry, "boot/vmlinuz-6.1")


# -- packages ------------------------------------------------------------------------------


def package(control: bytes, suffix: str = "") -> bytes:
    parts = {"debian-binary": b"2.0\n", f"control.tar{suffix}": control, "data.tar": bytes(1024)}
    return deb_helpers.ar(parts)


def test_a_header_of_a_gigabyte_in_a_package_is_not_read() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 1 << 30
    packed = lzma.compress(info.tobuf() + bytes(64 << 20))
    with pytest.raises(InputError, match="beyond all sense"):
        deb.control_in_stream(io.BytesIO(package(packed, ".xz")).read, "x")


def test_a_package_s_control_member_without_end_is_not_read_to_it() -> None:
    info = tarfile.TarInfo("x")
    info.size = 1 << 30
    packed = lzma.compress(info.tobuf() + bytes(80 << 20))
    with pytest.raises(InputError, match="truncated"):
        deb.control_in_stream(io.BytesIO(package(packed, ".xz")).read, "x")


def test_a_dictionary_of_gigabytes_is_refused() -> None:
    # An lzma header: properties, size of the dictionary, size unknown.
    packed = struct.pack("<BIQ", 0x5D, 1 << 31, (1 << 64) - 1) + bytes(100)
    with pytest.raises(InputError, match="emory"):
        deb.control_in_stream(io.BytesIO(package(packed, ".lzma")).read, "x")


# -- programs and modules --------------------------------------------------------------------


def test_a_program_of_dynamic_segments_only_is_read_in_no_time() -> None:
    program = bytearray(elf_program("libc.so.6"))
    count, size = 500, 56
    header = program[64 + size : 64 + 2 * size]  # the dynamic segment's
    struct.pack_into("<Q", program, 32, len(program))
    struct.pack_into("<H", program, 56, count)
    began = time.process_time()
    with pytest.raises(InputError, match="string table is in no segment"):
        elf.parse_dynamic(bytes(program + header * count), "x")
    assert time.process_time() - began < 2


def test_a_module_without_end_of_wishes_is_refused(tmp_path: Path) -> None:
    root = "usr/lib/modules/6.1/kernel"
    module = elf_module(softdep="pre: " + "x " * 1000)
    tree = make_tree(tmp_path, {f"{root}/a.ko": Plain(module)})
    with pytest.raises(InputError, match="1000 soft dependencies"):
        modules.module_closure(tree, "6.1", ["a"])


def test_sections_that_overlap_do_not_multiply() -> None:
    module = bytearray(elf_module(alias="x" * 5000))
    (table,) = struct.unpack_from("<Q", module, 40)
    modinfo = module[table + 64 : table + 128]
    struct.pack_into("<H", module, 60, 503)
    with pytest.raises(InputError, match="overlap"):
        stripped.strip(bytes(module[: table + 192] + modinfo * 500), "x")


# -- qemu, the cache -----------------------------------------------------------------------------


def test_qmp_nesting_is_nonsense_as_any() -> None:
    qmp = Qmp()
    assert qmp.feed(b"[" * 100_000 + b"\n") == b""
    qmp.feed(b'{"event":"SHUTDOWN","data":{"reason":"x"}}\n')
    assert qmp.shutdown == "x"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", ".", "a/b", "x" * 300])
def test_names_in_the_cache_s_lists_are_files_of_its_own(name: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    folder, out = tmp_path / "cache/lists/k", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    (tmp_path / "cache/lists/outside").write_text("x")
    (folder / "sha256.json").write_text(json.dumps({name: "0"}))
    assert not cache.take_lists("k", out)
    assert list(out.iterdir()) == [] and not (tmp_path / "outside").exists()


# -- images --------------------------------------------------------------------------------------


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def test_images_that_name_other_files_are_refused(tmp_path: Path) -> None:
    """A guest would be handed whatever file the image names."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(1 << 20))
    layer, data = tmp_path / "layer.qcow2", tmp_path / "data.qcow2"
    qemu_img("create", "-f", "qcow2", "-b", secret, "-F", "raw", layer)
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path}/d,data_file_raw=on", data, "1M")
    text = (
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"'
    )
    vmdk = tmp_path / "flat.vmdk"
    vmdk.write_text(f'{text}\nRW 2048 FLAT "secret" 0\n')
    for path in (layer, data, vmdk):
        with pytest.raises(InputError, match="is not whole"):
            inspect_image(path)


def test_a_whole_qcow2_needs_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "whole.qcow2"
    qemu_img("create", "-f", "qcow2", path, "1M")
    assert parts_of_qcow2(path.read_bytes()) == ()
    assert inspect_image(path).format == "qcow2"
    assert parts_of_qcow2(b"QFI\xfb") == () and parts_of_qcow2(b"") == ()


@pytest.mark.parametrize("what", ["tarball", "hook", None])
def test_images_made_of_what_others_may_not_read_are_private(
    what: str | None, tmp_path: Path
) -> None:
    files = {"tarball": tmp_path / "t", "hook": tmp_path / "h"}
    for name, path in files.items():
        path.write_text("#!/bin/sh\n")
        path.chmod(0o640 if name == what else 0o644)
    request = Request(tarball=files["tarball"], customize_hooks=(files["hook"],))
    assert read_inputs(request).private is (what is not None)


@pytest.mark.parametrize("private", [True, False])
def test_what_is_exported_of_a_private_image_is_private(private: bool, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name in ("kernel", "initrd"):
        (work / name).write_text(name)
    made = Exported(kernel=work / "kernel", initrd=work / "initrd", arguments="x")
    placed = export.publish(made, tmp_path / "a.img", private=private)
    modes = {path.stat().st_mode & 0o077 for path in export.names(tmp_path / "a.img")}
    assert modes == ({0} if private else {placed.kernel.stat().st_mode & 0o077})
    assert private or placed.kernel.stat().st_mode & stat.S_IROTH
    assert export.described(placed)["kernel_sha256"]


def test_a_private_image_stays_so_when_it_is_converted(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    for form in ("qcow2", "vmdk", "vhdx", "vdi"):
        with unfinished(tmp_path / f"a.{form}", private=True) as path:
            program.convert(disk, path, source_format="raw", format=form)
            assert path.stat().st_mode & 0o777 == 0o600


def test_the_digest_is_of_content_and_place_and_not_of_holes(tmp_path: Path) -> None:
    piece = 256 << 10
    one, two, other = tmp_path / "one", tmp_path / "two", tmp_path / "other"
    one.write_bytes(bytes(3 * piece) + b"x" * piece + bytes(piece))
    with two.open("wb") as stream:
        stream.seek(3 * piece)
        stream.write(b"x" * piece)
        stream.truncate(5 * piece)
    assert digest.digest(one) == digest.digest(two)
    other.write_bytes(bytes(2 * piece) + b"x" * piece + bytes(2 * piece))
    assert digest.digest(other) != digest.digest(one)
    with digest.digesting(one) as found:
        assert found() == digest.digest(one)


def test_an_image_that_changes_while_it_is_tested_is_no_good_image(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * 1000)
    with digest.untouched(path):
        path.read_bytes()
    with pytest.raises(HostError, match="changed while it was boot-tested"), digest.untouched(path):
        time.sleep(0.02)  # coarser than any clock of a file system here
        with path.open("r+b") as stream:
            stream.write(b"y")


def test_a_manifest_knows_its_image(tmp_path: Path) -> None:
    image, told = tmp_path / "a.img", tmp_path / "a.json"
    image.write_bytes(b"x" * 300_000)
    manifest.write({"image": dataclasses.asdict(digest.digest(image))}, told)
    manifest.check(told, image)
    image.write_bytes(b"x" * 299_999 + b"y")
    with pytest.raises(InputError, match="its content differs"):
        manifest.check(told, image)
    image.write_bytes(b"x")
    with pytest.raises(InputError, match="it has 1 bytes, not 300000"):
        manifest.check(told, image)
    for text in ("", "[]", "{}", '{"image": 1}', '{"image": {"size": "x"}}', "[" * 100_000):
        told.write_text(text)
        with pytest.raises(InputError, match="no manifest"):
            manifest.check(told, image)
    with pytest.raises(InputError, match="cannot read"):
        manifest.check(tmp_path / "none", image)


# -- qemu and the host ---------------------------------------------------------------------------


def test_the_guest_has_nothing_that_it_was_not_given() -> None:
    """By the golden files of every architecture: what is run is what they show (test_golden)."""
    files = sorted((ROOT / "tests" / "golden").glob("qemu-argv-*.txt"))
    assert len(files) > 20
    for path in files:
        text = path.read_text()
        for words in ("-nodefaults", "-no-user-config", "-sandbox on,obsolete=deny"):
            assert words in text, (path.name, words)
        for part in ("elevateprivileges", "spawn", "resourcecontrol"):
            assert f"{part}=deny" in text, (path.name, part)
        if "-installer" in path.name:
            for words in ("-netdev", "-nic", "-net ", "virtio-net", "-fsdev", "-virtfs"):
                assert words not in text, (path.name, words)
    # And a boot test is a machine without what only `boot` gives it.
    assert {f.name: f.default for f in dataclasses.fields(Boot)}["network"] is None
    assert "network" not in inspect_.signature(verification.machine).parameters


def test_the_workspace_is_its_owner_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = os.umask(0)
    try:
        with workspace() as work:
            assert work.parent == tmp_path and work.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_in_no_argument_plan_or_manifest(tmp_path: Path) -> None:
    password, hook = tmp_path / "password", tmp_path / "hook"
    password.write_text("s3cr3t-w0rd\n")
    hook.write_text("#!/bin/sh\necho s3cr3t-w0rd\n")
    request = {"root_password_file": password, "customize_hooks": (hook,)}
    plan = make_plan(**request)
    inputs = read_inputs(Request(tarball=Path("x"), **request))  # type: ignore[arg-type]
    report = GuestReport(
        hooks=(), cpu_seconds=1, max_rss=1, accel="tcg", manifest=b"", qemu_version="7"
    )
    shown = [plan.to_json(), plan.to_text(), repr(plan), repr(inputs), str(plan.installer_args)]
    facts = types.SimpleNamespace(name="x", sha256="x")
    shown.append(json.dumps(manifest.make(plan, facts, report, (), None, {}), default=str))  # type: ignore[arg-type]
    assert [text for text in shown if "s3cr3t" in text] == []


def test_names_of_strangers_in_messages_do_not_make_two_lines(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, {"usr/bin/x": elf_program("lib\nx.so"), "usr/bin/y": b"#!/b\x1b[2J"})
    for name in ("x", "y"):
        with pytest.raises(InputError) as caught:
            elf.library_closure(tree, [name], "x")
        assert caught.value.message.isprintable()
    image = b"MZ\0\0zimg" + struct.pack("<IIQ", 32, 4, 0) + b"g\nip\0\0\0\0" + b"abcd"
    with pytest.raises(InputError, match="unknown way") as caught:
        zboot.unpacked(image, "x")
    assert caught.value.message.isprintable()


def test_apt_s_list_of_providers_may_be_empty() -> None:
    text = "Package x is a virtual package provided by:\n  \n"
    assert problems.install_problem(text, "y").message
