from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from golden import check
from plan_helpers import make_facts, make_package, make_plan

from selfinstall import guestfiles, plan
from selfinstall.arch import Arch, all_arches
from selfinstall.errors import InputError, UsageError
from selfinstall.initramfs.hooks import load_hook
from selfinstall.layout import ALIGNMENT, MIB
from selfinstall.packages.resolution import Resolution
from selfinstall.request import STDIN, Request
from selfinstall.rootfs.facts import Kernel

AMD64 = all_arches()["amd64"]
each_arch = pytest.mark.parametrize("arch", all_arches().values(), ids=lambda arch: arch.name)
REQUEST = Request(tarball=Path("rootfs.tar.zst"))
EVERYTHING = dict.fromkeys(
    (*plan.BASE_PACKAGES, "initramfs-tools", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin"),
    "1",
)
KERNEL = Kernel(version="6.12", image="boot/vmlinuz-6.12", initrd="boot/initrd.img-6.12")


def test_a_kernel_less_tarball_needs_kernel_generator_and_both_loaders() -> None:
    needs = plan.needs(REQUEST, make_facts(), AMD64)
    wanted = needs.wanted
    assert needs.kernels == AMD64.kernel_packages
    assert {
        "initramfs-tools",
        "grub-pc-bin",
        "grub-efi-amd64-bin",
        "grub2-common",
        "e2fsprogs",
        "kmod",
    } <= set(wanted)
    assert "login" not in wanted
    assert len(wanted) == len(set(wanted))


def test_a_complete_tarball_needs_nothing() -> None:
    facts = make_facts(kernels=(KERNEL,), packages=EVERYTHING)
    assert plan.needs(REQUEST, facts, AMD64).nothing


def test_a_tarball_or_request_with_dracut_needs_no_other_generator() -> None:
    facts = make_facts(packages={"dracut": "106-6"})
    assert "initramfs-tools" not in plan.needs(REQUEST, facts, AMD64).wanted
    # The two packages do not go together.
    request = dataclasses.replace(REQUEST, include=("dracut=106-6",))
    assert "initramfs-tools" not in plan.needs(request, make_facts(), AMD64).wanted
    # It alone makes no initramfs for a new kernel.
    core = make_facts(packages={"dracut-core": "106-6"})
    assert "initramfs-tools" in plan.needs(REQUEST, core, AMD64).wanted


def test_one_firmware_needs_one_loader() -> None:
    request = dataclasses.replace(REQUEST, firmware="bios")
    wanted = plan.needs(request, make_facts(), AMD64).wanted
    assert "grub-pc-bin" in wanted and "grub-efi-amd64-bin" not in wanted


def test_a_tarball_without_init_gets_one() -> None:
    assert "systemd-sysv" in plan.needs(REQUEST, make_facts(init=None), AMD64).wanted


def test_included_packages_are_wanted_even_when_installed() -> None:
    request = dataclasses.replace(REQUEST, include=("mount", "hello"))
    assert plan.needs(request, make_facts(), AMD64).wanted[-2:] == ("mount", "hello")


def test_an_asked_for_kernel_is_wanted_beside_the_tarballs_own() -> None:
    request = dataclasses.replace(REQUEST, kernel="linux-image-cloud-amd64")
    facts = make_facts(kernels=(KERNEL,), packages=EVERYTHING)
    needs = plan.needs(request, facts, AMD64)
    assert (needs.wanted, needs.kernels) == (("linux-image-cloud-amd64",), ())


@pytest.mark.parametrize(
    ("tarball", "format", "expected"),
    [
        ("/x/root.tar.zst", "raw", "root.img"),
        ("root.tar", "qcow2", "root.qcow2"),
        ("root.tgz", "vdi", "root.vdi"),
        ("a.b.tar.xz", "raw", "a.b.img"),
    ],
)
def test_output_name(tarball: str, format: str, expected: str) -> None:
    request = Request(tarball=Path(tarball), format=format)  # type: ignore[arg-type]
    assert plan.output_path(request) == Path(expected)


def test_standard_input_needs_an_output_name() -> None:
    with pytest.raises(UsageError, match="no name"):
        plan.output_path(Request(tarball=STDIN))


def test_partitions_are_aligned_and_root_is_last_and_leaves_room_for_the_backup_table() -> None:
    disk = make_plan(size=3 * 1000**3).disk
    assert [p.role for p in disk.partitions] == ["bios_grub", "esp", "root"]
    for before, after in zip(disk.partitions, disk.partitions[1:], strict=False):
        assert before.start + before.size == after.start
    assert all(p.start % ALIGNMENT == 0 and p.size % ALIGNMENT == 0 for p in disk.partitions)
    assert disk.size - (disk.root.start + disk.root.size) == MIB
    assert disk.size <= 3 * 1000**3


def test_ids_follow_the_seed_and_nothing_else() -> None:
    facts, request = make_facts(), REQUEST
    plans = [plan.make(request, facts, AMD64, Resolution(), seed=seed) for seed in ("a", "a", "b")]
    assert plans[0] == plans[1]
    assert plans[0].root_uuid != plans[2].root_uuid
    ids = [plans[0].root_uuid, plans[0].root_hash_seed, plans[0].disk.uuid]
    ids += [p.uuid for p in plans[0].disk.partitions]
    assert len(set(ids)) == len(ids)


def test_a_disk_that_is_too_small_names_the_least_size() -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(size=300 * MIB)
    hint = caught.value.hint
    assert hint is not None
    least = int(hint.split()[1].rstrip("M"))
    assert make_plan(size=least * MIB).disk.size == least * MIB
    with pytest.raises(UsageError):
        make_plan(size=(least - 2) * MIB)


def test_the_default_disk_grows_with_its_contents() -> None:
    facts = make_facts(content_bytes=20 << 30, tar_bytes=20 << 30)
    assert make_plan(facts).disk.size > 40 << 30


def test_wrong_architecture_names_both() -> None:
    with pytest.raises(InputError, match=r"amd64, not armhf"):
        make_plan(arch="armhf")


def test_unknown_boot_loader() -> None:
    with pytest.raises(UsageError, match="zipl"):
        make_plan(bootloader="zipl")


def test_payload_goes_where_it_fits() -> None:
    assert make_plan(unpack="guest").payload == "disk"
    assert make_plan(unpack="guest", memory=1024).payload == "initramfs"
    large = make_facts(tar_bytes=3 << 30, content_bytes=3 << 30)
    assert make_plan(large, unpack="guest").payload == "disk"
    assert make_plan(payload="disk").payload == "disk"
    assert make_plan(large, unpack="guest", memory=16384).payload == "initramfs"
    assert make_plan(large, unpack="guest", payload="initramfs").memory_mib > 6144
    with pytest.raises(UsageError, match="memory"):
        make_plan(large, unpack="guest", payload="initramfs", memory=1024)


def test_a_rootfs_that_the_host_unpacks_takes_no_memory_of_the_guest() -> None:
    large = make_facts(tar_bytes=3 << 30, content_bytes=3 << 30)
    least = make_plan().memory_mib
    assert make_plan(large).memory_mib == least
    assert make_plan(large, payload="initramfs").memory_mib == least


def test_who_makes_the_root() -> None:
    making = {"30-format", "40-unpack"}
    assert not making & set(make_plan().hooks)
    assert making <= set(make_plan(unpack="guest").hooks)


def test_hooks_run_in_the_order_of_their_names() -> None:
    hooks = make_plan().hooks
    assert list(hooks) == sorted(hooks)
    assert "65-grub-pc" in hooks and "65-grub-efi" in hooks
    assert "65-grub-efi" not in make_plan(firmware="bios").hooks


@each_arch
@pytest.mark.parametrize("bootloader", ["auto", "none", "extlinux"])
def test_settings_hold_what_the_hooks_declare(arch: Arch, bootloader: str) -> None:
    if bootloader not in ("auto", "none", *(use.loader for use in arch.loaders)):
        return
    made = make_plan(make_facts(architecture=arch.name), bootloader=bootloader)
    for name in ("init", *made.hooks):
        missing = set(load_hook(name).needs) - made.settings.keys()
        assert not missing, f"{name} needs {missing}"


@each_arch
def test_plan_is_json_and_text(arch: Arch) -> None:
    made = make_plan(make_facts(architecture=arch.name))
    assert json.loads(made.to_json())["disk"]["partitions"][-1]["role"] == "root"
    check(f"plan-{arch.name}.txt", made.to_text())


@each_arch
def test_rendered_files(arch: Arch) -> None:
    made = make_plan(make_facts(architecture=arch.name), hostname="it's", user="jo")
    for name, text in guestfiles.rendered(made, arch).items():
        check(f"rendered-{arch.name}-{name.replace('/', '-')}", text)


@pytest.mark.parametrize("name", ["settings", "files/grub.cfg"])
def test_what_shells_read_is_clean_for_shellcheck(name: str) -> None:
    text = guestfiles.rendered(make_plan(hostname="it's", user="jo"), AMD64)[name]
    # SC2034: these variables are for others.
    done = subprocess.run(
        ["shellcheck", "--shell=sh", "--exclude=SC2034", "-"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@each_arch
def test_sfdisk_script(arch: Arch) -> None:
    made = make_plan(make_facts(architecture=arch.name))
    check(f"sfdisk-{arch.name}.txt", made.disk.sfdisk_script())


def test_installed_size_counts() -> None:
    facts = make_facts()
    small = plan.needed_root_bytes(facts, ())
    large = [make_package("x", installed=1 << 30)]
    # Packed and unpacked at the same time.
    assert 2 << 30 <= plan.needed_root_bytes(facts, large) - small <= 3 << 30


def test_the_root_begins_with_a_size_that_its_content_decides() -> None:
    sizes = {
        made.settings["ROOT_BLOCKS"]
        for made in (make_plan(), make_plan(size=2 << 30), make_plan(size=99 << 30, memory=4096))
    }
    assert len(sizes) == 1
    assert make_plan(make_facts(content_bytes=9 << 30)).settings["ROOT_BLOCKS"] not in sizes


def test_without_a_seed_ids_follow_the_contents() -> None:
    facts, packages = make_facts(), (make_package("x"),)
    first = plan.content_seed(REQUEST, facts, packages)
    assert first == plan.content_seed(REQUEST, facts, packages)
    other = make_facts(sha256="1" * 64)
    seeds = {plan.content_seed(REQUEST, f, p) for f in (facts, other) for p in (packages, ())}
    assert len(seeds) == 4


def test_what_the_menu_is_made_by_can_run_again() -> None:
    assert make_plan().settings["MENU_HOOKS"] == "68-grub-config"
