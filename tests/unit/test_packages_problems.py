"""apt's sentences as errors of the right kind."""

from __future__ import annotations

import pytest

from selfinstall.errors import HostError, InputError
from selfinstall.packages.problems import Unreachable, acquire_problem, install_problem

RELEASE = "http://example.org/debian/dists/trixie/InRelease"
TAIL = "E: Some index files failed to download. They have been ignored, or old ones used instead.\n"


@pytest.mark.parametrize(
    "reason",
    [
        "Could not resolve 'example.org'",
        "Temporary failure resolving 'example.org'",
        "Could not connect to example.org:80 (192.0.2.1). - connect (111: Connection refused)",
        "Unable to connect to example.org:80: [IP: 192.0.2.1 80]",
        "Cannot initiate the connection to example.org:80. - connect (101: Network is unreachable)",
        "503  Service Unavailable [IP: 192.0.2.1 80]",
    ],
)
def test_unreachable(reason: str) -> None:
    problem = acquire_problem(f"Err:1 x\nE: Failed to fetch {RELEASE}  {reason}\n{TAIL}")
    assert isinstance(problem, Unreachable)
    assert problem.exit_status == 4
    assert RELEASE in problem.message and "192.0.2.1 80]" not in problem.message
    assert problem.hint is not None and "--mirror" in problem.hint and "--packages" in problem.hint


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "W: GPG error: http://example.org/debian trixie InRelease: The following signatures "
            "couldn't be verified because the public key is not available: "
            "NO_PUBKEY 6ED0E7B82643E131",
            "6ED0E7B82643E131",
        ),
        (
            f"E: Failed to fetch {RELEASE}  The following signatures were invalid: "
            "BADSIG 6ED0E7B82643E131 X <x@example.org>",
            "bad signature",
        ),
        (
            "W: GPG error: http://example.org/debian trixie InRelease: The following signatures "
            "were invalid: EXPKEYSIG 6ED0E7B82643E131 X",
            "expired",
        ),
        (
            "W: OpenPGP signature verification failed: http://example.org/debian trixie InRelease: "
            "Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key "
            "4CB50190207B4758A3F73A796ED0E7B82643E131, which is needed to verify signature.",
            "4CB50190207B4758A3F73A796ED0E7B82643E131",
        ),
        (
            "E: The repository 'http://example.org/debian trixie Release' is not signed.",
            "not signed",
        ),
    ],
)
def test_signatures_are_bad_input_even_when_other_mirrors_are_down(line: str, cause: str) -> None:
    problem = acquire_problem(f"{line}\n")
    assert isinstance(problem, InputError)
    assert cause in problem.message and "example.org/debian" in problem.message
    assert problem.hint is not None
    assert ("--mirror" if cause == "not signed" else "--keyring") in problem.hint
    if "not signed" not in line:
        down = f"E: Failed to fetch http://b.example.org  Could not resolve 'b'\n{line}\n"
        assert isinstance(acquire_problem(down), InputError)


def test_apt_calls_what_it_did_not_get_unsigned_too() -> None:
    problem = acquire_problem(
        f"E: Failed to fetch {RELEASE}  400  Bad Request\n"
        "E: The repository 'http://example.org/debian trixie InRelease' is not signed.\n"
    )
    assert isinstance(problem, HostError) and "400  Bad Request" in problem.message


def test_a_mirror_out_of_step_is_named_with_the_file() -> None:
    for reason in (
        "Hash Sum mismatch",
        "File has unexpected size (1 != 2). Mirror sync in progress?",
    ):
        problem = acquire_problem(f"E: Failed to fetch http://example.org/a.deb  {reason}\n")
        assert isinstance(problem, HostError) and not isinstance(problem, Unreachable)
        assert "http://example.org/a.deb" in problem.message and "out of step" in problem.message


def test_other_failures() -> None:
    absent = acquire_problem(
        "E: The repository 'http://example.org/debian nosuite Release' "
        "does not have a Release file.\n"
    )
    assert isinstance(absent, InputError) and "nosuite" in absent.message
    expired = acquire_problem(
        f"E: Release file for {RELEASE} is expired (invalid since 1d 2h 3min). Updates …\n"
    )
    assert isinstance(expired, InputError) and "expired" in expired.message
    full = acquire_problem("E: Failed to fetch http://x/  write (28: No space left on device)\n")
    assert isinstance(full, HostError) and "no space" in full.message
    assert "no reason" in acquire_problem("").message


def test_passwords_are_not_shown() -> None:
    problem = acquire_problem("E: Failed to fetch http://me:secret@example.org/x  404  Not Found\n")
    assert "secret" not in problem.message and "example.org" in problem.message


def test_unknown_packages() -> None:
    for text in (
        "E: Unable to locate package nosuch\n",
        "E: Package 'nosuch' has no installation candidate\n",
    ):
        problem = install_problem(text, "the sources (trixie)")
        assert problem.message == "package nosuch is not in the sources (trixie)"
    version = install_problem("E: Version '2' for 'kmod' was not found\n", "the sources (trixie)")
    assert "kmod 2" in version.message


def test_a_virtual_package_names_its_providers() -> None:
    text = (
        "Package mta is a virtual package provided by:\n  exim4 1-2\n  postfix 3\n\n"
        "E: Package 'mta' has no installation candidate\n"
    )
    problem = install_problem(text, "x")
    assert problem.hint == "name one of: exim4, postfix"


def test_unmet_dependencies_name_the_root_cause() -> None:
    text = """The following packages have unmet dependencies:
 grub2-common : Depends: grub-common (= 2.12) but it is not going to be installed
                Depends: libefi (>= 3) but it is not installable
 kernel : PreDepends: base but it is not installable or
                      other but it is not installable
 new : Breaks: old (< 2) but 1 is to be installed
E: Unable to correct problems, you have held broken packages.
"""
    message = install_problem(text, "x").message
    assert "grub2-common needs libefi (>= 3) but it is not installable" in message
    assert "kernel needs base" in message
    assert "new does not go with old (< 2) but 1 is to be installed" in message
    assert "grub-common (= 2.12)" not in message and "\n" not in message
