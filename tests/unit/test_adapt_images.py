"""Images of others: what is found in them, what is refused, what is planned."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from adapt_helpers import BOOT, MISSING, NOT_BOOT, SYSTEM, bytes_at, debugfs, disk_of, ext, run
from plan_helpers import make_facts, make_package
from tar_helpers import elf_header, stanza

from selfinstall import pipeline
from selfinstall.adapt import base as images
from selfinstall.adapt import planning
from selfinstall.adapt.base import Base
from selfinstall.adapt.table import grow, read_table
from selfinstall.arch import all_arches
from selfinstall.errors import InputError, SelfinstallError, UsageError
from selfinstall.events import ignore
from selfinstall.image.inspect import inspect_image
from selfinstall.layout import MIB
from selfinstall.packages.resolution import Resolution
from selfinstall.qemu import qemu_img
from selfinstall.request import STDIN, Request
from selfinstall.rootfs.inspect import Inspection

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}")
AMD64 = all_arches()["amd64"]


def look(image: Path) -> Base:
    return images.look_into(images.look_at(image), image)


def inspect(image: Path, spool: Path | None = None) -> Inspection:
    return images.inspect(look(image), image, spool=spool, on_event=ignore)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with one partition, which no test may change."""
    return disk_of(tmp_path_factory.mktemp("kept"), ext())


@pytest.fixture
def theirs(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(kept, tmp_path / "theirs.img"))


# --- what is in one --------------------------------------------------------------------------


def test_a_system_is_told_as_a_tarball_tells_it(kept: Path, tmp_path: Path) -> None:
    inspection = inspect(kept, tmp_path / "spool")
    facts = inspection.facts
    assert (facts.architecture, facts.suite, facts.init) == ("amd64", "trixie", "systemd")
    assert facts.hostname == "theirs" and facts.packages == {"dpkg": "1.22"}
    assert [(k.version, k.initrd) for k in facts.kernels] == [("6.1", "boot/initrd.img-6.1")]
    assert facts.content_bytes >= sum(len(c) for c in SYSTEM.values() if c[:2] != b"->")
    assert inspection.dpkg_status == SYSTEM["var/lib/dpkg/status"]
    assert inspection.layer["usr/bin/dpkg"].read() == elf_header()
    assert inspection.layer["sbin"].target == "usr/sbin"
    # In the stream by name alone.
    assert b"copyright" in (spool := (tmp_path / "spool").read_bytes())
    assert b"not looked into" not in spool


def test_hard_links_lead_to_content(tmp_path: Path) -> None:
    """A name that is looked into is no link to one whose content is left out."""
    image = disk_of(tmp_path, ext({**SYSTEM, "usr/share/a": b"tool"}))
    for order in ("ln usr/share/a usr/bin/b", "ln usr/share/a usr/bin/c"):
        debugfs(image, MIB, order)
    debugfs(image, MIB, "set_inode_field usr/share/a links_count 3")
    layer = inspect(image, tmp_path / "spool").layer
    assert layer["usr/bin/b"].read() == layer["usr/bin/c"].read() == b"tool"


@pytest.mark.parametrize("spec", ["UUID=", "LABEL=boot", "PARTUUID=", "/dev/vda1"])
def test_boot_on_a_partition_of_its_own(tmp_path: Path, spec: str) -> None:
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    image = disk_of(tmp_path, ext(BOOT, "ext2", "-U", uuid, "-L", "boot"), ext(NOT_BOOT))
    if spec == "UUID=":
        spec += uuid
    elif spec == "PARTUUID=":
        spec += run("sfdisk", "--part-uuid", image, "1").strip()
    fstab = f"{spec} /boot ext2 defaults 0 2\ntmpfs /tmp tmpfs x\n# UUID=x /srv ext4 x\n"
    (tmp_path / "fstab").write_text(fstab)
    debugfs(image, 13 * MIB, "rm etc/fstab")
    debugfs(image, 13 * MIB, "write fstab etc/fstab")
    base = look(image)
    assert [(m.system.partition.number, m.kind, m.point) for m in base.mounts] == [
        (1, "ext4", "/boot")
    ]
    assert base.root.partition.number == 2
    assert [k.version for k in inspect(image).facts.kernels] == ["6.1"]


