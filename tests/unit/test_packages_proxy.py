"""Proxies: told by words, by the host's apt, by programs; and apt itself going through one."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import deb_helpers
import pytest
from deb_helpers import make_deb, make_repository

from selfinstall.errors import HostError, UsageError
from selfinstall.inputs import read_inputs
from selfinstall.packages import hostapt, proxy
from selfinstall.packages.aptroot import AptInput, AptRoot
from selfinstall.packages.cache import Cache
from selfinstall.packages.fetch import fetch
from selfinstall.packages.resolve import resolve
from selfinstall.request import Request

needs_apt = pytest.mark.skipif(
    any(shutil.which(p) is None for p in ("apt-get", "gpg", "gpgv", "dpkg-deb")),
    reason="no apt, gpg, gpgv or dpkg-deb",
)
#: A mirror that only a proxy knows: the name does not exist (RFC 6761, 6.4).
MIRROR = "http://mirror.invalid/debian"
DEAD = "http://127.0.0.1:9"


class Proxy:
    """An HTTP proxy that knows one mirror, which is a folder."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.tunnels: list[str] = []
        proxied = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxied.asked.append(self.path)
                path = folder / self.path.removeprefix(f"{MIRROR}/")
                content = path.read_bytes() if path.is_file() else None
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def do_CONNECT(self) -> None:
                proxied.tunnels.append(self.path)
                self.send_error(404)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> Proxy:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Host:
    """A host whose apt is configured as a test says, and a repository behind a proxy."""

    def __init__(self, folder: Path, proxy: Proxy, inputs: AptInput) -> None:
        self.folder = folder
        self.proxy = proxy
        self.inputs = inputs

    def configure(self, *settings: str) -> None:
        lines = ('Dir::Etc::main "/dev/null";', 'Dir::Etc::parts "/dev/null";', *settings)
        (self.folder / "apt.conf").write_text("\n".join((*lines, 'Acquire::Retries "0";\n')))

    def detector(self, answer: str) -> Path:
        path = self.folder / "detect"
        path.write_text(f'#!/bin/sh\necho "$@" >>{self.folder}/detected\necho {answer}\n')
        path.chmod(0o755)
        return path

    def fetch(self, chosen: str | None = None) -> list[str]:
        """Fetch a package; what the proxy was asked for."""
        inputs = dataclasses.replace(self.inputs, proxy=chosen)
        cache = Cache(self.folder / "cache")
        with AptRoot(inputs, self.folder / "work", cache) as root:
            fetch(root, resolve(root, ("tool",)), cache)
        return self.proxy.asked


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, AptInput]]:
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "pool").mkdir()
    make_deb(folder / "pool", "tool")
    with deb_helpers.gpg() as key:
        key.sign(make_repository(folder, "trixie", "amd64"))
        keyring = key.public(armour=True)
    inputs = AptInput(
        architecture="amd64",
        dpkg_status=b"",
        sources=(("etc/apt/sources.list", f"deb {MIRROR} trixie main\n"),),
        keyrings=(("etc/apt/trusted.gpg.d/test.asc", keyring),),
        suite="trixie",
    )
    yield folder, inputs


@pytest.fixture
def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: tuple[Path, AptInput]
) -> Iterator[Host]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    folder, inputs = repository
    with Proxy(folder) as proxy:
        host = Host(tmp_path, proxy, inputs)
        host.configure()
        yield host


# -- downloads -----------------------------------------------------------------------------


@needs_apt
def test_the_host_s_proxy_is_used(host: Host) -> None:
    host.configure(f'Acquire::http::Proxy "{host.proxy.uri}";')
    asked = host.fetch()
    assert asked[0] == f"{MIRROR}/dists/trixie/InRelease"
    assert asked[-1] == f"{MIRROR}/pool/tool_1_all.deb"


@needs_apt
def test_the_proxy_for_one_host_is_used(host: Host) -> None:
    host.configure(
        f'Acquire::http::Proxy "{DEAD}";',
        f'Acquire::http::Proxy::mirror.invalid "{host.proxy.uri}";',
    )
    assert host.fetch()


@needs_apt
@pytest.mark.parametrize("name", ["Proxy-Auto-Detect", "ProxyAutoDetect"])
def test_the_host_s_program_that_finds_a_proxy_is_asked(host: Host, name: str) -> None:
    host.configure(f'Acquire::http::{name} "{host.detector(host.proxy.uri)}";')
    assert host.fetch()
    assert MIRROR in (host.folder / "detected").read_text()


