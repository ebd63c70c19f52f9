"""Profiles: what they may say, where they are found, and what a build makes of them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from golden import check
from plan_helpers import SEED, make_facts, make_resolution

from selfinstall import guestfiles, layers, plan, profiles
from selfinstall.arch import all_arches
from selfinstall.cli.parser import parse as parse_command
from selfinstall.cli.verbs import to_request
from selfinstall.errors import InputError, UsageError
from selfinstall.inputs import read_inputs
from selfinstall.layers import key
from selfinstall.plan import Plan
from selfinstall.profiles import Profile, folder
from selfinstall.profiles.declaration import parse
from selfinstall.request import Request

AMD64 = all_arches()["amd64"]
SHIPPED = Path(profiles.__file__).parent
NAMES = sorted(path.parent.name for path in SHIPPED.glob("*/profile.toml"))
SCRIPTS = [
    path
    for path in sorted(SHIPPED.rglob("*"))
    if path.is_file() and path.read_bytes().startswith(b"#!")
]
NOWHERE = Path("/nowhere")


def read(*names: str, own: Path = NOWHERE) -> tuple[Profile, ...]:
    return folder.read_profiles(names, own)


def declared(text: str, **more: Any) -> Profile:
    return parse("mine", "somewhere", text.encode(), **more)


def planned(*wanted: Profile, facts: Any = None, arch: str = "amd64", **request: Any) -> Plan:
    facts = facts or make_facts(architecture=arch)
    asked = Request(tarball=Path("rootfs.tar.zst"), **request)
    return plan.make(
        asked, facts, all_arches()[arch], make_resolution(arch), profiles=wanted, seed=SEED
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_profile_is_understood(name: str) -> None:
    (found,) = read(name)
    assert (found.name, found.source) == (name, "shipped")
    assert found.description
    assert found.acts == (name != "plain")


def test_the_shipped_profiles_are_known_and_go_together() -> None:
    assert {"plain", "autopkgtest", "ssh", "cloud"} <= set(NAMES)
    assert folder.known(NOWHERE) == tuple(NAMES)
    profiles.check_together(read(*NAMES), Request(suite="trixie"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: str(p.relative_to(SHIPPED)))
def test_scripts_of_profiles_are_clean_for_shellcheck(script: Path) -> None:
    done = subprocess.run(
        ["shellcheck", "--shell=sh", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_plain_is_nothing() -> None:
    wanted = read("plain")
    without, with_it = planned(), planned(*wanted)
    assert dataclasses.replace(with_it, profiles=()) == without
    asked, facts = Request(suite="trixie"), make_facts()
    assert plan.needs(asked, facts, AMD64, wanted) == plan.needs(asked, facts, AMD64)


# What a declaration may say


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("packages = [", "is not TOML"),
        ('packages = ["a1"]\npackages = ["b1"]', "is not TOML"),
        ("package = ['a1']", "unknown key 'package'"),
        ("packages = 'a1'", "packages is 'a1', not a list"),
        ("packages = [1]", "not a string"),
        ("packages = ['-y']", "'-y', which is not a package's name"),
        ("packages = ['a1-']", "not a package's name"),
        ("useful = ['A b']", "not a package's name"),
        ("description = 3", "not a string of one line"),
        ('description = "a\\u0007"', "not a string of one line"),
        ("kernel-args = ['a b']", "not one kernel argument"),
        ("kernel-args = ['a=\"b\"']", "not one kernel argument"),
        ("kernel-args = ['$x']", "not one kernel argument"),
        ("modules = ['../x']", "not a kernel module's name"),
        ("user = 'Root'", "not a user's name"),
        ("conflicts = ['A']", "not a profile's name"),
        ("inits = ['upstart']", "not one of"),
        ("provides = ['size']", "not one of"),
        ("init = 1", "not a table"),
        ("[init]\nsystemd = 1", "not a table"),
        ("[init.upstart]\npackages = []", "not one of"),
        ("[init.systemd]\nkernels = []", "not one of"),
        ("[init.systemd]\npackages = ['-']", "not a package's name"),
        ("[warn-without]\nsize = 'x'", "not one of"),
        ("[warn-without]\nuser = 1", "not a string"),
        ("[settings]\nlower = 'x'", "variable's name in capitals"),
        ("[settings]\nLEVEL = 3", "not a string"),
        ("[settings]\nSELFINSTALL_INIT = 'x'", "what selfinstall itself sets"),
        ("a = " + "[" * 5000, "is not TOML"),
    ],
)
def test_what_a_declaration_cannot_say(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        declared(text)
    assert "profile mine (somewhere)" in caught.value.message


def test_what_is_no_text_is_no_declaration() -> None:
    with pytest.raises(InputError, match="not TOML"):
        parse("mine", "somewhere", b"\xff\xfe")


def test_everything_that_a_declaration_says_arrives() -> None:
    found = declared(
        """
        description = "d"
        packages = ["a1", "b2:arm64"]
        useful = ["c3"]
        kernel-args = ["quiet", "x=y,z"]
        modules = ["m"]
        user = "jo"
        conflicts = ["other"]
        inits = ["systemd", "sysvinit"]
        provides = ["ssh-key"]
        init.sysvinit = {packages = ["d4"], useful = ["e5"]}
        warn-without = {hostname = "h"}
        settings = {LEVEL = "it's"}
        """
    )
    assert found.wanted("systemd") == ("a1", "b2:arm64")
    assert found.wanted("sysvinit") == ("a1", "b2:arm64", "d4")
    assert found.wished("sysvinit") == ("c3", "e5")
    assert found.kernel_args == ("quiet", "x=y,z")
    assert (found.modules, found.user, found.conflicts) == (("m",), "jo", ("other",))
    assert (found.inits, found.provides) == (("systemd", "sysvinit"), ("ssh-key",))
    assert found.warn_without == {"hostname": "h"}
    assert found.settings == {"LEVEL": "it's"}
    assert not found.acts


# Where they are found


def make_profile(path: Path, text: str = "", **files: str) -> Path:
    path.mkdir(parents=True)
    (path / "profile.toml").write_text(text)
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_a_profile_of_ones_own_is_found_by_path_and_by_name(tmp_path: Path) -> None:
    mine = make_profile(tmp_path / "mine", "packages = ['a1']", hook="#!/bin/sh\n")
    (mine / "files" / "etc").mkdir(parents=True)
    (mine / "files" / "etc" / "x").write_text("text")
    (mine / "files" / "etc" / "run").write_text("#!/bin/sh\n")
    (found,) = read(str(mine))
    assert (found.name, found.source, found.hook) == ("mine", str(mine), b"#!/bin/sh\n")
    assert found.files == {"etc/run": (b"#!/bin/sh\n", True), "etc/x": (b"text", False)}
    assert read("mine", own=tmp_path) == (found,) == read(f"{mine}/", "mine", own=tmp_path)
    (tmp_path / "lone.toml").write_text("user = 'jo'")
    assert read("lone", own=tmp_path)[0].user == "jo"
    assert read(str(tmp_path / "lone.toml"))[0].name == "lone"
    assert {"lone", "mine", "ssh"} <= set(folder.known(tmp_path))
    make_profile(tmp_path / "ssh", "user = 'own'")
    assert read("ssh", own=tmp_path)[0].user == "own"


def test_a_relative_path_names_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_profile(tmp_path / "mine"))
    assert read("./")[0].name == "mine"


def test_the_folder_of_ones_own() -> None:
    environ = {"HOME": "/home/jo"}
    assert folder.own_folder(environ) == Path("/home/jo/.config/selfinstall/profiles")
    for base, expected in (("/etc/xdg", "/etc/xdg"), ("relative", "/home/jo/.config"), ("", None)):
        found = folder.own_folder({**environ, "XDG_CONFIG_HOME": base})
        assert found == Path(expected or "/home/jo/.config") / "selfinstall" / "profiles"


@pytest.mark.parametrize("name", ["nothing", "__pycache__", "", "SSH"])
def test_an_unknown_profile_names_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="no profile") as caught:
        read(name)
    assert all(known in str(caught.value.hint) for known in NAMES)


def test_profiles_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"profile\.toml: No such file") as caught:
        read(str(tmp_path / "empty"))
    assert "a folder with a profile.toml" in str(caught.value.hint)
    with pytest.raises(InputError, match="cannot be a profile's name"):
        read(str(make_profile(tmp_path / "Mine")))
    with pytest.raises(InputError, match="does not begin with #!"):
        read(str(make_profile(tmp_path / "hooked", hook="echo hello\n")))


def test_trees_that_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = make_profile(tmp_path / "mine")
    tree = mine / "files"
    tree.mkdir()
    (tree / "link").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="symbolic link"):
        read(str(mine))
    (tree / "link").unlink()
    os.mkfifo(tree / "fifo")
    with pytest.raises(InputError, match="neither a file"):
        read(str(mine))
    (tree / "fifo").unlink()
    (tree / "a").write_text("a")
    (tree / "b").write_text("b")
    monkeypatch.setattr(folder, "MAXIMUM_FILES", 1)
    with pytest.raises(InputError, match="more than 1 files"):
        read(str(mine))
    monkeypatch.setattr(folder, "MAXIMUM_BYTES", 0)
    with pytest.raises(InputError, match="larger than"):
        read(str(mine))


def test_two_of_one_name(tmp_path: Path) -> None:
    make_profile(tmp_path / "ssh")
    with pytest.raises(UsageError, match="two profiles are called ssh"):
        read("ssh", str(tmp_path / "ssh"))
    assert len(read("ssh", "ssh")) == 1


def test_the_command_line_takes_lists_and_repetitions() -> None:
    command = parse_command(["--suite", "trixie", "--profile", "ssh, cloud", "--profile", "./x"])
    request = to_request(command.given)
    assert request.profiles == ("ssh", "cloud", "./x")
    with pytest.raises(UsageError, match="no profile"):
        read_inputs(dataclasses.replace(request, profiles=("nothing",)))


# What a build makes of them


@pytest.mark.parametrize("arch", ["amd64", "arm64", "s390x"])
@pytest.mark.parametrize("init", ["systemd", "sysvinit"])
def test_what_the_guest_finds(arch: str, init: str) -> None:
    names = ("autopkgtest", "ssh", *(("cloud",) if init == "systemd" else ()))
    wanted = read(*names)
    made = planned(*wanted, facts=make_facts(architecture=arch, init=init), arch=arch)
    needs = plan.needs(
        Request(tarball=Path("t")),
        make_facts(architecture=arch, init=init, packages={}),
        all_arches()[arch],
        wanted,
    )
    lines = [
        f"profiles: {made.settings['PROFILES']}",
        f"user: {made.settings['USER_NAME']}",
        f"packages: {' '.join(sorted({*needs.wanted} & wanted_by(wanted, made)))}",
    ]
    for path, (content, program) in guestfiles.profile_files(
        made, all_arches()[arch], wanted
    ).items():
        lines.append(f"== {path} {'755' if program else '644'}")
        if path.endswith("/settings"):
            lines.append(content.decode())
    check(f"profiles-{arch}-{init}.txt", "\n".join(lines) + "\n")


def wanted_by(wanted: tuple[Profile, ...], made: Plan) -> set[str]:
    return {name for profile in wanted for name in profile.wanted(made.init)}


def run_hook(name: str, root: Path, arch: str, init: str) -> None:
    """A shipped profile's hook, as if *root* were /."""
    (wanted,) = read(name)
    made = planned(wanted, facts=make_facts(architecture=arch, init=init), arch=arch)
    files = guestfiles.profile_files(made, all_arches()[arch], (wanted,))
    for path, (content, _) in files.items():
        place = root / path.removeprefix(f"profiles/{name}/files/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    settings, hook = (files[f"profiles/{name}/{file}"][0].decode() for file in ("settings", "hook"))
    script = f"set -a\n{settings}\nset +a\n{hook.replace('/etc/', f'{root}/etc/')}"
    subprocess.run(["sh", "-euc", script], check=True, timeout=60)


SOURCES = {
    "sources.list": "deb http://mirror.example.org/debian trixie main\n# deb-src\n",
    "sources.list.d/a.list": "deb http://a.example.org x y\ndeb-src http://a.example.org x y\n",
    "sources.list.d/b.sources": "Types: deb\nURIs: http://b.example.org\n",
    "sources.list.d/c.sources": "Types: deb deb-src\n",
    "sources.list.d/d.save": "deb http://d.example.org x y\n",
}


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("init", ["systemd", "sysvinit"])
def test_what_the_hook_for_autopkgtest_sets_up(tmp_path: Path, arch: str, init: str) -> None:
    for folder_ in ("apt/sources.list.d", "udev/rules.d"):
        (tmp_path / "etc" / folder_).mkdir(parents=True)
    for path, text in SOURCES.items():
        (tmp_path / "etc" / "apt" / path).write_text(text)
    (tmp_path / "etc" / "inittab").write_text("# inittab\n")
    for _ in range(2):  # A second time changes nothing: images can be adapted again.
        run_hook("autopkgtest", tmp_path, arch, init)
    files = [f"etc/apt/{path}" for path in SOURCES]
    files += ["etc/inittab", "etc/udev/rules.d/70-autopkgtest.rules"]
    shown = (
        f"== {path}\n{(tmp_path / path).read_text()}"
        for path in files
        if (tmp_path / path).exists()
    )
    check(f"profile-autopkgtest-{arch}-{init}.txt", "".join(shown))


@pytest.mark.parametrize("included", [True, False])
def test_the_settings_for_ssh_are_read_before_all_others(tmp_path: Path, included: bool) -> None:
    config = tmp_path / "etc" / "ssh" / "sshd_config"
    config.parent.mkdir(parents=True)
    include = "Include /etc/ssh/sshd_config.d/*.conf\n" if included else ""
    config.write_text(f"{include}PasswordAuthentication yes\n".replace("/etc/", f"{tmp_path}/etc/"))
    run_hook("ssh", tmp_path, "amd64", "systemd")
    once = config.read_text()
    run_hook("ssh", tmp_path, "amd64", "systemd")
    assert config.read_text() == once
    lines = [line for line in config.read_text().splitlines() if not line.startswith("#")]
    assert lines[0].startswith("Include" if included else "PasswordAuthentication no")
    assert lines[-1] == "PasswordAuthentication yes"


def test_packages_and_user_and_arguments_are_in_the_plan() -> None:
    mine = declared("packages = ['a1']\nuseful = ['b2']\nuser = 'jo'\nkernel-args = ['quiet']")
    facts = make_facts()
    needs = plan.needs(Request(tarball=Path("t")), facts, AMD64, (mine,))
    assert "a1" in needs.wanted and "b2" in needs.useful
    made = planned(mine, mine)
    assert made.image_args[-1] == "quiet" and made.image_args.count("quiet") == 1
    assert made.settings["USER_NAME"] == "jo"
    assert planned(mine, user="anna").settings["USER_NAME"] == "anna"
    assert "58-profiles" not in made.hooks


def test_the_plan_tells_of_profiles() -> None:
    made = planned(*read("ssh"))
    (told,) = json.loads(made.to_json())["profiles"]
    assert told == {"name": "ssh", "source": "shipped", "sha256": read("ssh")[0].sha256}
    assert re.search(r"^profile: +ssh \(shipped\)$", made.to_text(), re.MULTILINE)
    assert "58-profiles" in made.hooks


def test_what_is_missed_is_said() -> None:
    assert "profile ssh: nobody can log in" in " ".join(planned(*read("ssh")).warnings)
    with_key = planned(*read("ssh"), ssh_key=Path("key.pub"))
    assert "profile ssh" not in " ".join(with_key.warnings)
    assert "profile ssh" not in " ".join(planned(*read("ssh", "cloud")).warnings)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [("linux-image-cloud-amd64", True), ("6.12.0-cloud-amd64", True), ("linux-image-amd64", False)],
)
def test_a_kernel_without_the_modules_is_warned_of(kernel: str, expected: bool) -> None:
    warnings = " ".join(planned(*read("autopkgtest"), kernel=kernel).warnings)
    assert ("which has not the modules 9p, 9pnet_virtio" in warnings) == expected


