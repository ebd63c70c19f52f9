"""From words to a command and a request."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from selfinstall.cli import help as help_text
from selfinstall.cli.options import BUILD, VERBS
from selfinstall.cli.parser import parse
from selfinstall.cli.verbs import VERBS as FUNCTIONS
from selfinstall.cli.verbs import to_request
from selfinstall.errors import UsageError
from selfinstall.request import FORMATS, SUFFIXES, Request


@pytest.fixture(autouse=True)
def no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.delenv("SELFINSTALL_CACHE_LIMIT", raising=False)


def request_of(*words: str) -> Request:
    return to_request(parse(["--tarball", "a.tar", *words]).given)


def test_without_options_a_request_has_its_defaults() -> None:
    assert request_of() == Request(tarball=Path("a.tar"))


def test_every_field_of_a_request_has_its_option() -> None:
    dests = {option.dest for option in BUILD.options}
    fields = {field.name for field in dataclasses.fields(Request)}
    assert fields - dests == {"source_date_epoch", "unpack", "invocation"}
    assert dests - fields == {"json", "quiet", "verbose", "help", "version", "dry_run"}


def test_every_option_arrives() -> None:
    line = """
        -o o.vdi --arch amd64 --format vmdk --size 3G --bootloader grub --firmware efi
        --payload disk --packages debs --include a1,b2 --include c3 --kernel linux-image-x
        --mirror http://mirror.example.org/debian --sources s.list --keyring k.gpg
        --hostname h --root-password-file rp --ssh-key key --user joe --user-password-file up
        --customize-hook one --customize-hook two --memory 2G --smp 3 --accel tcg --qemu ./q
        --no-verify --stall 9 --seed s --manifest m.json --log l --cache c
        --no-cache --cache-limit 20G --profile ssh,./p --profile cloud
    """
    assert request_of(*line.split()) == Request(
        tarball=Path("a.tar"),
        output=Path("o.vdi"),
        arch="amd64",
        format="vmdk",
        size=3 << 30,
        bootloader="grub",
        firmware="efi",
        payload="disk",
        packages=Path("debs"),
        include=("a1", "b2", "c3"),
        kernel="linux-image-x",
        mirror="http://mirror.example.org/debian",
        sources=Path("s.list"),
        keyring=Path("k.gpg"),
        hostname="h",
        root_password_file=Path("rp"),
        ssh_key=Path("key"),
        user="joe",
        user_password_file=Path("up"),
        customize_hooks=(Path("one"), Path("two")),
        memory=2048,
        smp=3,
        accel="tcg",
        qemu=Path("q"),
        verify=False,
        stall=9.0,
        seed="s",
        manifest=Path("m.json"),
        log=Path("l"),
        cache=Path("c"),
        use_cache=False,
        cache_limit=20 << 30,
        profiles=("ssh", "./p", "cloud"),
    )


@pytest.mark.parametrize("name", FORMATS)
def test_the_suffix_of_the_output_chooses_the_format(name: str) -> None:
    suffix = SUFFIXES[name]  # type: ignore[index]
    assert request_of("-o", f"x{suffix.upper()}").format == name


def test_other_suffixes_mean_raw_and_format_wins() -> None:
    assert request_of("-o", "x.disk").format == "raw"
    assert request_of("-o", "x.vdi", "--format", "raw").format == "raw"


def test_the_last_of_verify_and_no_verify_counts() -> None:
    assert request_of("--no-verify", "--verify").verify
    assert not request_of("--verify", "--no-verify").verify


def test_source_date_epoch_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert request_of().source_date_epoch == 1_700_000_000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        request_of()


def test_the_limit_of_layers_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SELFINSTALL_CACHE_LIMIT", "3G")
    assert request_of().cache_limit == 3 << 30
    assert request_of("--cache-limit", "none").cache_limit == 0
    monkeypatch.setenv("SELFINSTALL_CACHE_LIMIT", "few")
    assert request_of("--cache-limit", "2G").cache_limit == 2 << 30
    with pytest.raises(UsageError, match="SELFINSTALL_CACHE_LIMIT"):
        request_of()


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("", "no tarball and no suite given", "--tarball"),
        ("-o x.img", "no tarball and no suite given", "--tarball"),
        ("--tarball", "--tarball: expected one argument", "--help"),
        ("--tarball a --colour", "unknown option '--colour'", "--help"),
        ("--tarbal a", "unknown option '--tarbal'", "did you mean --tarball?"),
        ("--tarball a --verif", "unknown option '--verif'", "did you mean --verify?"),
        ("--tarball a --no-verify=yes", "--no-verify: ignored explicit argument 'yes'", "--help"),
        ("--tarball a --write", "unknown option '--write'", "--help"),
        ("rootfs.tar", "'rootfs.tar' is no verb", "--tarball FILE"),
        ("--tarball a b", "'b' is no verb", "--tarball FILE"),
        ("--tarball a --size 1Q", "--size: '1Q' is not a size", "--help"),
        ("--tarball a --format iso", "--format: 'iso' is none of raw, qcow2", "--help"),
        ("boot a --arch vax", "architecture 'vax' is not supported", "amd64"),
        ("boot", "no IMAGE given", "selfinstall boot IMAGE"),
        ("inspect a b", "one argument too many: 'b'", "selfinstall inspect --help"),
        ("verify x --tarball a", "unknown option '--tarball'", "selfinstall verify --help"),
        ("boot x --firmware both", "--firmware: 'both' is none of", "selfinstall boot --help"),
        ("arches x", "one argument too many: 'x'", "selfinstall arches --help"),
    ],
)
def test_usage_errors_name_the_word_and_the_way_out(line: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert caught.value.message.startswith(message)
    assert hint in (caught.value.hint or "")


def test_help_needs_nothing_else() -> None:
    for words in (["--help"], ["-h"], *([name, "-h"] for name in VERBS)):
        assert parse(words).get("help")


def test_a_file_with_a_leading_dash() -> None:
    assert parse(["inspect", "--", "-x"]).get("file") == Path("-x")
    assert parse(["--tarball=-x"]).get("tarball") == Path("-x")
    assert parse(["inspect", "-"]).get("file") == Path("-")


@pytest.mark.parametrize("verb", [BUILD, *VERBS.values()], ids=lambda verb: verb.name)
def test_help_tells_every_option_within_80_columns(verb) -> None:  # type: ignore[no-untyped-def]
    text = help_text.text(verb)
    assert max(map(len, text.splitlines())) <= 80
    for option in verb.options:
        assert f"  {', '.join(option.flags)}" in text
        assert option.help.split()[0] in text


@pytest.mark.parametrize("verb", [BUILD, *VERBS.values()], ids=lambda verb: verb.name)
def test_no_flag_is_declared_twice_and_each_verb_does_something(verb) -> None:  # type: ignore[no-untyped-def]
    flags = [flag for option in verb.options for flag in option.flags]
    assert len(flags) == len(set(flags))
    assert verb.name in FUNCTIONS
