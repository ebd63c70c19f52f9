"""selfinstall-build-qemu: autopkgtest-build-qemu's words, and the requests that they stand for."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from cli_helpers import Library, raising

from selfinstall import errors
from selfinstall.arch import all_arches
from selfinstall.cli import build_qemu
from selfinstall.cli.build_qemu import parse, to_build
from selfinstall.cli.options import BUILD
from selfinstall.cli.verbs import to_request
from selfinstall.errors import InputError, UsageError
from selfinstall.plan import chosen_init, chosen_loaders
from selfinstall.request import Request

Captured = pytest.CaptureFixture[str]
G = 1 << 30
#: What RELEASE and IMAGE alone stand for.
PLAIN = Request(
    suite="trixie",
    output=Path("o.img"),
    format="qcow2",
    size=25 * G,
    hostname="host",
    image_apt_proxy="host",
    profiles=("autopkgtest",),
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOURCE_DATE_EPOCH", "SELFINSTALL_CACHE_LIMIT", "SELFINSTALL_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    for kind in ("AUTOPKGTEST", "ADT"):
        for name in ("APT_PROXY", "APT_SOURCES", "APT_SOURCES_FILE", "KEEP_APT_SOURCES"):
            monkeypatch.delenv(f"{kind}_{name}", raising=False)


def request_of(folder: Path, line: str, **environment: str) -> Request:
    return to_request(to_build(parse(line.split()), environment, folder).given)


# fmt: off
TABLE: list[tuple[str, dict[str, object]]] = [
    ("trixie o.img", {}),
    ("--architecture arm64 trixie o.img", {"arch": "arm64"}),
    ("trixie --arch=arm64 o.img", {"arch": "arm64"}),
    ("trixie o.img --mirror=http://m.example.org/d", {"mirror": "http://m.example.org/d"}),
    ("trixie o.img --mirror= --arch= --size= --boot= --init= --script= --keyring= --apt-proxy=",
     {}),
    ("trixie o.img --keyring k.gpg", {"keyring": Path("k.gpg")}),
    ("trixie o.img --size 10G", {"size": 10 * G}),
    ("trixie o.img --apt-proxy http://localhost:1", {"apt_proxy": "http://localhost:1"}),
    ("trixie o.img --apt-proxy DIRECT", {"apt_proxy": "DIRECT"}),
    ("trixie o.img --boot auto", {}),
    ("trixie o.img --boot bios", {"firmware": "bios"}),
    ("trixie o.img --boot=efi", {"firmware": "efi"}),
    ("trixie o.img --efi", {"firmware": "efi"}),
    ("trixie o.img --boot=ieee1275", {"firmware": "slof"}),
    ("trixie o.img --boot=none", {"bootloader": "none"}),
    ("trixie o.img --init auto", {}),
    ("trixie o.img --init systemd", {}),
    ("trixie o.img --init sysv-rc", {"include": ("sysvinit-core", "sysv-rc")}),
    ("trixie o.img --init openrc", {"include": ("sysvinit-core", "openrc")}),
    ("trixie o.img --mergeusr", {}),
    # Abbreviations, as argparse takes them.
    ("trixie o.img --mirr http://m.example.org/d --siz 2G",
     {"mirror": "http://m.example.org/d", "size": 2 * G}),
    # The old way: one after the other.
    ("trixie o.img http://m.example.org/d", {"mirror": "http://m.example.org/d"}),
    ("trixie o.img http://m.example.org/d i386", {"mirror": "http://m.example.org/d",
                                                  "arch": "i386"}),
    # selfinstall's own.
    ("trixie o.img --accel tcg --no-verify --log l", {"accel": "tcg", "verify": False,
                                                      "log": Path("l")}),
    ("trixie o.img --include aa,bb --init openrc",
     {"include": ("aa", "bb", "sysvinit-core", "openrc")}),
]
# fmt: on


@pytest.mark.parametrize(("line", "wanted"), TABLE, ids=[line for line, _ in TABLE])
def test_the_request_of_a_command_line(
    tmp_path: Path, line: str, wanted: dict[str, object]
) -> None:
    assert request_of(tmp_path, line) == dataclasses.replace(PLAIN, **wanted)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_every_option() -> None:
    words = {word.partition("=")[0] for line, _ in TABLE for word in line.split()}
    flags = {flag for option in build_qemu.OWN.options for flag in option.flags}
    assert flags <= words
    for option, values in (("--boot", build_qemu.BOOT), ("--init", build_qemu.INIT)):
        said = {re.split("[= ]", line.partition(option)[2][1:])[0] for line, _ in TABLE}
        assert values.keys() <= said


def test_every_protocol_is_of_some_architecture() -> None:
    for name, asked in build_qemu.BOOT.items():
        request = dataclasses.replace(PLAIN, **asked)
        found = []
        for arch in all_arches().values():
            try:
                found.append(chosen_loaders(request, arch))
            except UsageError:
                continue
        assert any(found) or name == "none"
        assert found


def test_init_systems_are_known_again() -> None:
    found = {
        name: chosen_init(dataclasses.replace(PLAIN, include=packages), None)
        for name, packages in build_qemu.INIT.items()
    }
    assert found == {
        "auto": "systemd",
        "systemd": "systemd",
        "sysv-rc": "sysvinit",
        "openrc": "openrc",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "required: RELEASE, IMAGE"),
        ("trixie", "required: IMAGE"),
        ("trixie o.img --nope", "unknown option '--nope'"),
        ("trixie o.img --mirro http://a --mirror b", "'b' is not a URI"),
        ("trixie o.img http://m amd64 s 5G more", "one argument too many: 'more'"),
        ("trixie o.img http://a/ --mirror http://b/", "argument 3 and --mirror say the same"),
        ("trixie o.img http://a/ amd64 --arch i386", "argument 4 and --arch say the same"),
        ("trixie o.img http://a/ amd64 s --script t", "argument 5 and --script say the same"),
        ("trixie o.img http://a/ amd64 s 5G --size 6G", "argument 6 and --size say the same"),
        ("trixie o.img --boot=coreboot", "'coreboot' is none of auto, bios"),
        ("trixie o.img --init=runit", "'runit' is none of auto, systemd"),
        ("trixie o.img --size=big", "'big' is not a size"),
        ("trixie o.img --apt-proxy=localhost", "'localhost' is not a proxy's URI"),
        ("TRIXIE! o.img", "'TRIXIE!' is not the name of a suite"),
    ],
)
def test_what_makes_no_sense(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        parse(line.split())
    assert caught.value.hint


# -- the environment -----------------------------------------------------------------------


def test_the_environment_s_proxy(tmp_path: Path) -> None:
    uri = "http://127.0.0.1:3142"
    for name in ("AUTOPKGTEST_APT_PROXY", "ADT_APT_PROXY"):
        assert request_of(tmp_path, "trixie o.img", **{name: uri}).apt_proxy == uri
        other = request_of(tmp_path, "trixie o.img --apt-proxy DIRECT", **{name: uri})
        assert other.apt_proxy == "DIRECT"
        assert request_of(tmp_path, "trixie o.img", **{name: ""}).apt_proxy is None
        with pytest.raises(UsageError, match=f"{name}: 'x' is not a proxy's URI"):
            request_of(tmp_path, "trixie o.img", **{name: "x"})


ONE_LINE = "deb http://m.example.org/d trixie main\ndeb-src http://m.example.org/d trixie main"
DEB822 = "Types: deb deb-src\nURIs: http://m.example.org/d\nSuites: trixie\nComponents: main"


@pytest.mark.parametrize(("text", "suffix"), [(ONE_LINE, ".list"), (DEB822, ".sources")])
def test_the_environment_s_sources(tmp_path: Path, text: str, suffix: str) -> None:
    file = tmp_path / "sources"
    file.write_text(text)
    both = {"AUTOPKGTEST_APT_SOURCES_FILE": str(file), "AUTOPKGTEST_APT_SOURCES": "rubbish"}
    for environment in ({"AUTOPKGTEST_APT_SOURCES": text}, both):
        sources = request_of(tmp_path, "trixie o.img", **environment).sources
        assert sources is not None and sources.suffix == suffix
        assert sources.read_text() == f"{text}\n"
    kept = {**both, "AUTOPKGTEST_KEEP_APT_SOURCES": "1"}
    assert request_of(tmp_path, "trixie o.img", **kept).sources is None


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/nonexistent: No such file"):
        request_of(tmp_path, "trixie o.img", AUTOPKGTEST_APT_SOURCES_FILE="/nonexistent")


# -- the script ----------------------------------------------------------------------------


def test_a_script_and_its_environment(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\nchroot "$1" true\n')
    line = f"trixie o.img --mirror http://m.example.org/d --script {script}"
    environment = {"AUTOPKGTEST_X": "a b", "AUTOPKGTEST_APT_SOURCES": ONE_LINE, "HOME": "/root"}
    environment["AUTOPKGTEST_APT_PROXY"] = "http://localhost:3142"
    request = request_of(tmp_path, line, **environment)
    assert request.customize_hooks == (script,)
    assert request.customize_network
    assert dict(request.customize_environment) == {
        "AUTOPKGTEST_BUILD_QEMU": "1",
        "AUTOPKGTEST_X": "a b",
        "AUTOPKGTEST_APT_PROXY": "http://10.0.2.2:3142",
        "MIRROR": "http://m.example.org/d",
        "RELEASE": "trixie",
        "ROOT": "/",
    }
    old = request_of(tmp_path, f"trixie o.img http://m.example.org/d amd64 {script} 5G")
    assert (old.customize_hooks, old.arch, old.size) == ((script,), "amd64", 5 * G)


def test_a_script_without_interpreter_is_the_shell_s(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("true\n")
    folder = tmp_path / "work"
    folder.mkdir()
    (hook,) = request_of(folder, f"trixie o.img --script {script}").customize_hooks
    assert hook.read_text() == "#!/bin/sh\ntrue\n"
    assert script.read_text() == "true\n"


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/nonexistent: No such file"):
        request_of(tmp_path, "trixie o.img --script /nonexistent")


# -- the program ---------------------------------------------------------------------------


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    stub = Library()
    stub.install(monkeypatch)
    return stub


def test_the_program_builds_as_selfinstall_does(
    library: Library, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPKGTEST_APT_SOURCES", ONE_LINE)
    texts: list[str] = []
    library.act = lambda: texts.append(library.request.sources.read_text())
    assert build_qemu.run(["trixie", "o.img"]) == 0
    assert texts == [f"{ONE_LINE}\n"]
    assert not library.request.sources.exists()
    assert "o.img is ready" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [errors.InputError("m", "h"), errors.HostError("m", "h"), errors.BootFailed("m", "h")],
)
def test_errors_and_exit_statuses_are_those_of_selfinstall(
    library: Library, capsys: Captured, error: errors.SelfinstallError
) -> None:
    library.act = raising(error)
    assert build_qemu.run(["trixie", "o.img"]) == error.exit_status
    told = ["selfinstall: error: m", "selfinstall: hint: h"]
    assert capsys.readouterr().err.splitlines() == told


def test_help_and_version(capsys: Captured) -> None:
    assert build_qemu.run(["--help"]) == 0
    out = capsys.readouterr().out
    for option in build_qemu.PROGRAM_VERB.options:
        assert option.flags[-1] in out
    assert max(map(len, out.splitlines())) <= 80
    assert build_qemu.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("selfinstall ")


def test_options_of_selfinstall_are_its_own() -> None:
    theirs = set(BUILD.options)
    own = set(build_qemu.OWN.options)
    assert set(build_qemu.PROGRAM_VERB.options) - own <= theirs
    wanted = {*build_qemu._ALSO, *build_qemu._ALSO_OUTPUT}
    assert wanted <= {option.dest for option in theirs}