def test_lists_of_mirrors_become_their_first(tmp_path: Path) -> None:
    files = {
        **SYSTEM,
        "etc/apt/sources.list": b"deb mirror+file:/etc/apt/mirrors/debian.list trixie main\n"
        b"deb mirror+file:///etc/apt/mirrors/none.list trixie main\n",
        "etc/apt/mirrors/debian.list": b"# ours\nhttp://deb.example.org/debian\tpriority:1\n",
    }
    (_, text), *_ = inspect(disk_of(tmp_path, ext(files))).facts.sources
    assert text.split()[1] == "http://deb.example.org/debian"
    assert text.split()[5] == "mirror+file:///etc/apt/mirrors/none.list"


# --- what is refused -------------------------------------------------------------------------


def without(*paths: str, **changes: bytes) -> Mapping[str, bytes]:
    return {path: c for path, c in SYSTEM.items() if path not in paths} | changes


REFUSED: dict[str, tuple[Any, str]] = {
    "no label": (lambda folder: _bare(folder), "no partition table"),
    "nothing": (lambda folder: disk_of(folder, None), "no system on any"),
    "two": (lambda folder: disk_of(folder, ext(), ext()), "more than one system.* 1 and 2"),
    "luks": (lambda folder: disk_of(folder, bytes_at(0, b"LUKS\xba\xbe")), "1 is encrypted"),
    "btrfs": (lambda folder: disk_of(folder, bytes_at(0x10040, b"_BHRfS_M")), "1 is btrfs"),
    "lvm": (lambda folder: disk_of(folder, bytes_at(0x200, b"LABELONE")), "1 is LVM"),
    "no dpkg": (
        lambda folder: disk_of(folder, ext(without("var/lib/dpkg/status"))),
        "Debian GNU/Linux 13.*without dpkg's database",
    ),
    "no kernel": (
        lambda folder: disk_of(folder, ext(without("boot/vmlinuz-6.1"))),
        "no kernel in /boot",
    ),
    "no init": (lambda folder: disk_of(folder, ext(without("usr/sbin/init"))), "no init system"),
    "other programs": (
        lambda folder: disk_of(folder, ext(SYSTEM | {"usr/bin/dpkg": elf_header(183)})),
        "contradicts itself",
    ),
}


def _bare(folder: Path) -> Path:
    """A file system without a label around it."""
    path = folder / "bare.img"
    path.write_bytes(bytes(12 * MIB))
    ext()(path, 0, 12 * MIB)
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    make, words = REFUSED[name]
    image = make(tmp_path)
    before = hashlib.sha256(image.read_bytes()).digest()
    request = Request(from_image=image, output=tmp_path / "out.img", cache=tmp_path / "cache")
    with pytest.raises(InputError, match=words):
        pipeline.build(request)
    assert hashlib.sha256(image.read_bytes()).digest() == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == [image.name]


def test_another_architecture(kept: Path, tmp_path: Path) -> None:
    request = Request(from_image=kept, output=tmp_path / "out.img", arch="arm64")
    with pytest.raises(InputError, match="is amd64, not arm64"):
        pipeline.make_plan(request)


def test_a_journal_that_waits(theirs: Path) -> None:
    debugfs(theirs, MIB, "feature needs_recovery")
    with pytest.raises(InputError, match=r"file system at / .* not unmounted cleanly"):
        inspect(theirs)


def test_images_of_several_files(kept: Path, tmp_path: Path) -> None:
    """Else anything that the user can read could get into the new image."""
    over = tmp_path / "over.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", kept, "-F", "raw", over)
    with pytest.raises(InputError, match=r"reads '.*theirs.img' too"):
        images.look_at(over)
    flat = tmp_path / "flat.vmdk"
    run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", kept, flat)
    with pytest.raises(InputError, match=r"reads '.*flat-flat.vmdk' too"):
        images.look_at(flat)
    for name, options in (("a.vmdk", ()), ("b.vmdk", ("-o", "subformat=streamOptimized"))):
        run("qemu-img", "convert", "-O", "vmdk", *options, kept, tmp_path / name)
        assert images.look_at(tmp_path / name).format == "vmdk"


def test_no_such_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such image"):
        images.look_at(tmp_path / "none")


