"""A layer's key: every input changes it, and nothing else does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from plan_helpers import SEED, make_facts, make_package

from selfinstall import guestfiles, layers, plan
from selfinstall.arch import Arch, all_arches
from selfinstall.initramfs.hooks import Hook, load_hook
from selfinstall.layers import POINTS, key
from selfinstall.packages.resolution import Resolution, Step
from selfinstall.plan import Plan
from selfinstall.request import Request
from selfinstall.rootfs.facts import RootfsFacts

AMD64 = all_arches()["amd64"]
RESOLUTION = Resolution(
    packages=(make_package("kmod"), make_package("linux-image-amd64")),
    steps=(Step("unpack", ("kmod_1.0-1_amd64.deb",)), Step("configure", ("kmod:amd64",))),
)
POINT = POINTS[-1]


def planned(
    facts: RootfsFacts, resolution: Resolution = RESOLUTION, arch: Arch = AMD64, **request: Any
) -> Plan:
    asked = Request(tarball=Path("rootfs.tar.zst"), **request)
    seed = request.get("seed") or plan.content_seed(asked, facts, resolution.packages)
    made = plan.make(asked, facts, arch, resolution, seed=seed)
    return dataclasses.replace(made, hooks=layers.with_points(made.hooks))


def key_of(made: Plan, facts: RootfsFacts, esp: bytes = b"esp") -> str:
    files = guestfiles.files_before_layers(made, AMD64, esp)
    return key.layer_keys(made, AMD64, facts, files)[POINT]


def key_with(
    facts: RootfsFacts | None = None, resolution: Resolution = RESOLUTION, **request: Any
) -> str:
    facts = facts or make_facts()
    return key_of(planned(facts, resolution, **request), facts)


FIRST = key_with()


@pytest.mark.parametrize(
    "request_",
    [
        {"hostname": "other"},
        {"size": 3 << 30},
        {"size": 77 << 30},
        {"format": "qcow2"},
        {"output": Path("elsewhere.img")},
        {"user": "jo"},
        {"user_password_file": Path("up"), "user": "jo"},
        {"root_password_file": Path("rp")},
        {"memory": 4096},
        {"payload": "initramfs"},
        {"customize_hooks": (Path("hook"),)},
        {"accel": "kvm"},
        {"qemu": Path("other")},
        {"verify": False},
        {"tarball": Path("other-name.tar")},
    ],
    ids=str,
)
def test_what_makes_one_certain_machine_is_no_input(request_: dict[str, Any]) -> None:
    facts = make_facts()
    asked = Request(**{"tarball": Path("rootfs.tar.zst"), **request_})
    seed = plan.content_seed(asked, facts, RESOLUTION.packages)
    made = plan.make(asked, facts, AMD64, RESOLUTION, seed=seed)
    made = dataclasses.replace(made, hooks=layers.with_points(made.hooks))
    assert key_of(made, facts) == FIRST


def test_the_name_of_the_tarball_is_no_input() -> None:
    assert key_with(make_facts(name="/elsewhere/x.tar")) == FIRST


def changed(package: int, **values: Any) -> Resolution:
    packages = list(RESOLUTION.packages)
    packages[package] = dataclasses.replace(packages[package], **values)
    return dataclasses.replace(RESOLUTION, packages=tuple(packages))


@pytest.mark.parametrize(
    "resolution",
    [
        changed(0, sha256="1" * 63 + "2"),
        changed(1, version="1.0-2"),
        changed(1, automatic=True),
        dataclasses.replace(RESOLUTION, packages=RESOLUTION.packages[::-1]),
        dataclasses.replace(RESOLUTION, steps=RESOLUTION.steps[::-1]),
        Resolution(),
    ],
    ids=["hash", "version", "automatic", "order", "steps", "none"],
)
def test_packages_are_inputs(resolution: Resolution) -> None:
    # One seed: the ids that follow from the content are not what makes the difference.
    assert key_with(resolution=resolution, seed=SEED) != key_with(seed=SEED)


@pytest.mark.parametrize(
    "request_",
    [
        {"firmware": "bios"},
        {"seed": "b"},
        {"source_date_epoch": 1},
        {"unpack": "guest"},
    ],
    ids=str,
)
def test_what_the_disk_shows_is_an_input(request_: dict[str, Any]) -> None:
    assert key_with(**{"seed": SEED, **request_}) != key_with(seed=SEED)


@pytest.mark.parametrize(
    "facts",
    [
        {"sha256": "0" * 63 + "1"},
        {"init": "sysvinit"},
        {"distribution": "devuan"},
        {"content_bytes": 9 << 30},
    ],
    ids=str,
)
def test_the_tarball_is_an_input(facts: dict[str, Any]) -> None:
    assert key_with(make_facts(**facts), seed=SEED) != key_with(seed=SEED)


def before_the_point() -> list[str]:
    return [name for name in planned(make_facts()).hooks if name < POINT]


@pytest.mark.parametrize("name", before_the_point())
def test_every_hook_before_the_point_is_an_input(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(wanted: str) -> Hook:
        hook = load_hook(wanted)
        return dataclasses.replace(hook, text=hook.text + "\n") if wanted == name else hook

    monkeypatch.setattr(key, "load_hook", load)
    assert key_with() != FIRST


@pytest.mark.parametrize("name", ["90-seal", "72-system"])
def test_hooks_after_the_point_are_no_inputs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(wanted: str) -> Hook:
        assert wanted in {*before_the_point(), POINT} or wanted > POINT
        hook = load_hook(wanted)
        return dataclasses.replace(hook, text="changed") if wanted == name else hook

    monkeypatch.setattr(key, "load_hook", load)
    assert key_with() == FIRST


def test_every_file_that_the_hooks_find_is_an_input() -> None:
    facts = make_facts()
    made = planned(facts)
    files = guestfiles.files_before_layers(made, AMD64, b"esp")
    assert {"init", "lib.sh", "dpkg-steps", "files/grub.cfg", "esp.head"} <= files.keys()
    for path, content in files.items():
        other = {**files, path: content + b"x"}
        assert key.layer_keys(made, AMD64, facts, other)[POINT] != FIRST


@pytest.mark.parametrize(
    "setting",
    sorted(
        {need for name in before_the_point() for need in load_hook(name).needs} - key.WITHOUT_TRACE
    ),
)
def test_every_declared_setting_is_an_input(setting: str) -> None:
    facts = make_facts()
    made = planned(facts)
    settings = {**made.settings, setting: made.settings[setting] + "x"}
    assert key_of(dataclasses.replace(made, settings=settings), facts) != FIRST


def test_the_guest_s_kernel_arguments_are_inputs() -> None:
    facts = make_facts()
    made = planned(facts)
    other = dataclasses.replace(made, installer_args=(*made.installer_args, "x"))
    assert key_of(other, facts) != FIRST


def test_another_version_of_this_program_makes_other_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key, "fingerprint", lambda: "changed")
    assert key_with() != FIRST


def test_nothing_before_the_point_declares_what_is_one_machine_s_own() -> None:
    needs = {need for name in before_the_point() for need in load_hook(name).needs}
    assert not needs & {"HOST_NAME", "USER_NAME", "CUSTOMIZE_HOOKS"}
    for name in before_the_point():
        assert "/selfinstall/secrets" not in load_hook(name).text


def test_builds_that_begin_with_a_layer_run_what_follows_and_what_says_so() -> None:
    left = layers.after(planned(make_facts()).hooks, POINT)
    assert left == (
        "10-modules", "20-partition", "35-mount", "45-chroot",
        "70-grow", "72-system", "75-customize", "80-refresh", "90-seal",
    )  # fmt: skip