def test_what_does_not_go_together() -> None:
    asked = Request(suite="trixie")
    one, two = declared("conflicts = ['two']\nuser = 'a'"), parse("two", "here", b"user = 'b'")
    with pytest.raises(UsageError, match="mine and two do not go together"):
        profiles.check_together((two, one), asked)
    profiles.check_together((one,), asked)
    other = dataclasses.replace(one, conflicts=())
    with pytest.raises(UsageError, match="different users"):
        profiles.check_together((two, other), asked)
    profiles.check_together((two, other), dataclasses.replace(asked, user="c"))
    with pytest.raises(UsageError, match="cloud does not work under sysvinit"):
        plan.needs(asked, make_facts(init="sysvinit"), AMD64, read("cloud"))


def test_a_lacking_package_is_blamed_on_its_profile() -> None:
    mine = declared("packages = ['a1']\n[init.sysvinit]\npackages = ['b2']")
    cause = InputError("package a1 is not in the sources (trixie)", "hint")
    error = profiles.blamed(cause, (mine, *read("ssh")), "systemd")
    assert error.message == "profile mine: package a1 is not in the sources (trixie)"
    assert error.hint == "hint"
    assert (
        profiles.blamed(InputError("package b2 is not"), (mine,), "systemd").message[:7]
        != "profile"
    )
    assert "profile mine" in profiles.blamed(InputError("b2 needs c"), (mine,), "sysvinit").message


