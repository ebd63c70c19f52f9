"""What apt said when it failed, as one of our errors.  Pure.

apt has no error codes, so its (untranslated) sentences are what there is.
"""

from __future__ import annotations

import re

from selfinstall.errors import HostError, InputError, SelfinstallError

MIRROR_HINT = (
    "try again, or name another mirror with --mirror URI or proxy with --apt-proxy URI, "
    "or use --packages DIR"
)
KEYRING_HINT = "give the keyring that the sources are signed with: --keyring FILE"
UNSIGNED_HINT = (
    "give its keyring with --keyring FILE, or a signed mirror with --mirror URI; "
    "--allow-unsigned takes it as it is"
)
EXPIRED_HINT = "name a mirror that is up to date with --mirror URI, or set this machine's clock"
SOURCES_HINT = "add a source that has it with --sources FILE, or its .deb with --packages DIR"

#: gpgv's status words and apt's and sqv's own sentences.
_SIGNATURE = re.compile(
    r"NO_PUBKEY|BADSIG|EXPKEYSIG|EXPSIG|REVKEYSIG|KEYEXPIRED|NODATA|GPG error"
    r"|Missing key|OpenPGP signature|signatures? (was|were|couldn't)|not (live|bound) (until|at)"
    r"|Clearsigned file isn't valid"
)
_KEY = re.compile(r"(?:NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|Missing key) ([0-9A-F]{16,40})")
_UNREACHABLE = re.compile(
    r"Could not resolve|Temporary failure resolving|Something wicked happened|Could not connect"
    r"|Unable to connect|Cannot initiate the connection|Connection (timed out|refused|failed|reset)"
    r"|connection timed out|Network is unreachable|No route to host|Error reading from server"
    r"|Data socket timed out|Connection timeout|\s50[0-4]\s"
)
_MISMATCH = re.compile(r"Hash Sum mismatch|unexpected size|Mirror sync in progress", re.IGNORECASE)
_FAILED = re.compile(r"^[EW]: Failed to fetch (\S+)\s+(.*)$", re.MULTILINE)
_ERROR = re.compile(r"^E: (.*)$", re.MULTILINE)
#: apt's last words on a source that is unsigned, but also on one that it could not get.
_UNSIGNED = re.compile(r"^E: The repository '(\S+).*' is not signed", re.MULTILINE)
_ADDRESS = re.compile(r" *\[IP: [^\]]*\]")
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")


class Unreachable(HostError):
    """No mirror answered; what an earlier build left may do instead."""


def acquire_problem(output: str) -> SelfinstallError:
    """Why ``apt-get update`` or a download failed.

    :param output: what apt wrote, both streams.
    """
    text = _ADDRESS.sub("", _PASSWORD.sub("", output))
    failed = [(match[1], match[2].strip()) for match in _FAILED.finditer(text)]
    for line in text.splitlines():
        if _SIGNATURE.search(line) and line.startswith(("E:", "W:")):
            return _signature_problem(line)
    unsigned = _UNSIGNED.search(text)
    if unsigned and not failed:
        return InputError(f"{unsigned[1]}: it is not signed", UNSIGNED_HINT)
    expired = re.search(r"Release file for (\S+) is (expired|not valid yet)", text)
    if expired:
        return InputError(
            f"{expired[1]} is {expired[2]}: the mirror is out of date, or this machine's clock is",
            EXPIRED_HINT,
        )
    if "No space left on device" in text:
        return HostError("no space left for the downloads", "make room in the folder for them")
    mismatch = _MISMATCH.search(text)
    if mismatch:
        name = _failed_where(failed, _MISMATCH)
        return HostError(
            f"the mirror is out of step: {name} is not what its index says", MIRROR_HINT
        )
    if _UNREACHABLE.search(text):
        uri, reason = next(
            ((u, r) for u, r in failed if _UNREACHABLE.search(r)), failed[0] if failed else ("", "")
        )
        return Unreachable(f"{uri or 'the mirror'} cannot be reached: {reason}", MIRROR_HINT)
    absent = re.search(r"The repository '(.+?)' does not have a Release file", text)
    if absent:
        return InputError(f"there is no such suite: {absent[1]}", MIRROR_HINT)
    if failed:
        return HostError(f"{failed[0][0]} cannot be downloaded: {failed[0][1]}", MIRROR_HINT)
    return HostError(f"apt failed: {first_error(text)}")