# --- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("--tarball", {"tarball": Path("a.tar")}),
        ("--suite", {"suite": "trixie"}),
        ("--variant", {"variant": "standard"}),
        ("--bootloader", {"bootloader": "grub"}),
        ("--payload", {"payload": "disk"}),
        ("--kernel", {"kernel": "linux-image"}),
        ("--seed", {"seed": "x"}),
        ("standard input", {"from_image": STDIN}),
        ("needs a name", {"output": None}),
    ],
)
def test_options_that_cannot_apply(kept: Path, option: str, changes: dict[str, Any]) -> None:
    request = Request(from_image=kept, output=Path("out.img"))
    with pytest.raises(UsageError, match=option):
        pipeline.build(dataclasses.replace(request, **changes))


def test_the_image_itself_is_no_output(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(kept)
    with pytest.raises(UsageError, match="stays as it is"):
        pipeline.build(Request(from_image=kept, output=tmp_path / "link"))


# --- the plan --------------------------------------------------------------------------------


def planned(image: Path, *packages: str, installed: int = 1 << 16, **request: Any) -> Any:
    base = look(image)
    facts = images.inspect(base, image, spool=None, on_event=ignore).facts
    resolution = Resolution(packages=tuple(make_package(p, installed=installed) for p in packages))
    asked = Request(from_image=image, output=Path("out.img"), **request)
    return planning.make(asked, base, facts, AMD64, resolution, seed="seed")


def test_the_disk_that_is_there_is_the_plan_s(kept: Path) -> None:
    plan = planned(kept)
    uuid = look(kept).volume.uuid
    assert plan.from_image and plan.loaders == () and plan.root_uuid == uuid
    assert not {"20-partition", "30-format", "40-unpack", "70-grow"} & set(plan.hooks)
    assert {"36-fill", "55-machine", "68-adopted-menu", "90-seal"} <= set(plan.hooks)
    assert not [hook for hook in plan.hooks if hook.startswith("65-")]
    settings = plan.settings
    assert settings["HOOKS"] == " ".join(plan.hooks)
    assert (settings["ADAPT"], settings["ROOT_PARTITION"]) == ("yes", "1")
    assert settings["HOST_NAME"] == "" and settings["KERNEL_ARGS"].startswith("console=")
    assert "net.ifnames" not in settings["KERNEL_ARGS"]
    assert planned(kept, hostname="mine").settings["HOST_NAME"] == "mine"
    assert "theirs.img" in plan.to_text()
    assert [w for w in plan.warnings if "name server" in w] == []


def test_only_what_is_asked_for_is_added() -> None:
    facts = make_facts(packages={"e2fsprogs": "1", "kmod": "1", "mount": "1"})
    needs = planning.needs(Request(from_image=Path("x"), include=("less",)), facts, AMD64)
    assert set(needs.wanted) == {"login", "passwd", "less"}
    assert needs.useful == ("fdisk",) and needs.kernels == ()


def test_a_disk_that_grows(kept: Path) -> None:
    disk = planned(kept, size=64 * MIB).disk
    assert disk.size == 64 * MIB
    assert disk.root.start + disk.root.size == 63 * MIB
    with pytest.raises(UsageError, match="cannot become smaller"):
        planned(kept, size=5 * MIB)


def test_a_root_that_cannot_grow(tmp_path: Path) -> None:
    image = disk_of(tmp_path, ext(), None)
    assert planned(image).disk.root.size == 12 * MIB
    with pytest.raises(UsageError, match="partition 2 lies behind it"):
        planned(image, size=64 * MIB)


def test_a_logical_root_cannot_grow(tmp_path: Path) -> None:
    image = tmp_path / "theirs.img"
    image.write_bytes(bytes(20 * MIB))
    layout = "label: dos\nstart=2048, type=5\nstart=4096, size=24576, type=83\n"
    run("sfdisk", "-q", image, text=layout)
    ext()(image, 2 * MIB, 12 * MIB)
    base = look(image)
    assert [p.number for p in base.table.partitions] == [5]
    assert planned(image).disk.root.size == 12 * MIB
    with pytest.raises(UsageError, match="lies in an extended one"):
        planned(image, size=64 * MIB)


def test_damage_names_the_partition(theirs: Path) -> None:
    bytes_at(1024 + 0x60, b"\xff")(theirs, MIB, 0)
    with pytest.raises(InputError, match=r"theirs.img, partition 1: .* features"):
        look(theirs)


def test_no_room_for_packages(kept: Path) -> None:
    with pytest.raises(UsageError, match="MiB left") as caught:
        planned(kept, "a", "b", installed=100 * MIB)
    least = int((caught.value.hint or "").split()[1].removesuffix("M"))
    assert planned(kept, "a", "b", installed=100 * MIB, size=least * MIB).disk.size == least * MIB
    with pytest.raises(UsageError):
        planned(kept, "a", "b", installed=100 * MIB, size=(least - 3) * MIB)


@pytest.mark.parametrize(
    ("label", "code", "firmwares"),
    [
        ("dos", b"\xebc\x90", (("bios",),)),
        ("dos", b"\xfa\xb8", (("bios", "efi"),)),
        ("gpt", b"\xebc\x90", (("bios", "efi"),)),
    ],
)
def test_what_starts_it(tmp_path: Path, label: str, code: bytes, firmwares: Any) -> None:
    image = disk_of(tmp_path, ext(), label=label)
    bytes_at(0, code)(image, 0, 3)
    assert planned(image).firmwares == firmwares
    assert planned(image, firmware="efi").firmwares == (("efi",),)


def test_primary_partitions_of_a_dos_label(tmp_path: Path) -> None:
    image = disk_of(tmp_path, None, None, label="dos")
    run("sfdisk", "-q", "--part-type", image, "2", "ef")
    run("sfdisk", "-q", "--activate", image, "1")
    facts = inspect_image(image)
    assert [(p.number, p.start, p.size, p.bootable) for p in facts.partitions] == [
        (1, MIB, 12 * MIB, True),
        (2, 13 * MIB, 12 * MIB, False),
    ]
    assert facts.bootable_firmwares(AMD64) == (("efi",),)


# --- the copy --------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_growing(tmp_path: Path, label: str) -> None:
    image = disk_of(tmp_path, None, ext(), label=label)
    before = run("sfdisk", "--dump", image)
    table = read_table(image, "x")
    root = table.partitions[1]
    wanted = table.with_root(root, 100 * MIB)
    grow(image, table, wanted)
    assert image.stat().st_size == 100 * MIB
    assert "No errors" in run("sfdisk", "--verify", image)
    grown = read_table(image, "x")
    assert grown.partitions[0] == table.partitions[0]
    assert grown.partitions[1] == dataclasses.replace(root, size=86 * MIB)
    assert grown.id == table.id
    assert before.split("unit")[0].split("label-id")[1] in run("sfdisk", "--dump", image)


def test_growing_by_nothing_does_nothing(kept: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(kept, tmp_path / "copy"))
    table = read_table(copy, "x")
    grow(copy, table, table.with_root(table.partitions[0], table.size))
    assert copy.read_bytes() == kept.read_bytes()


def test_room_that_was_there_already_is_taken(kept: Path, tmp_path: Path) -> None:
    """As after qemu-img resize: GPT's backup is moved, the root follows."""
    copy = Path(shutil.copy(kept, tmp_path / "copy"))
    with copy.open("r+b") as stream:
        stream.truncate(64 * MIB)
    plan = planned(copy)
    base = look(copy)
    base.fresh(copy, plan.disk, ignore, again=False)
    assert read_table(copy, "x").partitions[0].size == 62 * MIB


def test_an_attempt_begins_with_a_new_copy(kept: Path, tmp_path: Path) -> None:
    packed = tmp_path / "a.qcow2"
    qemu_img.convert(kept, packed, source_format="raw", format="qcow2")
    facts = images.look_at(packed)
    disk = tmp_path / "disk"
    images.copy(facts, disk, ignore)
    base = images.look_into(facts, disk)
    wanted = base.table.with_root(base.root.partition, base.table.size)
    disk.write_bytes(b"spoilt")
    base.fresh(disk, wanted, ignore, again=True)
    assert disk.read_bytes() == kept.read_bytes()


def test_status_of_several_architectures_is_the_root_s(tmp_path: Path) -> None:
    status = stanza("dpkg", arch="arm64").encode()
    files = SYSTEM | {"var/lib/dpkg/status": status, "usr/bin/dpkg": elf_header(183)}
    with pytest.raises(SelfinstallError, match="is arm64, not amd64"):
        pipeline.make_plan(
            Request(from_image=disk_of(tmp_path, ext(files)), output=Path("x"), arch="amd64")
        )