def key_of(*wanted: Profile, **request: Any) -> str:
    facts = make_facts()
    made = planned(*wanted, facts=facts, **request)
    made = dataclasses.replace(made, hooks=layers.with_points(made.hooks))
    files = guestfiles.files_before_layers(made, AMD64, b"", wanted)
    return key.layer_keys(made, AMD64, facts, files)[layers.POINTS[-1]]


def test_a_layer_holds_what_the_profiles_set_up() -> None:
    mine = declared("", hook=b"#!/bin/sh\n", files={"etc/x": (b"x", False)})
    first = key_of(mine)
    assert first == key_of(mine, user="jo", hostname="other") != key_of()
    changes: list[dict[str, Any]] = [
        {"hook": b"#!/bin/sh\n:\n"},
        {"files": {"etc/x": (b"y", False)}},
        {"files": {"etc/x": (b"x", True)}},
        {"files": {"etc/y": (b"x", False)}},
        {"settings": {"LEVEL": "3"}},
        {"kernel_args": ("quiet",)},
        {"name": "other"},
    ]
    keys = [key_of(dataclasses.replace(mine, **change)) for change in changes]
    assert len({first, *keys}) == len(changes) + 1
    two = dataclasses.replace(mine, name="two")
    assert key_of(mine, two) != key_of(two, mine)
    # Another user alone is no other layer: the seed is what makes images differ.
    assert key_of(dataclasses.replace(mine, user="jo")) == first


def test_the_hash_of_a_profile_is_of_all_its_files() -> None:
    mine = declared("", hook=b"#!/bin/sh\n", files={"a": (b"bc", False)})
    others = [
        declared("# x", hook=b"#!/bin/sh\n", files={"a": (b"bc", False)}),
        declared("", hook=b"#!/bin/sh\n", files={"ab": (b"c", False)}),
        declared("", hook=b"#!/bin/sh\n", files={"a": (b"bc", True)}),
        declared("", files={"a": (b"bc", False)}),
    ]
    assert len({profile.sha256 for profile in (mine, *others)}) == 5
