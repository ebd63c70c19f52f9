"""The documents tell of everything there is, and of nothing else."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path

import pytest

from selfinstall import errors
from selfinstall.cli import build_qemu
from selfinstall.cli.help import EXIT_STATUS
from selfinstall.cli.options import BUILD, VERBS, VIRT_SSH
from selfinstall.errors import SelfinstallError
from selfinstall.events import Event, Kind
from selfinstall.virtssh.__main__ import COMMANDS

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "selfinstall.1").read_text()
VIRT_SSH_MANUAL = (ROOT / "docs" / "selfinstall-virt-ssh.1").read_text()
README = (ROOT / "README.md").read_text()
BUILD_QEMU = (ROOT / "docs" / "selfinstall-build-qemu.1").read_text()
LIBRARY = (ROOT / "docs" / "library.md").read_text()
FLAGS = {
    flag
    for verb in (BUILD, *VERBS.values(), VIRT_SSH)
    for option in verb.options
    for flag in option.flags
}
FLAGS |= {flag for option in build_qemu.PROGRAM_VERB.options for flag in option.flags}
#: Options of other programs that the examples show.
FOREIGN = {"--include", "--foreign", "--configure", "--pending", "--timeout-reboot"}
_LONG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")


def plain(roff: str) -> str:
    """The manual's text without its markup."""
    text = re.sub(r'^\.\\".*$', "", roff, flags=re.MULTILINE)
    text = re.sub(r"\\f[A-Z]", "", text).replace("\\-", "-").replace('"', "")
    return re.sub(r"^\.[A-Z]{1,2} ", "", text, flags=re.MULTILINE)


def section(name: str) -> str:
    """One section of the manual."""
    return plain(MANUAL.partition(f".SH {name}\n")[2].partition("\n.SH ")[0])


def test_the_manual_has_every_option_of_a_build() -> None:
    heads = re.findall(
        r"^\.TP\n(.*)$", MANUAL.partition(".SH OPTIONS FOR BUILDING")[2], re.MULTILINE
    )
    described = {
        flag for head in heads for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", plain(head))
    }
    wanted = {flag for option in BUILD.options for flag in option.flags}
    assert wanted - described == set()


def test_the_manual_names_the_values_that_options_take() -> None:
    for option in BUILD.options:
        if "|" in option.metavar and option.metavar != "FILE|-":
            assert option.metavar in plain(MANUAL), option.flags


def test_the_manual_of_build_qemu_has_its_options_and_no_others() -> None:
    text = plain(BUILD_QEMU)
    heads = [plain(head) for head in re.findall(r"^\.TP\n(.*)$", BUILD_QEMU, re.MULTILINE)]
    found = {flag for head in heads for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", head)}
    options = build_qemu.PROGRAM_VERB.options
    assert found == {flag for option in options for flag in option.flags}
    for option in build_qemu.OWN.options:
        assert "|" not in option.metavar or option.metavar in text, option.flags
    assert set(_LONG.findall(text)) <= FLAGS
    source = inspect.getsource(build_qemu)
    for name in re.findall(r'"((?:AUTOPKGTEST|ADT)_[A-Z_]+[A-Z])"', source):
        assert name in text


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_the_manual_has_every_option_of_a_verb(verb) -> None:  # type: ignore[no-untyped-def]
    text = section("OPTIONS OF THE VERBS")
    own = text.partition("All take")[2]
    for option in verb.options:
        assert option.flags[0] in text or option.flags[0] in own, option.flags
    assert f"selfinstall {verb.name}" in plain(MANUAL)
    assert re.search(rf"^{verb.name}\b", section("VERBS"), re.MULTILINE)


def test_the_setup_script_s_manual_has_its_options_and_commands() -> None:
    text = plain(VIRT_SSH_MANUAL)
    described = set(_LONG.findall(plain(VIRT_SSH_MANUAL.partition(".SH OPTIONS")[2])))
    assert described == {flag for o in VIRT_SSH.options for flag in o.flags if flag[:2] == "--"} | {
        "--suite",
        "--ssh-key",
    }
    for name in COMMANDS:
        assert re.search(rf"^{name}$", text, re.MULTILINE), name


@pytest.mark.parametrize("name", ["README.md", "docs/selfinstall.1", "docs/library.md"])
def test_no_document_has_an_option_that_is_none(name: str) -> None:
    text = (ROOT / name).read_text()
    found = set(_LONG.findall(plain(text)))
    scripts = {"--no-boot", "--matrix"} if name == "README.md" else set()
    assert found - FLAGS - FOREIGN - scripts == set()


def test_every_exit_status_is_in_the_manual_and_the_help() -> None:
    text = section("EXIT STATUS")
    ours = {
        value.exit_status
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, SelfinstallError)
    }
    told = {number for number, _ in EXIT_STATUS}
    assert ours <= told
    for number in told:
        assert re.search(rf"^(?:\d+, )*{number}\b", text, re.MULTILINE), number


def test_every_verb_is_in_the_readme() -> None:
    for name in VERBS:
        assert f"| `selfinstall {name}" in README


@pytest.mark.parametrize(
    "name", ["README.md", "docs/library.md", "docs/security.md", "examples/README.md"]
)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_every_test_that_the_security_document_names_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named and named - there == set()
    for line in text.partition("## Fuzzing")[0].splitlines():
        if line.startswith("| ") and "what holds" not in line:
            assert re.search(r"`test_\w+` \|$", line), f"nothing shows this: {line}"


def test_the_readme_opens_with_the_two_commands() -> None:
    first = README.partition("## ")[0]
    for name in ("quickstart", "run-tests"):
        assert f"./{name}" in first
        assert (ROOT / name).stat().st_mode & 0o111


def test_the_readme_s_complete_tarball_is_the_one_that_is_tested() -> None:
    script = (ROOT / "run-tests").read_text()
    assignments = "\n".join(re.findall(r"^(?:MINBASE|COMPLETE)=.*$", script, re.MULTILINE))
    done = subprocess.run(
        ["sh", "-euc", f'{assignments}\nprintf %s "$COMPLETE"'], capture_output=True, check=True
    )
    told = README.partition("A **complete** tarball")[2].replace("\\\n", "")
    assert f"--include={done.stdout.decode()} trixie " in told


def test_folders_that_the_readme_names_exist() -> None:
    for name in (
        "arch",
        "loader",
        "rootfs",
        "packages",
        "initramfs",
        "qemu",
        "image",
        "hooks",
        "cli",
    ):
        assert f"{name}/" in README
        assert (ROOT / "selfinstall" / name).is_dir()


def test_every_error_is_in_the_librarys_document() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, SelfinstallError):
            if value is SelfinstallError:
                assert name in LIBRARY
            elif name == "Interrupted":
                assert f"| `{name}` |" in LIBRARY
            else:
                assert f"| `{name}` | {value.exit_status} |" in LIBRARY


def test_every_kind_of_event_is_in_the_librarys_document() -> None:
    for kind in Kind.__args__:  # type: ignore[attr-defined]
        assert f"| `{kind}` |" in LIBRARY
    for field in Event.__dataclass_fields__:
        assert f"`{field}`" in LIBRARY


def test_every_key_of_the_manifest_is_in_the_librarys_document() -> None:
    manifest = pytest.importorskip("selfinstall.manifest")
    source = inspect.getsource(manifest.make)
    keys = re.findall(r'^ {8}"(\w+)":', source, re.MULTILINE)
    table = LIBRARY.partition("## The manifest")[2]
    told = [
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert keys == told