def _signature_problem(text: str) -> InputError:
    """What is wrong with a signature by apt's line on it."""
    keys = ", ".join(dict.fromkeys(_KEY.findall(text)))
    where = re.search(r"(?:GPG error: |Failed to fetch |verification failed: )(\S+)", text)
    what = where[1].rstrip(":'") if where else "a source"
    if "NO_PUBKEY" in text or "Missing key" in text:
        cause = f"it is signed by a key that is not in the keyring ({keys})"
    elif "BADSIG" in text:
        cause = f"bad signature (key {keys})"
    elif re.search("EXPKEYSIG|KEYEXPIRED|REVKEYSIG|EXPSIG|not live", text):
        cause = f"its signature or key has expired or was withdrawn ({keys or 'unknown key'})"
    else:
        cause = "its signature cannot be verified"
    return InputError(f"{what}: {cause}", KEYRING_HINT)


def _failed_where(failed: list[tuple[str, str]], reason: re.Pattern[str]) -> str:
    uris = [uri for uri, why in failed if reason.search(why)]
    return uris[0] if uris else "a file"


def install_problem(output: str, suites: str) -> SelfinstallError:
    """Why ``apt-get install`` found no solution.

    :param output: what apt wrote, both streams.
    :param suites: what was searched, for people.
    """
    virtual = re.search(
        r"^Package (\S+) is a virtual package provided by:\n((?:  .*\n)+)", output, re.M
    )
    if virtual:
        names = ", ".join(dict.fromkeys(re.findall(r"(?m)^  (\S+)", virtual[2])))
        return InputError(
            f"package {virtual[1]} exists only as something that others provide",
            f"name one of: {names}",
        )
    unknown = re.search(r"Unable to locate package (\S+)|Package '?(\S+?)'? has no inst", output)
    if unknown:
        name = unknown[1] or unknown[2]
        return InputError(f"package {name} is not in {suites}", SOURCES_HINT)
    version = re.search(r"Version '(.+?)' for '(.+?)' was not found", output)
    if version:
        return InputError(f"package {version[2]} {version[1]} is not in {suites}", SOURCES_HINT)
    unmet = _unmet(output)
    if unmet:
        return InputError(f"dependencies cannot be satisfied: {unmet}", SOURCES_HINT)
    return InputError(f"apt cannot install the packages: {first_error(output)}")


def _unmet(output: str) -> str:
    """The unmet dependencies that apt lists, as ``A needs B (>= 1); …``, root causes alone."""
    match = re.search(
        r"^The following packages have unmet dependencies:\n((?: .*\n?)+)", output, re.M
    )
    if match is None:
        return ""
    found: list[tuple[str, str, str]] = []
    name = ""
    for line in match[1].splitlines():
        # " name : Depends: other (>= 1) but it is not installable", the name on its first line.
        parts = re.fullmatch(
            r"\s+(?:(\S+) : )?(?:Pre)?-?(Depends|Breaks|Conflicts): (.+?)( but .*?)?(?: or)?", line
        )
        if parts is None:
            continue
        name = parts[1] or name
        verb = "needs" if parts[2] == "Depends" else "does not go with"
        found.append((name, f"{verb} {parts[3]}", parts[4] or ""))
    # "is not going to be installed" only repeats that something further down is missing.
    causes = [f for f in found if not f[2].endswith("is not going to be installed")] or found
    return "; ".join(f"{who} {what}{why}" for who, what, why in causes)


def first_error(output: str) -> str:
    """apt's first error line, or its last line of any kind."""
    text = _PASSWORD.sub("", output)
    match = _ERROR.search(text)
    lines = text.strip().splitlines()
    return match[1] if match else (lines[-1] if lines else "it gave no reason")