@needs_apt
def test_the_environment_s_proxy_is_used(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", host.proxy.uri)
    assert host.fetch()


@needs_apt
def test_a_named_proxy_goes_before_all_of_the_host_s(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", DEAD)
    host.configure(
        f'Acquire::http::Proxy "{DEAD}";',
        f'Acquire::http::proxy::mirror.invalid "{DEAD}";',
        f'Acquire::http::Proxy-Auto-Detect "{host.detector(DEAD)}";',
        'Acquire::https::Proxy "DIRECT";',
    )
    assert host.fetch(host.proxy.uri)
    assert not (host.folder / "detected").exists()


@needs_apt
def test_no_proxy_at_all(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", host.proxy.uri)
    host.configure(f'Acquire::http::Proxy::mirror.invalid "{host.proxy.uri}";')
    with pytest.raises(HostError, match="cannot be reached") as caught:
        host.fetch(proxy.DIRECT)
    assert host.proxy.asked == []
    assert caught.value.hint is not None and "--apt-proxy" in caught.value.hint


@needs_apt
def test_https_goes_through_it_too(host: Host) -> None:
    host.inputs = AptInput(
        architecture="amd64",
        dpkg_status=b"",
        sources=(("etc/apt/sources.list", "deb https://mirror.invalid/debian trixie main\n"),),
        keyrings=host.inputs.keyrings,
    )
    host.configure('Acquire::https::Proxy "DIRECT";')
    with pytest.raises(HostError):
        host.fetch(host.proxy.uri)
    assert host.proxy.tunnels == ["mirror.invalid:443"] * len(host.proxy.tunnels) != []


@needs_apt
def test_a_proxy_that_does_not_answer_is_named(host: Host) -> None:
    with pytest.raises(HostError, match=r"127\.0\.0\.1:9"):
        host.fetch(DEAD)


# -- the image's ---------------------------------------------------------------------------


def of_image(**fields: object) -> str:
    inputs = read_inputs(Request(tarball=Path("x"), **fields))  # type: ignore[arg-type]
    return inputs.secrets.get("apt-proxy", b"").decode()


GUEST = 'Acquire::http::Proxy "http://10.0.2.2:3142";\n'


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ""),
        ({"apt_proxy": "http://localhost:3142"}, ""),
        ({"image_apt_proxy": "http://localhost:3142"}, GUEST),
        ({"image_apt_proxy": "host", "apt_proxy": "http://127.0.0.1:3142"}, GUEST),
        ({"image_apt_proxy": "host", "apt_proxy": "DIRECT"}, ""),
        ({"image_apt_proxy": "http://localhost:3142", "apt_proxy": "DIRECT"}, GUEST),
        ({"image_apt_proxy": "host"}, ""),
    ],
)
def test_the_image_s_proxy(host: Host, fields: dict[str, str], wanted: str) -> None:
    assert of_image(**fields) == wanted


@needs_apt
def test_the_image_gets_what_the_host_s_apt_says(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", DEAD)
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:8080")
    host.configure(
        'Acquire::http::Proxy "http://localhost:3142";',
        'Acquire::http::Proxy::mirror.example.org "DIRECT";',
    )
    assert of_image(image_apt_proxy="host") == (
        'Acquire::http::Proxy "http://10.0.2.2:3142";\n'
        'Acquire::http::Proxy::mirror.example.org "DIRECT";\n'
        'Acquire::https::Proxy "http://proxy.example.org:8080";\n'
    )


@needs_apt
@pytest.mark.parametrize("answer", ["http://127.0.0.1:3142", "DIRECT", "", "rubbish"])
def test_the_image_gets_what_a_program_finds(host: Host, answer: str) -> None:
    host.configure(f'Acquire::http::Proxy-Auto-Detect "{host.detector(answer)}";')
    assert of_image(image_apt_proxy="host") == (GUEST if answer.startswith("http") else "")


@needs_apt
def test_a_program_that_is_not_there_finds_nothing(host: Host) -> None:
    host.configure('Acquire::http::Proxy-Auto-Detect "/nonexistent";')
    assert of_image(image_apt_proxy="host") == ""


def test_a_host_without_apt_has_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hostapt.dump() == ""


def test_an_image_with_a_proxy_s_password_is_private() -> None:
    for uri, private in (("http://me:secret@localhost:1", True), ("http://localhost:1", False)):
        inputs = read_inputs(Request(tarball=Path("x"), image_apt_proxy=uri))
        assert inputs.private == private


# -- words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "seen"),
    [
        ("http://localhost:3142", "http://10.0.2.2:3142"),
        ("http://LOCALHOST/", "http://10.0.2.2/"),
        ("http://127.0.0.1", "http://10.0.2.2"),
        ("http://127.1.2.3:80/", "http://10.0.2.2:80/"),
        ("http://[::1]:3142", "http://10.0.2.2:3142"),
        ("socks5h://me:pw@127.0.0.1:1080", "socks5h://me:pw@10.0.2.2:1080"),
        ("http://localhost:pw@proxy.example.org:80", "http://localhost:pw@proxy.example.org:80"),
        ("http://localhost.example.org:1", "http://localhost.example.org:1"),
        ("http://192.0.2.127:3142", "http://192.0.2.127:3142"),
        ("DIRECT", "DIRECT"),
    ],
)
def test_the_host_s_loopback_as_guests_see_it(uri: str, seen: str) -> None:
    assert proxy.seen_from_guest(uri) == seen


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:3142",
        "ftp://x:1",
        "http://",
        "http://:80",
        "http://x:99999",
        "http://x:0",
        'http://x";y',
        "http://x y",
        "http://x/path",
        "direct",
    ],
)
def test_what_is_no_proxy(text: str) -> None:
    for field in ("apt_proxy", "image_apt_proxy"):
        with pytest.raises(UsageError, match="no proxy's URI"):
            read_inputs(Request(tarball=Path("x"), **{field: text}))  # type: ignore[arg-type]


def test_settings_are_found_whatever_their_case() -> None:
    assert not proxy.is_setting('Acquire::http::Pipeline-Depth "1";')
    for line in ('acquire::HTTP::proxy "x";', 'Acquire::https::Proxy::a.b "DIRECT";'):
        assert proxy.is_setting(line)
