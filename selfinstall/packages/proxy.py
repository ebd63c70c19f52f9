"""Proxies that apt goes through: the host's own or the user's, and what they are in a guest.

apt's settings are ``Acquire::http::Proxy``, the same for one host
(``…::Proxy::HOST``), and a program that finds a proxy (``…::Proxy-Auto-Detect``);
https falls back to http's (apt-transport-http(1), apt-transport-https(1)).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from selfinstall.errors import UsageError

#: apt's word for no proxy at all.
DIRECT = "DIRECT"
#: ``--image-apt-proxy`` for the one that the build itself goes through.
HOST = "host"
#: The host's loopback, as guests on qemu's user-mode network see it (``-netdev user``).
GATEWAY = "10.0.2.2"
#: Where the image keeps it; autopkgtest's images have it there too.
IMAGE_FILE = "etc/apt/apt.conf.d/01proxy"
_SETTING = re.compile(
    r'(Acquire::(https?)::(Proxy|Proxy-?Auto-?Detect)(::[^\s";{}]+)?) "([^"]*)";', re.IGNORECASE
)
#: The schemes that apt knows; nothing that would end its quotes.
_URI = re.compile(r'(https?|socks5h)://[^\s"/]+/?', re.IGNORECASE)
_LOOPBACK = re.compile(
    r"(://(?:[^@/]*@)?)(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?=(?::\d+)?/?$)", re.IGNORECASE
)


def checked(text: str) -> str:
    """*text*, a proxy's URI or :data:`DIRECT`.

    :raises UsageError: it is neither.
    """
    if text == DIRECT or (_URI.fullmatch(text) and _has_host(text)):
        return text
    raise UsageError(f"{text!r} is no proxy's URI", f"such as http://127.0.0.1:3142, or {DIRECT}")


def _has_host(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_setting(line: str) -> bool:
    """Whether a line of ``apt-config dump`` says through which proxy to go."""
    return _SETTING.fullmatch(line) is not None


def settings(proxy: str) -> str:
    """Apt's settings that lead all http and https through *proxy*."""
    return f'Acquire::http::Proxy "{proxy}";\nAcquire::https::Proxy "{proxy}";\n'


def seen_from_guest(uri: str) -> str:
    """The URI under which a guest finds a proxy of the host's own loopback; others as they are."""
    return _LOOPBACK.sub(rf"\g<1>{GATEWAY}", uri)


def of_host(
    dump: str, environment: Mapping[str, str], detect: Callable[[str], str]
) -> tuple[tuple[str, str], ...]:
    """The host's proxies, as (apt's setting, URI).

    :param dump: what ``apt-config dump`` writes.
    :param environment: its ``http_proxy`` and ``https_proxy`` serve where apt is not told.
    :param detect: asks a program, by its path, for a proxy.
    """
    found = [match for match in map(_SETTING.fullmatch, dump.splitlines()) if match and match[5]]
    proxies = {
        f"Acquire::{m[2].lower()}::Proxy{m[4] or ''}": m[5]
        for m in found
        if m[3].lower() == "proxy"
    }
    for scheme in ("http", "https"):
        name = f"Acquire::{scheme}::Proxy"
        for match in found:
            if match[2].lower() == scheme and match[3].lower() != "proxy":
                # What apt is told to ask has precedence over what it is told.
                proxies |= {name: answer} if (answer := detect(match[5])) else {}
        if name not in proxies and environment.get(f"{scheme}_proxy"):
            proxies[name] = environment[f"{scheme}_proxy"]
    return tuple(p for p in proxies.items() if p[1] == DIRECT or _URI.fullmatch(p[1]))


def image_settings(proxies: tuple[tuple[str, str], ...]) -> str:
    """The content of :data:`IMAGE_FILE`; empty where there is nothing to say."""
    if all(uri == DIRECT for _, uri in proxies):
        return ""
    return "".join(f'{name} "{seen_from_guest(uri)}";\n' for name, uri in proxies)
